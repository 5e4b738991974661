"""What patched nodes do, found in the ledger and in memory, and what that says of the patch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from handshake.patch_document import DOCUMENTS
from master.ledger.database import Ledger
from master.ledger.rows import error_events, error_groups, patch_nodes, process_events, pulse_snapshots, solution_runs
from master.ledger.rows.records import Patch, ProcessRecord, PulseSnapshot, SolutionRun
from master.services.healing.error_book import parts_of_sample
from master.services.healing.groups import ErrorGroups
from master.services.healing.templates import readable
from master.services.patches.baselines import Baseline, Ending, Lapse, NodeFacts, SeenError, decode, encode
from master.services.patches.judging import Group, Scene, Watched, judge_scene
from master.services.patches.memory_slope import HOUR_S, Reading, growth_of
from master.services.patches.plan import RolloutPlan
from master.services.patches.verdict import Verdict
from master.supervision.clock import Clock
from master.supervision.connectivity import Connectivity
from master.supervision.supervisor import NodeView, Supervisor
from nodekit.gateway_session import read_uses

LOOK_BACK = timedelta(days=7)
"""An error that was not seen for so long is a new one when it is seen again."""
STALL_SOLUTIONS = ("heartbeat_blocked", "heartbeat_stuck")
"""The shipped solutions that know discord.py's word for a blocked event loop."""
_HOUR = timedelta(seconds=HOUR_S)
_NEVER_HAD = ("waiting", "skipped", "absent")
_EVENTS, _SNAPSHOTS, _RUNS, _PULSES = 300, 40, 300, 30


class _Rows(msgspec.Struct, kw_only=True):
    """What the ledger has about nodes."""

    errors: dict[str, dict[str, SeenError]]
    processes: dict[str, list[ProcessRecord]]
    snapshots: dict[str, list[PulseSnapshot]]
    stalls: dict[str, list[SolutionRun]]


class HealthJudge:
    """Judge what patched nodes do: a :class:`~master.services.patches.verdict.Judge`.

    Parameters
    ----------
    sessions_dir
        Where nodes count how often they are used.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        groups: ErrorGroups,
        supervisor: Supervisor,
        connectivity: Connectivity,
        clock: Clock,
        sessions_dir: Path,
    ) -> None:
        self._ledger, self._groups, self._supervisor = ledger, groups, supervisor
        self._connectivity, self._clock, self._sessions_dir = connectivity, clock, sessions_dir
        self._latencies: dict[str, deque[Reading]] = {}
        """Of nodes that were judged, one for each pulse."""

    async def baseline(self, node_id: str) -> str:
        """Return what is true of a node before it is patched, as JSON.

        Raises
        ------
        NoSuchNode
        LedgerError
        """
        view, now = self._supervisor.view(node_id), self._clock.now()
        facts = (await self._facts([view], now, now - _HOUR))[node_id]
        hour_ago = facts.at - HOUR_S
        from statistics import median

        growth = growth_of([reading for reading in facts.memory if reading.at >= hour_ago])
        return encode(
            Baseline(
                at=facts.at,
                state=facts.state,
                cogs_failed=facts.cogs_failed,
                errors=facts.errors,
                exits=sum(ending.at >= hour_ago for ending in facts.exits),
                lapses=sum(lapse.at >= hour_ago for lapse in facts.lapses),
                stalls=sum(stall.at >= hour_ago for stall in facts.stalls),
                memory_mb_h=None if growth is None else round(growth.mb_per_hour, 1),
                latency_ms=median(reading.mb for reading in facts.latencies) if facts.latencies else None,
                uses=facts.uses,
            )
        )

    async def judge(self, patch: Patch, plan: RolloutPlan, baselines: Mapping[str, str], soaked_s: float) -> Verdict:
        """Judge the patched nodes, whose ids have a baseline each, compared with before and with those unpatched.

        Raises
        ------
        LedgerError
        """
        now = self._clock.now()
        before = {node_id: decode(text, at=patch.received_at) for node_id, text in baselines.items()}
        since = datetime.fromtimestamp(min((one.at for one in before.values()), default=0.0), now.tzinfo) - _HOUR
        views = self._supervisor.snapshot()
        self._note_latencies(views)
        facts = await self._facts(views, now, since)
        watched = [Watched(before=before[node_id], now=facts[node_id]) for node_id in before if node_id in facts]
        had_it = await self._ledger.read(lambda connection: _that_had(connection, patch.id))
        unpatched = [view for view in views if view.pid is not None and view.node_id not in (before.keys() | had_it)]
        scene = Scene(
            watched=watched,
            others=[facts[view.node_id] for view in unpatched],
            groups=await self._seen_groups(watched),
            box_offline=self._connectivity.is_offline,
            restarts=DOCUMENTS.decode(patch.document).restarts,
        )
        return judge_scene(scene, plan, soaked_s)

    def _note_latencies(self, views: Iterable[NodeView]) -> None:
        """Note the latency that each node's last pulse tells, once for each pulse."""
        now = self._clock.now().timestamp()
        known = self._latencies
        self._latencies = {}
        for view in views:
            readings = self._latencies[view.node_id] = known.get(view.node_id) or deque(maxlen=_PULSES)
            if view.latency_ms is None or view.last_pulse_s_ago is None:
                continue
            at = now - view.last_pulse_s_ago
            if not readings or at - readings[-1].at > 1.0:
                readings.append(Reading(at, view.latency_ms))

    async def _facts(self, views: Collection[NodeView], now: datetime, since: datetime) -> dict[str, NodeFacts]:
        """Return what is true of nodes, with what happened to them since then."""
        await self._groups.settle()
        node_ids = [view.node_id for view in views]
        rows = await self._ledger.read(lambda connection: _read(connection, node_ids, now, since))
        uses = await asyncio.to_thread(self._read_uses, node_ids)
        return {view.node_id: self._facts_of(view, rows, uses[view.node_id], now, since) for view in views}

    def _read_uses(self, node_ids: Iterable[str]) -> dict[str, int | None]:
        """Return how often each node was used; blocks."""
        return {node_id: read_uses(self._sessions_dir / node_id) for node_id in node_ids}

    def _facts_of(self, view: NodeView, rows: _Rows, uses: int | None, now: datetime, since: datetime) -> NodeFacts:
        node_id, at = view.node_id, now.timestamp()
        processes = [row for row in reversed(rows.processes.get(node_id, [])) if row.at >= since]
        snapshots = [row for row in reversed(rows.snapshots.get(node_id, [])) if row.at >= since]
        return NodeFacts(
            node_id=node_id,
            name=view.name,
            at=at,
            state=view.state,
            is_wanted=self._supervisor.is_wanted(node_id),
            uptime_s=view.uptime_s,
            watched_s=view.watched_s,
            detail=view.detail,
            cogs_failed=view.cogs_failed,
            errors=rows.errors.get(node_id, {}),
            exits=tuple(
                Ending(at=row.at.timestamp(), exit_code=row.exit_code, signal=row.signal, detail=row.detail)
                for row in processes
                if row.kind == "exited"
            ),
            spawned=tuple(row.at.timestamp() for row in processes if row.kind == "spawned" and row.detail != "adopted"),
            lapses=tuple(
                Lapse(at=row.at.timestamp(), detail=row.detail) for row in processes if row.kind == "degraded"
            ),
            stalls=tuple(
                Lapse(at=run.at.timestamp(), detail=_stall(run.line))
                for run in reversed(rows.stalls.get(node_id, []))
                if run.at >= since
            ),
            memory=tuple(self._memory(node_id, snapshots, at)),
            latencies=tuple(self._latency(node_id, snapshots, view)),
            uses=uses,
        )

    def _memory(self, node_id: str, snapshots: Iterable[PulseSnapshot], at: float) -> list[Reading]:
        """Return a node's memory: by minutes as far as this master has seen it, before that by its snapshots."""
        ring = self._supervisor.history(node_id).coarse
        _, values = ring.read()
        begin = at - (len(values) - 1) * ring.slot_s
        older = [
            Reading(row.at.timestamp(), row.memory_bytes / 2**20)
            for row in snapshots
            if row.memory_bytes is not None and row.at.timestamp() < begin
        ]
        return [*older, *(Reading(begin + index * ring.slot_s, value) for index, value in enumerate(values))]

    def _latency(self, node_id: str, snapshots: Iterable[PulseSnapshot], view: NodeView) -> list[Reading]:
        noted = list(self._latencies.get(node_id, ()))
        if not noted and view.latency_ms is not None:
            noted = [Reading(self._clock.now().timestamp() - (view.last_pulse_s_ago or 0.0), view.latency_ms)]
        begin = noted[0].at if noted else float("inf")
        older = [
            Reading(row.at.timestamp(), float(row.latency_ms))
            for row in snapshots
            if row.latency_ms is not None and row.at.timestamp() < begin
        ]
        return [*older, *noted]

    async def _seen_groups(self, watched: Iterable[Watched]) -> dict[str, Group]:
        """Return the groups of what was seen on patched nodes since they were patched, with how it looked."""
        wanted = {
            fingerprint
            for one in watched
            for fingerprint, seen in one.now.errors.items()
            if seen.last_at > one.before.at
        }
        if not wanted:
            return {}
        return await self._ledger.read(lambda connection: _groups(connection, wanted))


def _read(connection: Connection, node_ids: Collection[str], now: datetime, since: datetime) -> _Rows:
    rows = _Rows(errors={}, processes={}, snapshots={}, stalls={})
    only = next(iter(node_ids)) if len(node_ids) == 1 else None
    for row in error_events.sums(connection, since=now - LOOK_BACK, node_id=only):
        rows.errors.setdefault(row.node_id, {})[row.fingerprint] = SeenError(
            count=row.count, first_at=row.first_at.timestamp(), last_at=row.last_at.timestamp()
        )
    for node_id in node_ids:
        rows.processes[node_id] = process_events.recent(connection, node_id, limit=_EVENTS)
        rows.snapshots[node_id] = pulse_snapshots.recent(connection, node_id, limit=_SNAPSHOTS)
    for solution in STALL_SOLUTIONS:
        for run in solution_runs.recent(connection, node_id=only, solution_id=solution, since=since, limit=_RUNS):
            rows.stalls.setdefault(run.node_id, []).append(run)
    return rows


def _that_had(connection: Connection, patch_id: str) -> set[str]:
    """Return the nodes that have a patch or had it: what they show excuses nobody."""
    return {row.node_id for row in patch_nodes.of_patch(connection, patch_id) if row.state not in _NEVER_HAD}


def _groups(connection: Connection, fingerprints: Iterable[str]) -> dict[str, Group]:
    found = {}
    for fingerprint in fingerprints:
        for group in error_groups.beginning_with(connection, fingerprint, limit=1):
            _, text = parts_of_sample(group.sample)
            found[fingerprint] = Group(
                fingerprint=fingerprint, kind=group.kind, title=readable(group.title), text=text.strip()
            )
    return found


def _stall(line: str) -> str:
    """Return what discord.py says of a blocked loop, without logger and time."""
    return line[line.find("heartbeat blocked") :].strip() if "heartbeat blocked" in line else line.strip()
