"""Doing something about errors: actions, when they are taken, and whether they helped."""
