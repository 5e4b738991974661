"""Errors of nodes, and how they are handled."""
