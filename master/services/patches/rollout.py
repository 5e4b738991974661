"""Roll-outs: what operators may do to them, and who carries them out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from master.bus import EventBus
from master.configuration.settings import Settings
from master.errors import FleetError
from master.events import AlertLevel, NodeReady, PatchChanged
from master.ledger.database import Ledger
from master.ledger.errors import LedgerTimedOut, LedgerUnavailable
from master.ledger.rows import patch_nodes, patches
from master.ledger.rows.records import Node, Patch, PatchNode, PatchState
from master.services.core.patch_views import PatchNodeView
from master.services.patches.baselines import decode
from master.services.patches.driving import ACTIVE, Drive, DriveTools, nobody
from master.services.patches.errors import PatchNotFound, PatchNotNow, PatchRefused, Refusal
from master.services.patches.left_over import left_over
from master.services.patches.plan import plan_for
from master.services.patches.progress import Progress, progress_of, progress_text
from master.services.patches.showing import document_of
from master.services.patches.template import needs_template
from master.services.patches.trusting import LedgerAcceptance

log = logging.getLogger(__name__)

_LOOKED_AT = 50
"""Patches that a new master looks at for a template that was not patched yet, or not taken back."""
MOST_CHOSEN = 100
"""Nodes that an operator may name one by one: their ids are part of the plan, whose column has 4,000 characters."""
_FAILED = ("failed", "rolled_back", "rollback_failed")
_NEVER_ORDERED = ("waiting", "skipped", "absent")
_TOLD_TIMES = 5
_LEFT = ("ordered", "received", "staged", "applied", "healthy")
_COULD: dict[PatchState, str] = {
    "received": "`fleet patch deploy` rolls it out",
    "approved": "it begins as soon as its nodes are free",
    "rolling": "`fleet patch pause`, `abort` and `rollback` stop it",
    "soaking": "`fleet patch pause`, `abort` and `rollback` stop it; after its soak `resume` goes on",
    "asking": "`fleet patch resume` goes on, `fleet patch rollback` goes back",
    "paused": "`fleet patch resume` goes on, `fleet patch rollback` goes back",
    "done": "`fleet patch rollback` takes it back",
    "rolling_back": "`fleet patch status` shows how far it is",
    "rolled_back": "it is quarantined: correct it, and sign it as a new version",
    "aborted": "`fleet patch retry` takes it up again, `fleet patch rollback` takes it back",
    "failed": "`fleet patch retry` tries again",
}


class RollOuts:
    """Carry out roll-outs, and let operators steer them.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    """

    def __init__(
        self,
        tools: DriveTools,
        *,
        ledger: Ledger,
        bus: EventBus,
        settings: Callable[[], Settings],
        acceptance: LedgerAcceptance,
    ) -> None:
        self._tools, self._book, self._clock = tools, tools.book, tools.clock
        self._ledger = ledger
        self._bus = bus
        self._settings = settings
        self._acceptance = acceptance
        self._drives: dict[str, Drive] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._ordered_at: dict[tuple[str, str], float] = {}
        self._took_ms: dict[tuple[str, str], int] = {}
        self._group: asyncio.TaskGroup | None = None
        self.once_good: Callable[[Node], Coroutine[Any, Any, None]] | None = None
        """Called when a patch is good on a node that is still to get others; set by who brings them."""
        tools.statuses.on_moved = self._on_moved
        tools.statuses.on_restart_wanted = self._on_restart_wanted
        bus.on(NodeReady, self._on_ready)

    # Carrying out

    async def run(self) -> None:
        """Carry out roll-outs until cancelled, those that an earlier master began first."""
        await self._ledger.wait_available()
        going_on = await self._ledger.read(_going_on)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for patch_id in dict.fromkeys(going_on):
                    patch = await self._book.load(patch_id)
                    if patch is not None and patch.state in (*ACTIVE, "paused"):
                        self._drive(patch_id).taken_up = True
                # And what operators began meanwhile.
                for patch_id in dict.fromkeys((*going_on, *self._drives)):
                    self._go_on(patch_id)
                    for row in self._book.nodes(patch_id):
                        if row.state == "healthy":
                            self._praise_late(row)
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._tasks.clear()
            for drive in self._drives.values():
                await drive.end()
            await self._book.end()

    def _drive(self, patch_id: str) -> Drive:
        if patch_id not in self._drives:
            self._drives[patch_id] = Drive(patch_id, self._tools, self._others, self._require_trusted)
        return self._drives[patch_id]

    def _others(self) -> list[Patch]:
        found = (self._book.get(patch_id) for patch_id in self._drives)
        going_on = (*ACTIVE, "paused")
        return [patch for patch in found if patch is not None and patch.state in going_on]

    def _go_on(self, patch_id: str) -> None:
        """Have a patch driven, if there is something to do."""
        patch = self._book.get(patch_id)
        is_left = patch is not None and needs_template(patch)
        if patch is None or (patch.state not in (*ACTIVE, "paused") and not is_left):
            return
        drive = self._drive(patch_id)
        drive.woken.set()
        task = self._tasks.get(patch_id)
        if self._group is not None and (patch.state in ACTIVE or is_left) and (task is None or task.done()):
            self._tasks[patch_id] = self._group.create_task(
                self._run_one(drive), name=f"roll-out {patch.name} {patch.version}"
            )

    async def _run_one(self, drive: Drive) -> None:
        """Drive one roll-out; a defect in it must not end the others."""
        patch = drive.patch
        try:
            await self._drive_through_outages(drive)
        except Exception as error:
            log.exception("a roll-out failed, and is paused", extra={"patch": patch.id})
            await self._pause_broken(drive, f"{type(error).__name__}: {error}")
        if drive.patch.state not in (*ACTIVE, "paused"):
            self._drives.pop(patch.id, None)
            if not any(row.state in ("absent", *_LEFT) for row in self._book.nodes(patch.id)):
                await self._book.flush()
                self._book.forget(patch.id)
            # Those that wait for its nodes.
            for other in self._drives.values():
                other.woken.set()

    async def _drive_through_outages(self, drive: Drive) -> None:
        """Drive one roll-out to its end; each step begins with what is on record, and so can be taken again."""
        while True:
            try:
                await drive.run()
                return
            except (LedgerUnavailable, LedgerTimedOut) as error:
                log.warning("a roll-out waits for the ledger", extra={"patch": drive.patch_id, "why": error.message})
                await self._book.wait_for_ledger()

    async def _pause_broken(self, drive: Drive, why: str) -> None:
        async with drive.lock:
            patch = drive.patch
            self._put(
                patch,
                "paused",
                progress=self._paused(patch),
                reason=f"a defect stopped it: {why}",
                actor="system:master",
            )
            await self._book.flush()
        self._tools.alerts.raise_alert(
            AlertLevel.ERROR,
            f"The roll-out of {patch.name} {patch.version} is paused",
            key=f"patch:{patch.id}:defect",
            text=f"{why}\nThis is a bug in Fleetmaster; the master's log has the details.",
        )

    def _on_moved(self, row: PatchNode) -> None:
        self._note_time(row)
        drive = self._drives.get(row.patch_id)
        if drive is not None:
            drive.note(row)
        self._say_what_is_left(row.patch_id)
        if row.state in _FAILED:
            self._tell_late(row)
        elif row.state == "healthy":
            self._praise_late(row)
        node = self._tools.directory.get(row.node_id)
        if row.state == "good" and self._group and self.once_good and node and self._book.absent_of(row.node_id):
            self._group.create_task(self.once_good(node), name=f"next patch of {node.name}")

    def _say_what_is_left(self, patch_id: str) -> None:
        """Say of a patch that is done which nodes are not, as it is now."""
        patch = self._book.get(patch_id)
        if patch is not None and patch.state == "done":
            left = left_over(self._book.nodes(patch_id), self._tools.directory.name_of)
            if left != patch.reason:
                self._book.put(replace(patch, reason=left))

    def _on_restart_wanted(self, row: PatchNode, detail: str, release: int | None) -> bool:
        drive = self._drives.get(row.patch_id)
        return drive is not None and drive.restart_back(row, detail, release)

    def _praise_late(self, row: PatchNode) -> None:
        """Have a node call a patch good whose roll-out is over: it got it before it started, or it was aborted."""
        patch, node = self._book.get(row.patch_id), self._tools.directory.get(row.node_id)
        if self._group is None or patch is None or node is None or patch.state not in ("done", "aborted"):
            return

        async def praise(node: Node, patch: Patch) -> None:
            await asyncio.sleep(progress_of(patch).good_after_s)
            now = self._book.node(patch.id, node.id)
            if now is None or now.state != "healthy":
                return
            try:
                await self._tools.ways.mark_good(node, patch, now, self._tools.statuses.move_if_newer)
            except FleetError as error:
                log.warning("a patch was not called good", extra={"node": node.name, "why": error.message})

        self._group.create_task(praise(node, patch), name=f"good on {node.name}")

    def _tell_late(self, row: PatchNode) -> None:
        """Tell of a node on which a patch did not hold, that was rolled out before."""
        patch = self._book.get(row.patch_id)
        if patch is None or patch.state != "done":
            return
        name = self._tools.directory.name_of(row.node_id)
        label = f"{patch.name} {patch.version}"
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"{label} did not hold on {name}",
            key=f"patch:{patch.id}:{row.node_id}",
            text="It went back to what it ran before. The others keep it: "
            f"`fleet patch rollback {label!r}` takes it back.",
            quote=row.detail[-1_500:],
            node=name,
        )

    def _on_ready(self, event: NodeReady) -> None:
        """Ask a node again whose process was replaced while it was about to take a patch."""
        for drive in self._drives.values():
            drive.ask_again(event.node_id)

    def _note_time(self, row: PatchNode) -> None:
        key, now_s = (row.patch_id, row.node_id), self._clock.monotonic()
        if row.state in ("ordered", "rolling_back"):
            self._ordered_at[key] = now_s
            self._took_ms.pop(key, None)
        elif row.state != "good" and key in self._ordered_at:
            self._took_ms[key] = round((now_s - self._ordered_at[key]) * 1_000)

    def with_times(self, patch_id: str, nodes: tuple[PatchNodeView, ...]) -> tuple[PatchNodeView, ...]:
        """Return the nodes of a patch with how long each took, as far as this master saw it."""
        ids = {node.name: node.id for node in self._tools.directory}
        return tuple(replace(view, ms=self._took_ms.get((patch_id, ids.get(view.node, "")))) for view in nodes)

    # Steering

    def announce(self, patch: Patch, actor: str) -> None:
        """Tell that a patch was received."""
        self._book.keep(patch, ())
        self._bus.publish(
            PatchChanged(
                at=self._clock.now(),
                patch_id=patch.id,
                name=f"{patch.name} {patch.version}",
                state=patch.state,
                actor=actor,
            )
        )

    async def change(self, patch_id: str, change: Callable[[Patch], Patch]) -> None:
        """Change what is known of a patch, and nothing of its state.

        Raises
        ------
        PatchNotFound
        """
        async with self._steered(patch_id):
            self._book.put(change(await self._load(patch_id)))
            await self._book.flush()

    def tell_message(self, patch_id: str) -> None:
        """Tell the nodes that were ordered to take a patch before it was posted which message shows it."""
        if self._group is None:
            return
        for row in self._book.nodes(patch_id):
            if row.state not in _NEVER_ORDERED:
                self._group.create_task(self._tell_message(row), name=f"message to {row.node_id}")

    async def _tell_message(self, row: PatchNode) -> None:
        """Tell one node; a reaction is a view, and no reason to try for long."""
        for _ in range(_TOLD_TIMES):
            # Orders that bring a patch on its way go first, and a node takes one at a time.
            await asyncio.sleep(1.0)
            patch, node = self._book.get(row.patch_id), self._tools.directory.get(row.node_id)
            if patch is None or node is None:
                return
            try:
                await self._tools.ways.tell_message(node, patch)
                return
            except FleetError as error:
                log.info("a node does not know the message yet", extra={"node": node.name, "why": error.message})

    async def deploy(
        self,
        patch_id: str,
        *,
        actor: str,
        canary: int | None,
        soak_s: float | None,
        urgent: bool,
        chosen: tuple[str, ...],
    ) -> None:
        """Roll a patch out, once all who must have approved it.

        Raises
        ------
        PatchNotFound, PatchNotNow, PatchRefused, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            _require(patch, ("received",), "rolled out")
            await self._require_acceptable(patch)
            document, chosen = document_of(patch), tuple(dict.fromkeys(chosen))
            if len(chosen) > MOST_CHOSEN:
                raise PatchNotNow(
                    f"{len(chosen)} nodes are too many to be named one by one: {MOST_CHOSEN} at most",
                    hint="have the patch made for a tag: `fleet patch build --tag TAG`",
                )
            choice = await self._tools.targets.choose(document, chosen)
            if not choice.nodes:
                raise PatchNotNow(nobody(choice.skipped), hint=f"`fleet patch show '{patch.name} {patch.version}'`")
            plan = plan_for(document, self._settings().patches, canary=canary, soak_s=soak_s, urgent=urgent)
            known = progress_of(patch)
            progress = msgspec.convert({**msgspec.structs.asdict(known), **msgspec.structs.asdict(plan)}, Progress)
            progress = replace(progress, wanted_by=actor, chosen=chosen)
            await self._approve(patch, progress, actor)
        self._go_on(patch_id)

    async def approve(self, patch_id: str, *, actor: str) -> None:
        """Count an operator's approval, once; with the last one it begins, if somebody wants it rolled out.

        Raises
        ------
        PatchNotFound, PatchNotNow, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            _require(patch, ("received",), "approved")
            await self._require_acceptable(patch)
            progress = progress_of(patch)
            if actor in progress.approved_by:
                raise PatchNotNow(
                    f"you approved {patch.name} {patch.version} before: "
                    f"{len(progress.approved_by)} of {progress.approvals} have",
                    hint="another operator has to"
                    if len(progress.approved_by) < progress.approvals
                    else _COULD["received"],
                )
            await self._approve(patch, progress, actor)
        self._go_on(patch_id)

    async def _approve(self, patch: Patch, progress: Progress, actor: str) -> None:
        approved = tuple(dict.fromkeys((*progress.approved_by, actor)))
        self._begin_if_approved(patch, replace(progress, approved_by=approved), actor)
        await self._book.flush()

    def _begin_if_approved(self, patch: Patch, progress: Progress, actor: str) -> None:
        """Have a roll-out begin that somebody wants, and that all who must have approved."""
        missing = progress.approvals - len(progress.approved_by)
        if missing <= 0 and progress.wanted_by:
            self._put(patch, "approved", progress=progress, actor=actor)
        else:
            told = f"approved by {len(progress.approved_by)} of {progress.approvals}" if missing > 0 else "approved"
            if not progress.wanted_by:
                told += ", and nobody has asked for its roll-out yet"
            self._put(patch, "received", progress=progress, reason=told, actor=actor)

    async def pause(self, patch_id: str, *, actor: str, why: str) -> None:
        """Order no further node.

        Raises
        ------
        PatchNotFound, PatchNotNow, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            _require(patch, ACTIVE, "paused")
            self._put(patch, "paused", progress=self._paused(patch), reason=why, actor=actor)
            await self._book.flush()
        self._wake(patch_id)

    async def resume(self, patch_id: str, *, actor: str) -> None:
        """Go on with what is paused, that asks, or that is watched longer than it was to be since nothing happened.

        Raises
        ------
        PatchNotFound, PatchNotNow, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            progress = self._unpaused(progress_of(patch))
            drive = self._drive(patch_id)
            is_overdue = patch.state == "soaking" and drive.soaked_s() >= progress.soak_s
            _require(patch, ("paused", "asking", "soaking") if is_overdue else ("paused", "asking"), "resumed")
            if progress.paused_in != "rolling_back":
                await self._require_trusted(patch)
            drive.renew()
            if progress.paused_in is not None and progress.paused_in != "asking":
                self._put(patch, progress.paused_in, progress=replace(progress, paused_in=None), actor=actor)
                await self._book.flush()
            else:
                self._put(patch, "soaking", progress=replace(progress, paused_in=None), actor=actor)
                await drive.next_wave()
        self._go_on(patch_id)

    def _paused(self, patch: Patch) -> Progress:
        return replace(progress_of(patch), paused_in=patch.state, paused_after_s=self._drive(patch.id).soaked_s())

    def _unpaused(self, progress: Progress) -> Progress:
        """Return a progress whose wave was not watched while it was paused."""
        if progress.paused_in != "soaking":
            return progress
        return replace(progress, soak_began=self._clock.now().timestamp() - progress.paused_after_s)

    async def abort(self, patch_id: str, *, actor: str, why: str) -> None:
        """End a roll-out where it is: nothing further is done to any node.

        Raises
        ------
        PatchNotFound, PatchNotNow, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            _require(patch, ("received", *ACTIVE, "paused"), "aborted")
            drive = self._drives.get(patch_id)
            if drive is not None:
                drive.forget_orders()
            self._put(patch, "aborted", reason=why, actor=actor, is_end=True)
            await self._book.flush()
            for row in self._book.nodes(patch_id):
                if row.state == "healthy":
                    # What nobody calls good goes with the next start, and who has it is to keep it.
                    self._praise_late(row)
        self._wake(patch_id)
        if patch.state == "paused":
            self._drives.pop(patch_id, None)

    async def retry(self, patch_id: str, *, actor: str) -> None:
        """Take a roll-out up again, from where it was.

        Raises
        ------
        PatchNotFound, PatchNotNow, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            _require(patch, ("aborted", "failed"), "tried again")
            self._drive(patch_id).forget_orders()
            rows = self._book.nodes(patch_id)
            now, progress = self._clock.now(), progress_of(patch)
            # One that failed after it had begun is one that could not go back.
            if progress.goes_back or (patch.state == "failed" and progress.waves_in_all):
                for row in rows:
                    if row.state == "rollback_failed":
                        self._book.put_node(replace(row, state="rolling_back", changed_at=now))
                self._put(patch, "rolling_back", reason=patch.reason, actor=actor)
            elif progress.waves_in_all:
                await self._require_trusted(patch)
                for row in rows:
                    if row.state in ("failed", "rolled_back"):
                        self._book.put_node(
                            replace(row, state="waiting", detail="", changed_at=now, release_after=None)
                        )
                self._put(patch, "rolling", actor=actor)
            else:
                await self._require_acceptable(patch)
                self._begin_if_approved(patch, progress, actor)
            await self._book.flush()
        self._go_on(patch_id)

    async def rollback(self, patch_id: str, *, actor: str, why: str) -> None:
        """Have every node that has it go back.

        Raises
        ------
        PatchNotFound, PatchNotNow, LedgerError
        """
        async with self._steered(patch_id):
            patch = await self._load(patch_id)
            _require(patch, ("rolling", "soaking", "asking", "paused", "done", "aborted"), "rolled back")
            await self._require_on_top(patch)
            drive = self._drive(patch_id)
            await drive.turn_back(why or f"rolled back by {actor}", by_operator=True, actor=actor)
        self._go_on(patch_id)

    def _steered(self, patch_id: str) -> asyncio.Lock:
        """Return what is held while a patch is steered: no step of its roll-out comes in between.

        Raises
        ------
        LedgerUnavailable
            Nothing is done that could not be recorded.
        """
        if self._ledger.away is not None:
            raise LedgerUnavailable(
                f"the ledger is away, and nothing is done about patches meanwhile: {self._ledger.away.why}",
                hint=self._ledger.away.hint,
            )
        return self._drive(patch_id).lock

    async def _require_on_top(self, patch: Patch) -> None:
        """Check that no node has another patch above this one: it would keep the code of both.

        Raises
        ------
        PatchNotNow, LedgerError
        """
        held = [row for row in self._book.nodes(patch.id) if row.state in patch_nodes.HELD]
        above = await self._ledger.read(lambda connection: _above(connection, patch, held))
        if above:
            other, node_id, nodes = above
            more = f" and {nodes - 1} more" if nodes > 1 else ""
            label, on = f"{other.name} {other.version}", self._tools.directory.name_of(node_id)
            raise PatchNotNow(
                f"{patch.name} {patch.version} cannot be taken back: {label} was put on top of it, on {on}{more}",
                hint=f"`fleet patch rollback {label!r}` first; or have its author correct it in a new version",
            )

    async def _require_acceptable(self, patch: Patch) -> None:
        """Check that what is about to begin would still be accepted.

        Raises
        ------
        PatchRefused, LedgerError
        """
        if document_of(patch).expires <= self._clock.now().timestamp():
            raise PatchRefused(
                f"{patch.name} {patch.version} has expired since it was accepted",
                hint="have its author sign it again, as a new version",
                reason=Refusal.EXPIRED,
            )
        await self._require_trusted(patch)

    async def _require_trusted(self, patch: Patch) -> None:
        """Check that the key of a patch is trusted now, whatever was begun before.

        Raises
        ------
        PatchRefused, LedgerError
        """
        await self._ledger.read(lambda connection: self._acceptance.require_trusted(connection, patch.key_id))

    async def _load(self, patch_id: str) -> Patch:
        patch = await self._book.load(patch_id)
        if patch is None:
            raise PatchNotFound(f"there is no patch {patch_id}")
        return patch

    def _put(
        self,
        patch: Patch,
        state: PatchState,
        *,
        actor: str,
        progress: Progress | None = None,
        reason: str = "",
        is_end: bool = False,
    ) -> None:
        now = self._clock.now()
        self._book.put(
            replace(
                patch,
                state=state,
                rollout_plan=patch.rollout_plan if progress is None else progress_text(progress),
                changed_at=now,
                changed_by=actor[:120],
                reason=reason[:400],
                finished_at=now if is_end else None,
            ),
            actor=actor,
        )

    def _wake(self, patch_id: str) -> None:
        drive = self._drives.get(patch_id)
        if drive is not None:
            drive.woken.set()


def _going_on(connection: Connection) -> list[str]:
    """Return the ids of the patches of which something is left to be done, the oldest first."""
    found = [*patches.in_states(connection, patches.UNFINISHED), *patches.with_nodes_left(connection)]
    found += [patch for patch in patches.recent(connection, limit=_LOOKED_AT) if needs_template(patch)]
    return sorted({patch.id for patch in found})


def _above(connection: Connection, patch: Patch, held: Iterable[PatchNode]) -> tuple[Patch, str, int] | None:
    """Return a patch that nodes got after another one, the first of them, and how many have it."""
    since = {row.node_id: _given_at(row, patch) for row in held}
    for other in patches.recent(connection, limit=_LOOKED_AT):
        if other.id == patch.id:
            continue
        rows = [row for row in patch_nodes.of_patch(connection, other.id) if row.state in patch_nodes.HELD]
        have = [row.node_id for row in rows if row.node_id in since and _given_at(row, other) > since[row.node_id]]
        if have:
            return other, have[0], len(have)
    return None


def _given_at(row: PatchNode, patch: Patch) -> float:
    """Return when a node was given a patch, by the master's own word: what nodes say of it proves nothing."""
    return decode(row.baseline, at=patch.received_at).at


def _require(patch: Patch, states: tuple[PatchState, ...], what: str) -> None:
    """Raise unless a patch is in one of these states."""
    if patch.state not in states:
        is_now = patch.state.replace("_", " ")
        raise PatchNotNow(
            f"{patch.name} {patch.version} cannot be {what}: it is {is_now}"
            + (f" ({patch.reason})" if patch.reason else ""),
            hint=_COULD[patch.state],
        )
