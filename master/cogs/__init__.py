"""Slash commands and listeners, one file per concern: each calls one operation and renders its result."""
