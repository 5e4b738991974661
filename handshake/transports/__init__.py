"""Transports of signed messages: the local Unix socket, and VERIFY_CHANNEL on Discord."""
