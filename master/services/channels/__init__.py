"""The Discord server as it should be, and its repair. Empty until it is built."""
