"""The wanted channels of the Discord server, and their repair."""
