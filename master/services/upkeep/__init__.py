"""Care of the ledger and of the box: backups, retention, restoring, diagnosis."""
