"""New code for running nodes. Empty until patches are built."""
