"""Everything that the master can be asked to do, whichever face asks."""
