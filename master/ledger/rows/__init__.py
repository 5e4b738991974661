"""Repositories: one module for each table, frozen Structs in and out."""
