"""How a node comes into the fleet: names, folders, whose token it is, the saga."""
