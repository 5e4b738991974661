"""The protocol that master and nodes both speak; imports nothing of either."""
