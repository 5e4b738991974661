"""Starting, watching and restarting node processes; knows nothing of Discord, the ledger or the command line."""
