"""Verification of nodes and their messages, licences, and rotation of the secret."""
