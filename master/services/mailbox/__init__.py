"""Mailboxes that are watched: mail to actions, each exactly once."""
