"""Takes what sentry-sdk in the nodes sends to the loopback address, as errors that were seen; a face, as control is."""
