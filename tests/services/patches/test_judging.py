"""Is a patch good? A table of what fleets of 1, 2, 8 and 25 nodes show after one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import structs

from master.services.patches.baselines import Baseline, Ending, Lapse, NodeFacts, SeenError
from master.services.patches.judging import Group, Scene, Watched, judge_scene
from master.services.patches.memory_slope import Reading, growth_of
from master.services.patches.plan import RolloutPlan
from master.services.patches.verdict import Outcome, Verdict
from master.supervision.states import NodeState

AT = 1_000_000.0
SOAK_S = 300.0
NOW = AT + SOAK_S
PLAN = RolloutPlan(
    canary=1,
    waves=(25, 100),
    soak_s=SOAK_S,
    most_soak_s=3_600.0,
    most_failed=0,
    answer_within_s=60.0,
    at_once=25,
    back_at_once=5,
    approvals=1,
    memory_slope_mb_h=50.0,
)
TYPE_ERROR = Group(
    fingerprint="e1", kind="exception", title="TypeError in cogs/ranks.py", text="Traceback ...\nTypeError: no"
)
LINE = Group(fingerprint="l1", kind="line", title="ERROR cogs.ranks: cannot read <*>", text="ERROR cogs.ranks: ...")
EXIT = Group(fingerprint="x1", kind="exit", title="exited with code 1", text="exited with code 1\nTraceback ...")
LATE = Group(fingerprint="e2", kind="exception", title="NotFound 10062 in cogs/work.py", text="Traceback ...")
GROUPS = {group.fingerprint: group for group in (TYPE_ERROR, LINE, EXIT, LATE)}
GOOD, BAD, OPEN = Outcome.GOOD, Outcome.BAD, Outcome.INCONCLUSIVE


def before(state: NodeState = NodeState.READY, **facts: Any) -> Baseline:
    return structs.replace(Baseline(at=AT, state=state, uses=100, latency_ms=40.0, memory_mb_h=4.0), **facts)


def now(name: str = "atlas", state: NodeState = NodeState.READY, **facts: Any) -> NodeFacts:
    """Return a node that was used and that nothing is wrong with."""
    plain = NodeFacts(node_id=f"ID-{name}", name=name, at=NOW, state=state, uptime_s=9_000.0, uses=112)
    return structs.replace(plain, **facts)


def seen(count: int = 1, *, first_at: float = AT + 20, last_at: float = AT + 200) -> SeenError:
    return SeenError(count=count, first_at=first_at, last_at=last_at)


def others(many: int, **facts: Any) -> list[NodeFacts]:
    return [now(f"other{number}", **facts) for number in range(many)]


def memory(start_mb: float, mb_per_hour: float, *, minutes: int = 60, begin: float = AT) -> tuple[Reading, ...]:
    """Return readings of each minute, with the noise that a collector makes."""
    return tuple(
        Reading(begin + minute * 60, start_mb + mb_per_hour * minute / 60 + (minute % 3) * 0.2)
        for minute in range(minutes + 1)
    )


def ended(*moments: float, **facts: Any) -> tuple[Ending, ...]:
    return tuple(
        structs.replace(Ending(at=AT + moment, exit_code=1, detail="exited with code 1"), **facts) for moment in moments
    )


@dataclass
class Situation:
    """What a wave shows, and what is to be said of it."""

    called: str
    wanted: Outcome
    watched: Sequence[Watched]
    others: Sequence[NodeFacts] = ()
    says: str = ""
    plan: dict[str, Any] = field(default_factory=dict)
    soaked_s: float = SOAK_S
    scene: dict[str, Any] = field(default_factory=dict)
    traceback: str = ""

    def verdict(self) -> Verdict:
        scene = Scene(watched=self.watched, others=self.others, groups=GROUPS)
        return judge_scene(structs.replace(scene, **self.scene), structs.replace(PLAN, **self.plan), self.soaked_s)


def one(was: Baseline | None = None, **facts: Any) -> list[Watched]:
    return [Watched(before=was or before(), now=now(**facts))]


def many(count: int, change: Callable[[int], dict[str, Any]] = lambda _number: {}) -> list[Watched]:
    return [Watched(before=before(), now=now(f"node{number}", **change(number))) for number in range(count)]


AN_HOUR: dict[str, Any] = {"at": AT + 3_600.0}
SITUATIONS = [
    # Nothing is wrong
    Situation("used, no error, fleet of one", GOOD, one(), says="used 12 times on 1 of 1 node"),
    Situation("used, no error, canary of two", GOOD, one(), others(1)),
    Situation("all 25 patched, one of them used", GOOD, many(25, lambda n: {"uses": 101 if n == 7 else 100})),
    Situation("used once", GOOD, one(uses=101), others(7), says="used once on 1 of 1 node"),
    Situation("its session file was made anew, and it was used", GOOD, one(uses=3), says="used 3 times"),
    # Nothing happened
    Situation("nobody used it, fleet of one", OPEN, one(uses=100), says="no command and no message reached atlas"),
    Situation("nobody used eight", OPEN, many(8, lambda _n: {"uses": 100}), says="node0, node1 and 6 others"),
    Situation("a program whose use is not known", GOOD, one(before(uses=None), uses=None), says="its use is not known"),
    Situation("no soak was wanted", GOOD, one(uses=100), plan={"soak_s": 0.0}, soaked_s=0.0, says="1 node ready"),
    Situation("half of the soak", OPEN, one(), soaked_s=150.0, says="watched for 2m30s of 5m00s"),
    Situation("none of them runs", OPEN, one(is_wanted=False), says="none of the patched nodes runs"),
    Situation("without Discord", OPEN, one(exits=ended(9)), scene={"box_offline": True}, says="cannot reach Discord"),
    Situation("it is starting", OPEN, one(state=NodeState.STARTING, uptime_s=3.0), says="atlas: starting"),
    Situation(
        "the next master has adopted it, and has not heard of it yet",
        OPEN,
        one(state=NodeState.STARTING, uptime_s=9_000.0, watched_s=0.5),
        says="atlas: starting",
    ),
    # Errors
    Situation(
        "a new error on the canary", BAD, one(errors={"e1": seen()}), others(7),
        says="TypeError in cogs/ranks.py on atlas, which unpatched nodes do not have", traceback="TypeError: no",
    ),
    Situation("a new error, fleet of one", BAD, one(errors={"e1": seen()}), says="TypeError in cogs/ranks.py on atlas"),
    Situation("a new error while it soaks", BAD, one(errors={"e1": seen()}), soaked_s=30.0),
    Situation("a new error and no soak", BAD, one(errors={"e1": seen()}), plan={"soak_s": 0.0}, soaked_s=0.0),
    Situation("a new line in the log", BAD, one(errors={"l1": seen()}), others(1), says="cannot read"),
    Situation(
        "on one of 25 patched", BAD, many(25, lambda n: {"errors": {"e1": seen()} if n == 3 else {}}), says="on node3"
    ),
    Situation(
        "one of 25 where one may fail", GOOD, many(25, lambda n: {"errors": {"e1": seen()} if n == 3 else {}}),
        plan={"most_failed": 1}, says="MOST_FAILED allows 1",
    ),
    Situation(
        "a command that was used while it restarted came too late", GOOD,
        one(spawned=(AT + 5,), errors={"e2": seen(first_at=AT + 6, last_at=AT + 9)}), scene={"restarts": True},
    ),
    Situation(
        "answers are too late long after the restart", BAD,
        one(spawned=(AT + 5,), errors={"e2": seen(first_at=AT + 6, last_at=AT + 90)}), scene={"restarts": True},
    ),
    Situation("unpatched nodes have it too", GOOD, one(errors={"e1": seen(50)}), others(7, errors={"e1": seen(4)})),
    Situation(
        "unpatched nodes had it a day ago, as often", GOOD, one(errors={"e1": seen()}),
        others(1, errors={"e1": seen(9, first_at=AT - 90_000, last_at=AT - 80_000)}),
    ),
    Situation(
        "an urgent patch is not excused by others", BAD, one(errors={"e1": seen()}), others(7, errors={"e1": seen(4)}),
        plan={"urgent": True},
    ),
    Situation(
        "an old error goes on", GOOD,
        one(
            before(errors={"e1": seen(12, first_at=AT - 3_600, last_at=AT - 9)}),
            errors={"e1": seen(14, first_at=AT - 3_600)},
        ),
    ),
    Situation(
        "an old error is 50 times as frequent", BAD,
        one(
            before(errors={"e1": seen(12, first_at=AT - 3_600, last_at=AT - 9)}),
            errors={"e1": seen(62, first_at=AT - 3_600)},
        ),
        says="50 times as often as before, on atlas",
    ),
    Situation(
        "a rare old error, seen three times", GOOD,
        one(
            before(errors={"e1": seen(1, first_at=AT - 500_000, last_at=AT - 500_000)}),
            errors={"e1": seen(4, first_at=AT - 500_000)},
        ),
    ),
    Situation(
        "the last words of the process before", GOOD,
        one(errors={"e1": seen(first_at=AT + 1, last_at=AT + 2), "l1": seen(first_at=AT + 3, last_at=AT + 3.5)},
            spawned=(AT + 3,)),
        scene={"restarts": True},
    ),
    Situation(
        "a new error of the new process", BAD, one(errors={"e1": seen()}, spawned=(AT + 3,)), scene={"restarts": True}
    ),
    Situation("what the baseline could not say is no proof", GOOD, one(errors={"e1": seen(4, first_at=AT - 5)})),
    # Ends of processes
    Situation(
        "it ended once", BAD, one(exits=ended(5), errors={"x1": seen()}), others(7),
        says="ended once (exited with code 1) on atlas", traceback="Traceback",
    ),
    Situation("it crashes after five seconds, four times", BAD, one(exits=ended(5, 12, 20, 31)), says="ended 4 times"),
    Situation("crash loop of one of eight patched", BAD, many(8, lambda n: {"exits": ended(5, 9)} if n == 2 else {})),
    Situation(
        "quarantined", BAD, one(exits=ended(5, 9, 12), state=NodeState.QUARANTINED), says="ended 3 times"
    ),
    Situation(
        "killed by hand once", GOOD, one(exits=ended(5, exit_code=None, signal=9, detail="killed by SIGKILL")),
        says="noted: ended once (killed by SIGKILL)",
    ),
    Situation(
        "killed for want of memory", BAD,
        one(exits=ended(5, exit_code=None, signal=9, detail="out of memory: killed by SIGKILL")),
    ),
    Situation("half of the others ended too", GOOD, one(exits=ended(5)), others(2, exits=ended(6)), says="noted"),
    Situation(
        "the others have been ending for hours", BAD, one(exits=ended(5)), others(2, exits=ended(-900, -60, 6))
    ),
    Situation("it ended itself for the new code", GOOD, one(exits=ended(1, exit_code=0)), scene={"restarts": True}),
    Situation("it ended itself twice", BAD, one(exits=ended(1, 9, exit_code=0)), scene={"restarts": True}),
    # Not up
    Situation(
        "not ready in time", BAD, one(state=NodeState.STARTING, uptime_s=61.0, watched_s=61.0), others(1),
        says="not ready after 1m00s"
    ),
    Situation("cogs failed", BAD, one(cogs_failed=("ranks",), state=NodeState.DEGRADED), says="cogs failed: ranks"),
    Situation(
        "the same cogs as before", GOOD,
        one(before(NodeState.DEGRADED, cogs_failed=("fun",)), state=NodeState.READY, cogs_failed=()),
        says="degraded before, and ready now",
    ),
    Situation("its pulses stay away", BAD, one(state=NodeState.DEGRADED, detail="no pulse for 27 s"), says="no pulse"),
    Situation("its pulses stayed away", BAD, one(lapses=(Lapse(at=AT + 9, detail="no pulse for 27 s"),)), others(7)),
    Situation("those of all stayed away", GOOD, one(lapses=(Lapse(at=AT + 9),)), others(2, lapses=(Lapse(at=AT + 9),))),
    Situation("its folder is gone", BAD, one(state=NodeState.MISSING), says="missing"),
    # Compared with before
    Situation(
        "it was crash-looping, and works", GOOD,
        one(before(NodeState.BACKOFF, exits=14), uptime_s=295.0, exits=ended(-9, 2)), plan={"urgent": True},
        says="atlas ended 14 times in the hour before, and not any more",
    ),
    Situation(
        "it was crash-looping, and is", OPEN,
        one(before(NodeState.BACKOFF, exits=14), state=NodeState.BACKOFF, exits=ended(40, 200)),
        says="no better than before: atlas (backoff, as it was)",
    ),
    Situation(
        "it was crash-looping, and does so more", BAD,
        one(before(NodeState.BACKOFF, exits=14), state=NodeState.BACKOFF, exits=ended(*range(5, 95, 10))),
    ),
    Situation("all 25 were in quarantine, urgent", GOOD,
        [
            Watched(before=before(NodeState.QUARANTINED, exits=9), now=now(f"node{number}", uptime_s=290.0))
            for number in range(25)
        ],
        plan={"urgent": True}, says="node0, node1 and 23 others ended 225 times",
    ),
    # Memory, latency, blocked loops
    Situation(
        "a leak", BAD, one(memory=memory(80, 400), **AN_HOUR), others(7, memory=memory(80, 2)),
        says="memory grows by 40", soaked_s=3_600.0,
    ),
    Situation("a leak within minutes", BAD, one(memory=memory(80, 2_000, minutes=8), at=AT + 480), soaked_s=480.0),
    Situation("growth that is too little to be sure of", GOOD, one(memory=memory(80, 60, minutes=8)), says="noted"),
    Situation(
        "unpatched nodes grow alike", GOOD, one(memory=memory(80, 400), **AN_HOUR), others(1, memory=memory(70, 380)),
        says="noted",
    ),
    Situation("it always grew so", GOOD, one(before(memory_mb_h=390.0), memory=memory(80, 400), **AN_HOUR)),
    Situation(
        "a new process warms up", GOOD, one(memory=memory(40, 900, minutes=9), spawned=(AT + 2,), at=AT + 540),
        scene={"restarts": True},
    ),
    Situation(
        "a single peak", GOOD, one(memory=(*memory(80, 1, minutes=30), Reading(AT + 1_860, 900.0)), at=AT + 1_900)
    ),
    Situation("too short to tell", GOOD, one(memory=memory(80, 5_000, minutes=3))),
    Situation(
        "slow since", BAD, one(latencies=tuple(Reading(AT + 9 * n, 900.0) for n in range(1, 9))),
        others(1, latencies=(Reading(AT + 9, 45.0),)), says="900 ms (40 before)",
    ),
    Situation(
        "Discord is slow for all", GOOD, one(latencies=tuple(Reading(AT + 9 * n, 900.0) for n in range(1, 9))),
        others(1, latencies=(Reading(AT + 9, 870.0),)), says="noted",
    ),
    Situation(
        "slow once", GOOD, one(latencies=tuple(Reading(AT + 9 * n, 900.0 if n == 4 else 41.0) for n in range(9)))
    ),
    Situation(
        "it blocks its loop", BAD,
        one(stalls=(Lapse(at=AT + 20, detail="heartbeat blocked for more than 10 seconds."),)), others(7),
        says="heartbeat blocked for more than 10 seconds",
    ),
    Situation(
        "the box is overloaded", GOOD, one(stalls=(Lapse(at=AT + 20),)), others(7, stalls=(Lapse(at=AT + 21),)),
        says="noted",
    ),
    Situation("it did so before", GOOD, one(before(stalls=2), stalls=(Lapse(at=AT + 20),)), others(7)),
]  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.called)
def test_a_situation_is_judged(situation: Situation) -> None:
    verdict = situation.verdict()
    assert (verdict.outcome, situation.says in verdict.reason, situation.traceback in verdict.traceback) == (
        situation.wanted,
        True,
        True,
    ), verdict
    assert verdict.reason
    assert "\n" not in verdict.reason
    assert len(verdict.reason) <= 300
    if verdict.outcome is BAD:
        assert verdict.bad_nodes


def test_what_explains_the_rest_is_told_first_with_its_traceback() -> None:
    both = one(exits=ended(5), errors={"e1": seen(), "x1": seen()})
    verdict = Situation("", BAD, both, others(1)).verdict()
    assert verdict.reason == "TypeError in cogs/ranks.py on atlas, which unpatched nodes do not have; and 1 more"
    assert verdict.traceback == TYPE_ERROR.text


def test_only_the_nodes_on_which_it_is_bad_are_named() -> None:
    watched = many(8, lambda number: {"errors": {"e1": seen()}} if number in (2, 5) else {})
    assert Situation("", BAD, watched).verdict().bad_nodes == ("ID-node2", "ID-node5")


def test_a_slope_needs_five_minutes_and_bears_outliers() -> None:
    assert growth_of(memory(80, 100, minutes=4)) is None
    peaked = [*memory(80, 120, minutes=30)]
    peaked[10] = Reading(peaked[10].at, 2_000.0)
    growth = growth_of(peaked)
    assert growth is not None
    assert 110 < growth.mb_per_hour < 130
    assert growth.is_steady
