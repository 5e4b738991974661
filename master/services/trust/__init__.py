"""Whom the master believes: verification of messages, licences, replacing the secret."""
