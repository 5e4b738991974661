"""New code for running nodes. Not implemented yet."""
