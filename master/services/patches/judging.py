"""Good, bad, or nothing that could be said: what the facts about patched nodes mean. Pure, so that a table can test it.

Ten bots give no statistics. What counts is what a fleet of ten has: an error that only patched nodes show, ends of
processes, what does not come up. Memory, latency and blocked loops count where they are clear, and are noted otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from master.services.patches.baselines import Baseline, Ending, NodeFacts, SeenError
from master.services.patches.memory_slope import HOUR_S, growth_of
from master.services.patches.plan import RolloutPlan
from master.services.patches.verdict import Outcome, Verdict
from master.supervision.states import NodeState
from master.wording import duration

OFTEN = 10.0
"""An error that there was before proves something when it is so many times as frequent."""
_LEAST_OFTEN = 5
_LEAST_SPAN_S = 60.0
_SAME_LINES_S = 1.0
"""Output that is read within this time of a restart may be the former process's."""
WARM_UP_S = 300.0
"""A new process grows until it has met what it is asked for."""
_SETTLED_S = 60.0
"""After new code was loaded into a running process."""
_CLEAR_MB = 8.0
_SLOW_TIMES, _SLOW_MS, _LEAST_PULSES = 3.0, 300.0, 3
_LATE_ANSWER, _LATE_WITHIN_S = "10062", 20.0
"""Discord's "Unknown interaction": a command that was used while the process was replaced reaches its successor
too late to be answered. Whatever restarts a bot that is used does this."""
_SIGKILL = 9
_NAMED = 3
_UP = frozenset({NodeState.READY, NodeState.DEGRADED})
_REASON_CHARACTERS = 300


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of errors as the judge needs it."""

    fingerprint: str
    kind: str
    """exception, exit, line, state."""
    title: str
    text: str = ""
    """How it looked when it was seen last: of an exception its traceback."""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A patched node: what was true of it before, and what is true now."""

    before: Baseline
    now: NodeFacts


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that speaks against a patch."""

    text: str
    """Without the node: ``TypeError in cogs/ranks.py``."""
    node_id: str
    name: str
    is_bad: bool = True
    weight: int = 0
    """Of several the heaviest is told first: what has a traceback explains what follows from it."""
    traceback: str = ""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All that a wave is judged by."""

    watched: Sequence[Watched]
    others: Sequence[NodeFacts] = ()
    """Nodes that run without the patch."""
    groups: Mapping[str, Group] = {}
    box_offline: bool = False
    """Whether Discord cannot be reached from here: then no node is to blame for anything."""
    restarts: bool = False
    """Whether the patch restarts the nodes."""


def judge_scene(scene: Scene, plan: RolloutPlan, soaked_s: float) -> Verdict:
    """Return what the facts say of the patched nodes.

    Compared with what they were before, and with those unpatched; an urgent patch, which is for a fleet that is
    broken, with before alone.
    """
    if scene.box_offline:
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason="this box cannot reach Discord: nothing can be said")
    if any(one.now.at < one.before.at for one in scene.watched):
        return _open("the clock of this box was set back: what happened since the patch cannot be told from before")
    others = () if plan.urgent else tuple(node for node in scene.others if node.state is not NodeState.OFFLINE)
    findings = [
        finding for one in scene.watched if one.now.is_wanted for finding in _findings(one, others, scene, plan)
    ]
    bad = [finding for finding in findings if finding.is_bad]
    bad_nodes = tuple(dict.fromkeys(finding.node_id for finding in bad))
    reason, traceback = _told(bad, others)
    if len(bad_nodes) > plan.most_failed:
        return Verdict(outcome=Outcome.BAD, reason=reason, traceback=traceback, bad_nodes=bad_nodes)
    notes = "; ".join(dict.fromkeys(f"{one.text} on {one.name}" for one in findings if not one.is_bad))
    if bad_nodes:
        notes = f"{reason} (MOST_FAILED allows {plan.most_failed}){f'; {notes}' if notes else ''}"
    verdict = _without_proof(scene, plan, soaked_s, set(bad_nodes))
    told = _cut(f"{verdict.reason}; noted: {notes}" if notes else verdict.reason)
    return Verdict(outcome=verdict.outcome, reason=told, traceback=traceback, bad_nodes=bad_nodes)


def _told(bad: list[Finding], others: Sequence[NodeFacts]) -> tuple[str, str]:
    """Return the heaviest finding with its nodes, in one line, and its traceback."""
    if not bad:
        return "", ""
    first = max(bad, key=lambda finding: finding.weight)
    names = [finding.name for finding in bad if finding.text == first.text]
    reason = f"{first.text} on {_names(names)}"
    if others and first.traceback:
        reason += ", which unpatched nodes do not have"
    further = len({finding.text for finding in bad}) - 1
    if further:
        reason += f"; and {further} more"
    return _cut(reason), first.traceback


def _names(names: Sequence[str]) -> str:
    kept = list(dict.fromkeys(names))
    if len(kept) > _NAMED:
        return f"{', '.join(kept[: _NAMED - 1])} and {len(kept) - _NAMED + 1} others"
    return " and ".join([", ".join(kept[:-1]), kept[-1]] if len(kept) > 1 else kept)


def _cut(text: str) -> str:
    return text if len(text) <= _REASON_CHARACTERS else f"{text[: _REASON_CHARACTERS - 3]}..."


# What speaks against it


class _Said(NamedTuple):
    """Something that speaks against a patch on one node."""

    text: str
    is_bad: bool
    weight: int
    traceback: str = ""


def _findings(one: Watched, others: Sequence[NodeFacts], scene: Scene, plan: RolloutPlan) -> list[Finding]:
    said = [
        *_new_errors(one, others, scene),
        *_endings(one, others, scene),
        *_not_up(one, plan),
        *_lapses(one, others),
        *_growth(one, others, plan),
        *_latency(one, others),
    ]
    return [
        Finding(
            node_id=one.now.node_id,
            name=one.now.name,
            text=what.text,
            is_bad=what.is_bad,
            weight=what.weight,
            traceback=what.traceback,
        )
        for what in said
    ]


def _begun(one: Watched) -> float:
    """Return when the process began that has the patch first; the moment of the patch where none began since."""
    return min((at for at in one.now.spawned if at > one.before.at), default=one.before.at)


def _new_errors(one: Watched, others: Sequence[NodeFacts], scene: Scene) -> Iterator[_Said]:
    began = _begun(one) if scene.restarts else one.before.at
    for fingerprint, seen in one.now.errors.items():
        group = scene.groups.get(fingerprint)
        if group is None or group.kind not in ("exception", "line") or seen.last_at <= began:
            continue  # What is not after it are the last words of the process before.
        if _LATE_ANSWER in group.title and began > one.before.at and seen.last_at <= began + _LATE_WITHIN_S:
            continue
        if group.kind == "line" and began > one.before.at and seen.last_at <= began + _SAME_LINES_S:
            continue
        times = _more_often(one, fingerprint, [other.errors.get(fingerprint) for other in others])
        if times is not None:
            often = f", {times:,.0f} times as often as before," if times else ""
            yield _Said(f"{group.title}{often}", True, 4 if group.kind == "exception" else 3, group.text)


def _more_often(one: Watched, fingerprint: str, elsewhere: Sequence[SeenError | None]) -> float | None:
    """Return how many times as frequent an error is as it was: 0.0 for a new one, None where that proves nothing."""
    at, now, seen = one.before.at, one.now.at, one.now.errors[fingerprint]
    before, known = one.before.errors.get(fingerprint), [error for error in elsewhere if error is not None]
    if before is None and seen.first_at > at and not known:
        return 0.0
    if any(error.last_at > at for error in known) or (before is None and seen.first_at <= at):
        return None
    count = seen.count - (0 if before is None else before.count)
    rates = [error.count / max(now - error.first_at, _LEAST_SPAN_S) for error in known]
    if before is not None:
        rates.append(before.count / max(at - before.first_at, _LEAST_SPAN_S))
    times = count / max(now - at, _LEAST_SPAN_S) / max(rates)
    return times if count >= _LEAST_OFTEN and times >= OFTEN else None


def _endings(one: Watched, others: Sequence[NodeFacts], scene: Scene) -> Iterator[_Said]:
    endings = [ending for ending in one.now.exits if ending.at > one.before.at]
    if scene.restarts and endings and endings[0].exit_code == 0:
        del endings[0]  # It ended so that the new code is loaded.
    if not endings:
        return
    allowed = 2 + 2 * one.before.exits * max(one.now.at - one.before.at, 0.0) / HOUR_S
    if one.before.exits and len(endings) <= allowed and one.before.was_broken:
        return  # No worse than before.
    by_hand = len(endings) == 1 and _was_killed(endings[0])
    outside = _most_of(others, lambda other: _began_after([ending.at for ending in other.exits], one.before.at))
    often = "once" if len(endings) == 1 else f"{len(endings)} times"
    yield _Said(
        f"ended {often} ({endings[-1].detail or 'without a word'})",
        not (by_hand or outside),
        2,
        _last_exit(one, scene),
    )


def _was_killed(ending: Ending) -> bool:
    """Tell whether it was killed from outside, and not for want of memory."""
    return ending.signal == _SIGKILL and "memory" not in ending.detail.casefold()


def _last_exit(one: Watched, scene: Scene) -> str:
    """Return how the last end of the node's process looked."""
    ends = [
        (seen.last_at, group.text)
        for fingerprint, seen in one.now.errors.items()
        if (group := scene.groups.get(fingerprint)) is not None
        and group.kind == "exit"
        and seen.last_at > one.before.at
    ]
    return max(ends, default=(0.0, ""))[1]


def _most_of(others: Sequence[NodeFacts], holds: Callable[[NodeFacts], bool]) -> bool:
    """Tell whether something is true of half of the unpatched nodes: then it comes from outside."""
    return bool(others) and 2 * sum(holds(other) for other in others) >= len(others)


def _began_after(moments: Sequence[float], at: float) -> bool:
    """Tell whether something happened since, and not in the hour before."""
    return any(moment > at for moment in moments) and not any(at - HOUR_S < moment <= at for moment in moments)


def _not_up(one: Watched, plan: RolloutPlan) -> Iterator[_Said]:
    now, before = one.now, one.before
    new_cogs = sorted(set(now.cogs_failed) - set(before.cogs_failed))
    if new_cogs:
        yield _Said(f"cogs failed: {', '.join(new_cogs)}", True, 3)
    if before.was_broken:
        return
    ended = any(ending.at > before.at for ending in now.exits)
    if now.state is NodeState.STARTING and (now.watched_s or 0.0) > plan.answer_within_s:
        yield _Said(f"not ready after {duration(plan.answer_within_s)}", True, 2)
    elif now.state is NodeState.MISSING or (now.state in (NodeState.BACKOFF, NodeState.QUARANTINED) and not ended):
        yield _Said(f"{now.state.value}{f' ({now.detail})' if now.detail else ''}", True, 2)
    elif now.state is NodeState.DEGRADED and not new_cogs and not now.cogs_failed:
        yield _Said(f"degraded{f' ({now.detail})' if now.detail else ''}", True, 2)


def _lapses(one: Watched, others: Sequence[NodeFacts]) -> Iterator[_Said]:
    at = one.before.at
    lapses = [lapse for lapse in one.now.lapses if lapse.at > at and "cog" not in lapse.detail]
    if lapses and not one.before.lapses and not one.before.was_broken and one.now.state is not NodeState.DEGRADED:
        outside = _most_of(others, lambda other: _began_after([lapse.at for lapse in other.lapses], at))
        yield _Said(f"did not pulse for a while ({lapses[-1].detail or 'it has recovered'})", not outside, 2)
    stalls = [stall for stall in one.now.stalls if stall.at > at]
    if stalls and not one.before.stalls:
        outside = any(stall.at > at for other in others for stall in other.stalls)
        yield _Said(f"something blocks its event loop ({stalls[-1].detail})", not outside, 2)


def _watched_from(one: Watched) -> float:
    """Return from when on its readings say something: a new process first has to warm up."""
    began = [at for at in one.now.spawned if at > one.before.at]
    return began[-1] + WARM_UP_S if began else one.before.at + _SETTLED_S


def _growth(one: Watched, others: Sequence[NodeFacts], plan: RolloutPlan) -> Iterator[_Said]:
    begin = _watched_from(one)
    growth = growth_of([reading for reading in one.now.memory if reading.at >= begin])
    if growth is None:
        return
    before = max(one.before.memory_mb_h or 0.0, 0.0)
    if growth.mb_per_hour - before < plan.memory_slope_mb_h:
        return
    elsewhere = [growth_of([reading for reading in other.memory if reading.at >= begin]) for other in others]
    outside = any(other is not None and 2 * other.mb_per_hour >= growth.mb_per_hour for other in elsewhere)
    is_clear = growth.is_steady and growth.mb >= _CLEAR_MB and not outside
    was = "not known before" if one.before.memory_mb_h is None else f"{before:,.0f} before"
    yield _Said(f"memory grows by {growth.mb_per_hour:,.0f} MB an hour ({was})", is_clear, 1)


def _latency(one: Watched, others: Sequence[NodeFacts]) -> Iterator[_Said]:
    at, before = one.before.at, one.before.latency_ms
    readings = [reading.mb for reading in one.now.latencies if reading.at > at]
    if before is None or len(readings) < _LEAST_PULSES:
        return
    from statistics import median

    now_ms = median(readings)
    if now_ms < max(_SLOW_TIMES * before, before + _SLOW_MS):
        return
    elsewhere = [[reading.mb for reading in other.latencies if reading.at > at] for other in others]
    outside = any(other and 2 * median(other) >= now_ms for other in elsewhere)
    is_clear = min(readings) >= _SLOW_TIMES * before and not outside
    yield _Said(f"Discord hears it after {now_ms:,.0f} ms ({before:,.0f} before)", is_clear, 1)


# What is said when nothing speaks against it


def _without_proof(scene: Scene, plan: RolloutPlan, soaked_s: float, bad_nodes: set[str]) -> Verdict:
    """Return what is to be said of nodes on which nothing is bad."""
    nodes = [one for one in scene.watched if one.now.is_wanted and one.now.node_id not in bad_nodes]
    if not nodes:
        return _open("none of the patched nodes runs")
    broken = [one for one in nodes if one.before.was_broken]
    still = [one for one in broken if not _is_cured(one, soaked_s)]
    not_yet = [one for one in nodes if one.now.state not in _UP and one not in still]
    if not_yet:
        return _open(f"{_names([one.now.name for one in not_yet])}: {not_yet[0].now.state.value}")
    if soaked_s + 0.5 < plan.soak_s:
        return _open(f"watched for {duration(soaked_s)} of {duration(plan.soak_s)}")
    if still:
        names = _names([one.now.name for one in still])
        return _open(f"no better than before: {names} ({still[0].now.state.value}, as it was)")
    if broken:
        return _good(f"{_names([one.now.name for one in broken])} {_what_ended(broken)}")
    if plan.soak_s <= 0 or plan.urgent:
        return _good(f"{_count(nodes)} ready, no new error")
    return _by_use(nodes, plan)


def _is_cured(one: Watched, soaked_s: float) -> bool:
    if one.now.state is not NodeState.READY:
        return False
    return one.before.exits == 0 or (one.now.uptime_s or 0.0) >= 0.8 * soaked_s


def _what_ended(cured: Sequence[Watched]) -> str:
    exits = sum(one.before.exits for one in cured)
    if exits:
        return f"ended {exits} times in the hour before, and not any more"
    return f"{cured[0].before.state.value} before, and ready now"


def _by_use(nodes: Sequence[Watched], plan: RolloutPlan) -> Verdict:
    """Return whether it is good: it was used; nothing that happened proves nothing."""
    uses = [_uses_since(one) for one in nodes]
    known = [use for use in uses if use is not None]
    if sum(known):
        on = sum(use > 0 for use in known)
        times = "once" if sum(known) == 1 else f"{sum(known)} times"
        return _good(f"used {times} on {on} of {_count(nodes)}, no new error")
    names = _names([one.now.name for one in nodes])
    if known:
        return _open(f"nothing happened: no command and no message reached {names} in {duration(plan.soak_s)}")
    return _good(f"{names}: no error, alive, memory {_memory(nodes)} for {duration(plan.soak_s)}; its use is not known")


def _uses_since(one: Watched) -> int | None:
    if one.now.uses is None:
        return None
    before = one.before.uses or 0
    # Fewer than before: its file was made anew.
    return one.now.uses - before if one.now.uses >= before else one.now.uses


def _memory(nodes: Sequence[Watched]) -> str:
    known = [growth_of([reading for reading in one.now.memory if reading.at >= _watched_from(one)]) for one in nodes]
    return "not known" if all(growth is None for growth in known) else "flat"


def _count(nodes: Sequence[Watched]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


def _open(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason=_cut(reason))


def _good(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.GOOD, reason=_cut(reason))
