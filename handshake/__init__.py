"""The protocol between master and nodes; imports nothing of either."""
