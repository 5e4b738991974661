"""Groups of errors as the ledger has them: listed, found by a part of their fingerprints, and shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import error_events, error_groups, nodes
from master.ledger.rows.records import ErrorGroup
from master.services.core.error_views import ErrorDetail, ErrorGroupView, ErrorOnNode
from master.services.core.errors import NoSuchNode
from master.services.healing.errors import NoSuchErrorGroup
from master.services.healing.group_state import state_now
from master.services.healing.library import SolutionLibrary
from master.services.healing.sighting import SeenIn
from master.services.healing.templates import readable
from master.supervision.clock import Clock

MOST_READ = 5_000
"""Groups that are looked through for those of a state or a node."""
SEPARATOR = "--"
"""In a sample: between the lines before an error and the error, as grep has it."""
_IN_A_STATEMENT = 500
_FINGERPRINT = re.compile(r"[0-9a-f]{1,16}")
_HINT = "`fleet errors list` shows them"


class ErrorBook:
    """Read groups of errors.

    Parameters
    ----------
    library
        The solutions that may know an error.
    """

    def __init__(self, ledger: Ledger, clock: Clock, library: SolutionLibrary) -> None:
        self._ledger, self._clock, self._library = ledger, clock, library

    async def list_groups(self, *, node: str, state: str, since: float, limit: int) -> list[ErrorGroupView]:
        """Return groups, those that were seen last first.

        Parameters
        ----------
        node, state
            Only groups of this node, or in this state; empty for all.
        since
            Only what was seen since then, in Unix seconds.

        Raises
        ------
        NoSuchNode
        LedgerError
        """
        now = self._clock.now()

        def read(connection: Connection) -> list[ErrorGroupView]:
            few = not node and not state
            groups = error_groups.recent(connection, limit=limit if few else MOST_READ)
            groups = [group for group in groups if group.last_at.timestamp() >= since]
            groups = [group for group in groups if not state or state_now(group, now) == state]
            views = self._views(connection, groups)
            if node:
                if node.casefold() not in (name.casefold() for name in nodes.names(connection).values()):
                    raise NoSuchNode(f"there is no node called {node[:60]!r}", hint="`fleet status` lists them")
                views = [view for view in views if any(one.node.casefold() == node.casefold() for one in view.nodes)]
            return views[:limit]

        return await self._ledger.read(read)

    async def find(self, prefix: str) -> ErrorGroup:
        """Return the group whose fingerprint is, or alone begins with, some hex digits.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        wanted = prefix.strip().lower()
        if not _FINGERPRINT.fullmatch(wanted):
            raise NoSuchErrorGroup(f"{prefix[:60]!r} is no fingerprint: it has up to 16 hex digits", hint=_HINT)
        found = await self._ledger.read(lambda connection: error_groups.beginning_with(connection, wanted, limit=4))
        if not found:
            raise NoSuchErrorGroup(f"no error has a fingerprint that begins with {wanted}", hint=_HINT)
        if len(found) > 1:
            which = ", ".join(group.fingerprint for group in found[:3])
            more = " and others" if len(found) > 3 else ""
            raise NoSuchErrorGroup(f"several begin with {wanted}: {which}{more}", hint="type more of it")
        return found[0]

    async def view_of(self, group: ErrorGroup) -> ErrorGroupView:
        """Return the view of a group.

        Raises
        ------
        LedgerError
        """
        (view,) = await self._ledger.read(lambda connection: self._views(connection, [group]))
        return view

    async def show(self, prefix: str) -> ErrorDetail:
        """Return all that is known of a group.

        Raises
        ------
        NoSuchErrorGroup
        LedgerError
        """
        group = await self.find(prefix)
        before, text = parts_of_sample(group.sample)
        return ErrorDetail(
            group=await self.view_of(group),
            lines_before=tuple(before),
            text=text,
            solutions=tuple(await asyncio.to_thread(self._that_know, text)),
        )

    def _that_know(self, text: str) -> list[str]:
        """Return the ids of the solutions that know an error; blocks."""
        if not self._library.entries:
            self._library.load()  # Without a master nobody has.
        content = text.encode("utf-8", "replace")
        return sorted(
            {match.solution.id for seen_in in SeenIn for match in self._library.matcher.scan(seen_in, content)}
        )

    def _views(self, connection: Connection, groups: Sequence[ErrorGroup]) -> list[ErrorGroupView]:
        names, found = nodes.names(connection), dict[str, list[ErrorOnNode]]()
        fingerprints = [group.fingerprint for group in groups]
        for at in range(0, len(fingerprints), _IN_A_STATEMENT):
            for row in error_events.by_node(connection, fingerprints[at : at + _IN_A_STATEMENT]):
                name, last_at = names.get(row.node_id, row.node_id), row.last_at.timestamp()
                found.setdefault(row.fingerprint, []).append(ErrorOnNode(node=name, count=row.count, last_at=last_at))
        return [self._view(group, found.get(group.fingerprint, [])) for group in groups]

    def _view(self, group: ErrorGroup, seen_on: list[ErrorOnNode]) -> ErrorGroupView:
        state = state_now(group, self._clock.now())
        return ErrorGroupView(
            fingerprint=group.fingerprint,
            state=state,
            kind=group.kind,
            title=readable(group.title),
            count=group.count,
            first_at=group.first_at.timestamp(),
            last_at=group.last_at.timestamp(),
            nodes=tuple(sorted(seen_on, key=lambda one: (-one.count, one.node))),
            muted_until=group.muted_until.timestamp() if state == "muted" and group.muted_until else None,
            changed_at=None if group.changed_at is None else group.changed_at.timestamp(),
            changed_by=group.changed_by,
        )


def parts_of_sample(sample: str) -> tuple[list[str], str]:
    """Return the lines before an error, and the error, from the sample of its group."""
    before, rule, text = sample.partition(f"\n{SEPARATOR}\n")
    return (before.split("\n"), text) if rule else ([], sample)
