"""Maintenance of the ledger and the host: backups, retention, restore, diagnosis, reload."""
