"""Takes what arrives on the loopback address: errors of nodes by sentry-sdk, sales of shops; a face, as control is."""
