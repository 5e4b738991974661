"""Rotation of MASTER_SECRET while the fleet runs.

Three places change together: ``.env``, the sealed tokens, and the nodes' key epochs. The order makes every step
recoverable:

1. The next secret is added to ``.env``, beside the current one.
2. One transaction seals all tokens with it and raises all epochs.
3. The next secret replaces the current one in ``.env``.

After a crash in between, the tokens show whether the transaction was committed. The previous secret stays in ``.env``
until no running node uses a key of it.

The audit log's chain and issued licences must survive a rotation: their keys are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import ENV_NAME, Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError, LedgerUnavailable
from master.ledger.rows import mailboxes, nodes, tokens
from master.security.derivation import (
    LASTING_PURPOSES,
    MasterSecret,
    check_master_secret,
    encode_kept_keys,
    new_master_secret,
)
from master.security.errors import SecretRefused, VaultError
from master.security.secrets_file import SecretsFile
from master.security.vault import TokenVault
from master.services.core.auditing import AuditEntry
from master.services.core.keys import master_secret_of
from master.services.core.views import RotationView
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

PRESENT, NEXT, PREVIOUS, KEPT = (
    "MASTER_SECRET",
    "MASTER_SECRET_NEXT",
    "MASTER_SECRET_PREVIOUS",
    "MASTER_KEPT_KEYS",
)
WRITE_TIMEOUT_S = 120.0


class SecretRotation:
    """Replace the secret; the caller restarts the master afterwards.

    Parameters
    ----------
    check_restart
        Raises ``ConfigError`` if the master could not restart; None without a master.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        clock: Clock,
        *,
        check_restart: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._check_restart = check_restart
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._file = SecretsFile(settings.home / ENV_NAME)

    async def rotate(self, entry: AuditEntry) -> RotationView:
        """Create a new secret, and move ``.env`` and the ledger to it.

        Parameters
        ----------
        entry
            The audit row, written in the transaction that changes the ledger.

        Raises
        ------
        ConfigError
            The master could not restart with the config as it is; nothing was changed.
        SecretRefused
            The secret does not come from ``.env``, which cannot be written, or an earlier rotation is not finished.
        LedgerError
            The ledger is away or failed; unless the message says otherwise, nothing was changed.
        """
        self._check()
        if self._check_restart is not None:
            await self._check_restart()
        present = master_secret_of(self._settings.identity)
        text = Secret(new_master_secret())
        successor = MasterSecret(Secret(check_master_secret(text.reveal())))
        kept = encode_kept_keys({purpose: present.derive(purpose) for purpose in LASTING_PURPOSES})
        await asyncio.to_thread(self._file.change, {NEXT: text, KEPT: kept})

        def reseal(connection: Connection) -> int:
            count = _reseal_all(connection, TokenVault(present), TokenVault(successor), self._clock)
            entry.detail = f"{count} nodes"
            entry.append(connection)
            return count

        try:
            count = await self._ledger.write(reseal, timeout_s=WRITE_TIMEOUT_S)
        except FleetError:
            await self._finish_or_undo()
            raise
        entry.written = True
        try:
            await asyncio.to_thread(_make_next_current, self._file, self._settings.ledger_cache_path)
        except SecretRefused as error:
            raise SecretRefused(
                f"the ledger uses the new secret, but .env could not be changed: {error.message}",
                hint=f"{error.hint}, then `fleet down --keep-nodes` and `fleet up`, which finishes it",
            ) from error
        return RotationView(nodes=count)

    def _check(self) -> None:
        identity = self._settings.identity
        if self._ledger.away is not None:
            raise LedgerUnavailable(f"the ledger is away: {self._ledger.away.why}", hint=self._ledger.away.hint)
        if self._file.read(PREVIOUS) is not None:
            raise SecretRefused(
                "the last rotation is not finished: nodes still hold keys of the previous secret",
                hint="`fleet status` shows how many; try again in a few minutes",
            )
        found = self._file.read(PRESENT)
        if found is None or check_master_secret(found.reveal()) != identity.master_secret.reveal():
            raise SecretRefused(
                f"MASTER_SECRET does not come from {self._settings.home / ENV_NAME}",
                hint="put it there, and let config.py take it from the environment as config.example.py does",
            )

    async def _finish_or_undo(self) -> None:
        """After a failure, finish or undo the rotation, depending on whether the transaction was committed."""
        with contextlib.suppress(LedgerError):
            await _resolve_interrupted(
                await asyncio.to_thread(_with_next_secret, self._settings, self._file), self._ledger
            )


def _reseal_all(connection: Connection, present: TokenVault, successor: TokenVault, clock: Clock) -> int:
    now = clock.now()
    for node_id, sealed in tokens.load_all(connection).items():
        tokens.store(connection, node_id, successor.seal(node_id, present.unseal(node_id, sealed)), at=now)
    active = nodes.list_active(connection)
    for node in active:
        nodes.raise_key_epoch(connection, node.id, at=now)
    for mailbox in mailboxes.load_all(connection):
        if mailbox.sealed_secret is not None:
            sealed = successor.seal(mailbox.id, present.unseal(mailbox.id, mailbox.sealed_secret))
            mailboxes.change(connection, mailbox.id, at=now, sealed_secret=sealed)
    return len(active)


def _load_sealed(connection: Connection) -> dict[str, bytes]:
    """Return all that is sealed with the vault's key, by the id of what it belongs to."""
    passwords = {one.id: one.sealed_secret for one in mailboxes.load_all(connection) if one.sealed_secret is not None}
    return tokens.load_all(connection) | passwords


def _reseal_late(connection: Connection, previous: TokenVault, present: TokenVault, clock: Clock) -> int:
    now, count = clock.now(), 0
    for node_id, sealed in tokens.load_all(connection).items():
        if _can_unseal(present, {node_id: sealed}) or not _can_unseal(previous, {node_id: sealed}):
            continue
        tokens.store(connection, node_id, present.seal(node_id, previous.unseal(node_id, sealed)), at=now)
        nodes.raise_key_epoch(connection, node_id, at=now)
        count += 1
    for mailbox in mailboxes.load_all(connection):
        held = {} if mailbox.sealed_secret is None else {mailbox.id: mailbox.sealed_secret}
        if held and not _can_unseal(present, held) and _can_unseal(previous, held):
            secret = previous.unseal(mailbox.id, held[mailbox.id])
            mailboxes.change(connection, mailbox.id, at=now, sealed_secret=present.seal(mailbox.id, secret))
    return count


def _make_next_current(file: SecretsFile, ledger_cache_path: Path) -> None:
    # The cached tokens are sealed with the previous secret.
    ledger_cache_path.unlink(missing_ok=True)
    file.change({PRESENT: file.read(NEXT), PREVIOUS: file.read(PRESENT), NEXT: None})


def _with_next_secret(settings: Settings, file: SecretsFile) -> Settings:
    text = file.read(NEXT)
    following = None if text is None else Secret(check_master_secret(text.reveal()))
    return replace(settings, identity=replace(settings.identity, next_secret=following))


async def finish_rotation(settings: Settings, ledger: Ledger, clock: Clock) -> Settings:
    """Finish or undo an interrupted rotation; returns the resulting settings.

    The token of a node that was added during the rotation may be sealed with the previous secret: it is sealed again.

    Raises
    ------
    LedgerError
        The ledger, which is needed to decide, is away.
    SecretRefused
        ``.env`` cannot be written.
    """
    settings = await _resolve_interrupted(settings, ledger)
    identity = settings.identity
    if identity.previous_secret is not None and ledger.away is None:
        previous, present = (
            TokenVault(MasterSecret(one)) for one in (identity.previous_secret, identity.master_secret)
        )
        late = await ledger.write(lambda connection: _reseal_late(connection, previous, present, clock))
        if late:
            log.warning(
                "tokens of nodes added during the rotation of MASTER_SECRET were sealed again", extra={"nodes": late}
            )
    return settings


async def _resolve_interrupted(settings: Settings, ledger: Ledger) -> Settings:
    identity = settings.identity
    if identity.next_secret is None:
        return settings
    if ledger.away is not None:
        raise LedgerUnavailable(
            f"MASTER_SECRET was being replaced, and the ledger, which shows how far, is away: {ledger.away.why}",
            hint=ledger.away.hint,
        )
    file = SecretsFile(settings.home / ENV_NAME)
    sealed = await ledger.read(_load_sealed)
    if await asyncio.to_thread(_can_unseal, TokenVault(MasterSecret(identity.next_secret)), sealed):
        await asyncio.to_thread(_make_next_current, file, settings.ledger_cache_path)
        log.warning("an interrupted rotation of MASTER_SECRET was finished")
        identity = replace(
            identity,
            master_secret=identity.next_secret,
            previous_secret=identity.master_secret,
            next_secret=None,
        )
    else:
        await asyncio.to_thread(file.change, {NEXT: None})
        log.warning("an interrupted rotation of MASTER_SECRET was undone")
        identity = replace(identity, next_secret=None)
    return replace(settings, identity=identity)


def _can_unseal(vault: TokenVault, sealed: dict[str, bytes]) -> bool:
    """Tell whether the tokens are sealed with a vault's secret: all of them are, or none."""
    for node_id, token in sealed.items():
        try:
            vault.unseal(node_id, token)
        except VaultError:
            return False
        return True
    # There are no tokens, so nothing can be lost by finishing.
    return True
