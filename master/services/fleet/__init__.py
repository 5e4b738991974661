"""Nodes as the operator steers them: starting, stopping, their state, their history."""
