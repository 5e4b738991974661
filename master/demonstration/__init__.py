"""``fleet demo``: a live fleet on a local Discord."""
