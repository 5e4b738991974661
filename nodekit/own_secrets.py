"""The secrets of one bot, such as the key of a weather service: from its environment, or the ``.env`` in its folder."""

from __future__ import annotations

import os

from nodekit.identity import program_folder


class SecretMissing(LookupError):
    """A secret is not set.

    Attributes
    ----------
    name
        Its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not set: put {name}=... into {program_folder() / '.env'}, and chmod 600 it")
        self.name = name


def read_secret(name: str) -> str:
    """Return a secret; it is read each time, so that a cog that is loaded again has the new one.

    Raises
    ------
    SecretMissing
    """
    from dotenv import dotenv_values

    value = os.environ.get(name) or dotenv_values(program_folder() / ".env", interpolate=False).get(name)
    if not value:
        raise SecretMissing(name)
    return value
