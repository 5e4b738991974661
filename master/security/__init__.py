"""Security: key derivation, token vault, licence codes, token formats."""
