"""Accepting a bundle: what was verified is kept under its digest, and put on record with the version that it raises."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.files import read_regular
from handshake.patch_bundle import MAX_BUNDLE_BYTES
from handshake.patch_document import SUFFIX, PatchDocument
from master.configuration.settings import Settings
from master.durable import replace_file
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows import patches
from master.ledger.rows.records import Patch, PatchKey
from master.services.core.errors import FilesFailed
from master.services.patches.errors import PatchRefused
from master.services.patches.plan import plan_for
from master.services.patches.progress import begin, progress_text
from master.supervision.clock import Clock


class AcceptedBundle(Protocol):
    """A bundle whose signature, key, version, fleet and content hold."""

    @property
    def document(self) -> PatchDocument:
        """Return what its author signed."""

    @property
    def document_text(self) -> str:
        """Return the signed bytes of it, as text."""

    @property
    def key(self) -> PatchKey:
        """Return the key that signed it."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """Return what it brings, by path."""

    @property
    def sha256(self) -> str:
        """Return the digest of the whole bundle."""


class Acceptance(Protocol):
    """Verifies bundles with the keys that this fleet trusts."""

    async def check(self, content: bytes) -> AcceptedBundle:
        """Return what a bundle is.

        Raises
        ------
        PatchRefused
        """

    def record(self, connection: Connection, accepted: AcceptedBundle) -> None:
        """Note its version as the highest of its key, in the transaction that puts the patch on record.

        Raises
        ------
        PatchRefused
            Another one with that version was accepted meanwhile.
        """


def bundle_path(folder: Path, sha256: str) -> Path:
    """Return where a bundle is kept."""
    return folder / f"{sha256}{SUFFIX}"


class Receiving:
    """Accept bundles.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    """

    def __init__(self, ledger: Ledger, clock: Clock, settings: Callable[[], Settings], acceptance: Acceptance) -> None:
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._acceptance = acceptance
        self._turn = asyncio.Lock()

    async def receive(self, path: str, *, actor: str) -> tuple[Patch, bool]:
        """Accept the bundle in a file; returns the patch, and whether it is new. One that is known is that patch.

        Raises
        ------
        PatchRefused
            It is not acceptable, or was rolled back before.
        FilesFailed
            The file cannot be read, or the bundle cannot be kept.
        LedgerError
            It is not on record, and not accepted.
        """
        content = await asyncio.to_thread(_read_bundle, path)
        # One after the other: two with the same version must not both pass.
        async with self._turn:
            digest = hashlib.sha256(content).digest()
            known = await self._ledger.read(lambda connection: patches.find_by_hash(connection, digest))
            if known is not None:
                if known.state in ("rolled_back", "rolling_back", "failed"):
                    raise PatchRefused(
                        f"{known.name} {known.version} was rolled back, and is quarantined: {known.reason}",
                        hint="correct it, and sign it as a new version",
                    )
                await asyncio.to_thread(self._keep, content, digest.hex())
                return known, False
            accepted = await self._acceptance.check(content)
            await asyncio.to_thread(self._keep, content, accepted.sha256)
            return await self._put_on_record(accepted, len(content), actor), True

    def _keep(self, content: bytes, sha256: str) -> None:
        folder = self._settings().patches_dir
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = bundle_path(folder, sha256)
            # What is there may be damaged: nodes would refuse it for ever.
            if not _holds(path, content):
                replace_file(path, content)
        except OSError as error:
            raise FilesFailed(
                f"the patch cannot be kept in {folder}: {error.strerror}", hint="`fleet doctor` looks at the disk"
            ) from error

    async def _put_on_record(self, accepted: AcceptedBundle, length: int, actor: str) -> Patch:
        document, now = accepted.document, self._clock.now()
        progress = replace(
            begin(plan_for(document, self._settings().patches)), restarts=document.restarts, approved_by=(actor,)
        )
        patch = Patch(
            id=new_ulid(self._clock),
            name=document.name,
            channel=document.channel,
            version=document.version,
            key_id=accepted.key.id,
            author=document.author,
            received_at=now,
            received_from=actor,
            bundle_hash=bytes.fromhex(accepted.sha256),
            bundle_bytes=length,
            document=accepted.document_text,
            state="received",
            rollout_plan=progress_text(progress),
            changed_at=now,
            changed_by=actor,
        )

        def write(connection: Connection) -> None:
            self._acceptance.record(connection, accepted)
            patches.insert(connection, patch)

        await self._ledger.write(write)
        return patch


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read_regular(path, len(content) + 1) == content
    except OSError:
        return False


def _read_bundle(path: str) -> bytes:
    """Return what is in a file, of which nothing is believed. Blocks."""
    if not os.path.isabs(path):
        raise PatchRefused(f"{path[:200]} is no absolute path", hint="the master has another working directory")
    try:
        content = read_regular(path, MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise FilesFailed(
            f"{path[:200]} cannot be read: {error.strerror}", hint="the master reads it as its own user"
        ) from error
    if len(content) > MAX_BUNDLE_BYTES:
        raise PatchRefused(f"{path[:200]} is larger than any patch: more than {MAX_BUNDLE_BYTES >> 20} MB")
    return content
