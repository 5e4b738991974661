"""REST v10, one module a resource; each has a ``ROUTES`` table."""
