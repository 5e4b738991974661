"""Takes what arrives on the loopback address: errors from sentry-sdk in nodes, sales of shops; a face, as control is."""
