"""The runtime of a node; imports the protocol and discord.py, and nothing of the master."""
