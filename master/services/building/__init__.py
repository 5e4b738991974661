"""Builders of the rooms: what one room's services are made of. ``services.container`` calls them, in its order."""
