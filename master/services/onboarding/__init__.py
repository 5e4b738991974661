"""Adding nodes to the fleet: names, folders, token checks, and the saga."""
