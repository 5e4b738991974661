"""REST v10: one module for each resource, with a ``ROUTES`` table."""
