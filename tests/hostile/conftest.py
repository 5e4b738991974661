"""A master's services, as the services' own tests have them."""

from tests.services.conftest import house, house_settings

__all__ = ["house", "house_settings"]
