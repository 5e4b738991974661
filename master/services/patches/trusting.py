"""Whose bundles are accepted: until authors' keys are there, nobody's."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from master.services.patches.errors import PatchRefused
from master.services.patches.receiving import AcceptedBundle


class LedgerAcceptance:
    """Accept nothing."""

    async def check(self, content: bytes) -> AcceptedBundle:
        """Refuse a bundle.

        Raises
        ------
        PatchRefused
        """
        raise PatchRefused("no author's key is trusted yet", hint="`fleet patch keys add` trusts one")

    def record(self, connection: Connection, accepted: AcceptedBundle) -> None:
        """Do nothing: nothing is accepted."""


def key_names(connection: Connection) -> Mapping[str, str]:
    """Return the names of authors' keys by their ids."""
    return {}
