"""The operator's socket: newline-framed JSON over a Unix socket of mode 0600 in the state folder."""
