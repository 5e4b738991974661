"""The fleet's ``.env``: reading a secret, and changing some atomically without losing other lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from handshake.redaction import Secret
from master.durable import replace_file
from master.security.errors import SecretRefused


class SecretsFile:
    """A file of ``NAME=value`` lines, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> Secret[str] | None:
        """Return a value; None when it is not in the file."""
        value = dotenv_values(self._path).get(name) if self._path.exists() else None
        return Secret(value) if value else None

    def change(self, changes: Mapping[str, Secret[str] | None]) -> None:
        """Set values, and remove those that are None; the file is replaced atomically.

        Raises
        ------
        SecretRefused
            The file cannot be written, and is unchanged.
        """
        try:
            lines = self._path.read_text("utf-8").splitlines()
            kept = [line for line in lines if line.partition("=")[0].removeprefix("export ").strip() not in changes]
            kept += [f"{name}={value.reveal()}" for name, value in changes.items() if value is not None]
            replace_file(self._path, ("\n".join(kept) + "\n").encode())
        except OSError as error:
            raise SecretRefused(
                f"{self._path} cannot be changed: {error.strerror}", hint="make it and its folder writable"
            ) from error
