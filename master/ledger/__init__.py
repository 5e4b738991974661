"""The ledger: identity, desired state and history, in SQLite or SQL Server."""
