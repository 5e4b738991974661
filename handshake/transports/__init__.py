"""How signed messages travel: the local Unix socket, or VERIFY_CHANNEL on Discord."""
