"""Migrations: one numbered file for each revision."""
