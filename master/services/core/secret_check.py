"""Whether a ledger was made with this MASTER_SECRET.

With another one no token can be decrypted, each node's key is wrong, and each new row of the audit log would break its
chain.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import Connection

from master.configuration.settings import IdentitySettings
from master.errors import ExitCode, FleetError
from master.ledger.database import Ledger
from master.ledger.rows import tokens
from master.ledger.rows.audit import AuditChain
from master.security.derivation import MasterSecret
from master.security.errors import VaultError
from master.security.vault import TokenVault
from master.services.core.keys import master_secret_of


class ForeignSecret(FleetError):
    """The ledger was made with another MASTER_SECRET."""

    code: ClassVar[str] = "foreign_secret"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG


_HINT = (
    "put the MASTER_SECRET it was made with into .env (a copy of .env, or the backup of the box, has it); if that is "
    "lost, no token can be decrypted: move the ledger away, and register the bots anew"
)


async def require_own_secret(ledger: Ledger, identity: IdentitySettings) -> None:
    """Check the secret of a fleet that is about to start; a ledger that is away is believed.

    Raises
    ------
    ForeignSecret
        Nothing was changed.
    LedgerError
    """
    if ledger.away is not None:
        return
    problem = await ledger.read(lambda connection: foreign_secret(connection, identity))
    if problem is not None:
        raise problem


def foreign_secret(connection: Connection, identity: IdentitySettings) -> ForeignSecret | None:
    """Return the error for a ledger that another secret made; None if nothing speaks for that.

    A token that can be decrypted proves it. So does the first row of the audit log, whose key survives rotations: then
    tokens that cannot be decrypted are damaged, which each node's start says.
    """
    sealed = tokens.load_all(connection)
    present = master_secret_of(identity)
    # During a rotation a token may be sealed with the secret before or after.
    others = (identity.previous_secret, identity.next_secret)
    vaults = [TokenVault(secret) for secret in (present, *(MasterSecret(one) for one in others if one is not None))]
    if any(_unseals(vault, node_id, token) for node_id, token in sealed.items() for vault in vaults):
        return None
    began_here = AuditChain(present.derive("audit")).began_here(connection)
    if began_here:
        return None
    if sealed:
        count = "its one token" if len(sealed) == 1 else f"none of its {len(sealed)} tokens"
        verb = "cannot" if len(sealed) == 1 else "can"
        return ForeignSecret(f"the ledger was made with another MASTER_SECRET: {count} {verb} be decrypted", hint=_HINT)
    if began_here is False:
        return ForeignSecret(
            "the ledger was made with another MASTER_SECRET: its audit log begins with another key", hint=_HINT
        )
    return None


def _unseals(vault: TokenVault, node_id: str, sealed: bytes) -> bool:
    try:
        vault.unseal(node_id, sealed)
    except VaultError:
        return False
    return True
