"""Secrets: what is derived from MASTER_SECRET, the token vault, licence codes, token formats."""
