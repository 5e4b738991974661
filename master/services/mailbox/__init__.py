"""Messages that trigger actions. Not implemented yet."""
