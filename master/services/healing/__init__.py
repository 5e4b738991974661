"""Errors of nodes, and what is done about them."""
