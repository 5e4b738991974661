"""The id of this fleet, which an author can make a patch for: random, and kept in the ledger."""

from __future__ import annotations

import secrets

from master.ledger.database import Ledger
from master.ledger.rows import facts

NAME = "fleet_id"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's, in lower case: no letter looks like a figure."""
_CHARACTERS = 12


def new_fleet_id() -> str:
    """Return a random id: ``fleet-`` and twelve characters, 60 bits."""
    return "fleet-" + "".join(secrets.choice(_ALPHABET) for _ in range(_CHARACTERS))


async def fleet_id_of(ledger: Ledger) -> str:
    """Return the fleet's id, which is made when it is asked for the first time.

    Raises
    ------
    LedgerError
    """
    found = await ledger.read(lambda connection: facts.get(connection, NAME))
    if found is not None:
        return found
    made = new_fleet_id()
    return await ledger.write(lambda connection: facts.get_or_add(connection, NAME, made))
