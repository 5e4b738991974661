"""The keys of authors whose patches are accepted: added on the box, revoked from anywhere, never forgotten."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import patch_keys, patch_versions
from master.ledger.rows.patch_keys import Deployed
from master.ledger.rows.records import PatchKey
from master.services.core.actors import Actor
from master.services.core.patch_key_views import DeployedPatch, PatchKeysView, PatchKeyView
from master.services.patches.errors import PatchNotFound
from master.services.patches.fleet_id import fleet_id_of
from master.services.patches.key_lines import PatchKeyRefused, read_key_line
from master.supervision.clock import Clock
from master.wording import visible

MOST_KEYS = 200
MAX_NAME = 80
_KIND = "SHA256:"
_SHORTEST_ID = 6
"""Characters of a fingerprint that name a key, if it is the only one that begins so."""


class PatchKeys:
    """Manage the keys of authors.

    Nothing is kept in memory: a key that was revoked a moment ago is revoked.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock

    async def by_id(self) -> dict[str, PatchKey]:
        """Return all keys that were ever added, with those revoked.

        Raises
        ------
        LedgerError
        """
        return {key.id: key for key in await self._ledger.read(patch_keys.list_all)}

    async def list(self) -> PatchKeysView:
        """Return the keys, those that are trusted first.

        Raises
        ------
        LedgerError
        """
        views = await self._ledger.read(_views)
        views.sort(key=lambda view: not view.is_trusted)
        return PatchKeysView(fleet_id=await fleet_id_of(self._ledger), keys=tuple(views))

    async def add(self, text: str, *, name: str, actor: Actor) -> PatchKeyView:
        """Trust a key from now on.

        Only on the box: whoever takes over an operator's account on Discord could sign code for every bot with it.

        Parameters
        ----------
        text
            A line as in a ``.pub`` file, authorized_keys or allowed_signers.
        name
            Whose key it is; empty: as the line says.

        Raises
        ------
        PatchKeyRefused
            It cannot be used, is known already, was revoked, or has another's name.
        LedgerError
        """
        if actor.face not in ("cli", "system"):
            raise PatchKeyRefused(
                "keys of authors are added on the box alone", hint="`fleet patch keys add FILE.pub` in a terminal there"
            )
        line = read_key_line(text)
        key = PatchKey(
            id=line.key.id,
            name=_checked_name(name or line.name),
            kind=line.key.kind,
            public=line.key.line,
            added_at=self._clock.now(),
            added_by=actor.label[:120],
        )

        def write(connection: Connection) -> None:
            _check_new(key, patch_keys.list_all(connection))
            patch_keys.insert(connection, key)

        await self._ledger.write(write)
        return _view(key)

    async def revoke(self, wanted: str, *, why: str, actor: Actor) -> PatchKeyView:
        """Accept nothing more of a key. What is deployed of it stays, and is in the answer.

        Parameters
        ----------
        wanted
            The key's name, its id, or how that begins.

        Raises
        ------
        PatchNotFound
            There is no such key, or more than one.
        PatchKeyRefused
            It was revoked before.
        LedgerError
        """

        def write(connection: Connection) -> PatchKeyView:
            key = _find(wanted, patch_keys.list_all(connection))
            at, by = self._clock.now(), actor.label[:120]
            if not patch_keys.revoke(connection, key.id, at=at, by=by, why=why):
                raise PatchKeyRefused(f"{key.name}'s key {key.id} was revoked already, {_revoked_text(key)}")
            return next(view for view in _views(connection) if view.id == key.id)

        return await self._ledger.write(write)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise PatchKeyRefused("the line does not say whose key it is", hint="give --name NAME")
    if len(name) > MAX_NAME or visible(name) != name:
        raise PatchKeyRefused(
            f"a key is not called {name[:MAX_NAME]!r}",
            hint=f"give --name NAME, of {MAX_NAME} visible characters at most",
        )
    if name.startswith(_KIND):
        raise PatchKeyRefused("a name that looks like the id of a key would be taken for one", hint="give --name NAME")
    return name


def _check_new(key: PatchKey, known: list[PatchKey]) -> None:
    for other in known:
        if other.id == key.id and other.revoked_at is not None:
            raise PatchKeyRefused(
                f"{key.id} was revoked, {_revoked_text(other)}", hint="a revoked key stays revoked: make a new one"
            )
        if other.id == key.id:
            raise PatchKeyRefused(
                f"{key.id} is trusted already, as {other.name}'s, since {_day(other.added_at)}",
                hint="there is nothing to do",
            )
        if other.revoked_at is None and other.name.casefold() == key.name.casefold():
            raise PatchKeyRefused(
                f"another key is called {other.name} already: {other.id}",
                hint=f"give --name, such as {key.name[: MAX_NAME - 7]}-laptop; "
                f"or revoke the other one: `fleet patch keys revoke {other.id}`",
            )
    if len(known) >= MOST_KEYS:
        raise PatchKeyRefused(f"{MOST_KEYS} keys are on record, which are the most")


def _find(wanted: str, keys: list[PatchKey]) -> PatchKey:
    """Return the key that is meant; of two with one name the one that is trusted."""
    wanted = wanted.strip()
    named = [key for key in keys if key.name.casefold() == wanted.casefold()]
    trusted = [key for key in named if key.revoked_at is None]
    start = wanted if wanted.startswith(_KIND) else _KIND + wanted
    begin = [key for key in keys if key.id.startswith(start) and len(start) >= len(_KIND) + _SHORTEST_ID]
    for found in (trusted, named, begin):
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(key.id for key in found[:3])
            raise PatchNotFound(f"{wanted!r} may be any of {len(found)} keys: {ids}", hint="give the whole id")
    raise PatchNotFound(f"there is no key called {wanted!r}", hint="`fleet patch keys list` has them")


def _revoked_text(key: PatchKey) -> str:
    why = f": {key.why}" if key.why else ""
    return f"on {_day(key.revoked_at)} by {key.revoked_by}{why}"


def _day(at: datetime | None) -> str:
    return "a day that is not on record" if at is None else f"{at:%Y-%m-%d}"


def _views(connection: Connection) -> list[PatchKeyView]:
    versions, deployed = patch_versions.list_all(connection), patch_keys.deployed(connection)
    return [
        replace(
            _view(key),
            versions={channel: version for (key_id, channel), version in versions.items() if key_id == key.id},
            deployed=_by_patch([one for one in deployed if one.key_id == key.id]),
        )
        for key in patch_keys.list_all(connection)
    ]


def _by_patch(deployed: list[Deployed]) -> tuple[DeployedPatch, ...]:
    patches = dict.fromkeys((one.patch_id, one.name, one.version) for one in deployed)
    return tuple(
        DeployedPatch(
            id=patch_id,
            name=name,
            version=version,
            nodes=tuple(one.node for one in deployed if one.patch_id == patch_id),
        )
        for patch_id, name, version in patches
    )


def _view(key: PatchKey) -> PatchKeyView:
    return PatchKeyView(
        id=key.id,
        name=key.name,
        kind=key.kind,
        public=key.public,
        added_at=key.added_at.timestamp(),
        added_by=key.added_by,
        is_trusted=key.revoked_at is None,
        revoked_at=None if key.revoked_at is None else key.revoked_at.timestamp(),
        revoked_by=key.revoked_by,
        why=key.why,
    )
