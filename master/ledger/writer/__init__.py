"""The one writer: its queue, what a write is made of, and the spool for a database that is away."""
