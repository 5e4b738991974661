"""Patched nodes judged by what the ledger and the supervisor have of them: real processes, a real ledger."""

from __future__ import annotations

import json
import os
import signal
from datetime import timedelta

import msgspec
import pytest

from handshake.patch_document import PatchDocument
from master.configuration.settings import PatchSettings
from master.events import NodeExited
from master.ledger.identifiers import new_ulid
from master.ledger.rows import patch_nodes, patches
from master.ledger.rows.records import Node, Patch, PatchNode, PulseSnapshot
from master.ledger.writer.entries import PulsesSampled
from master.services.healing.sighting import SeenIn, Sighting
from master.services.onboarding.saga import RegisterRequest
from master.services.patches.baselines import Baseline
from master.services.patches.health import HealthJudge
from master.services.patches.plan import plan_for
from master.services.patches.verdict import Outcome, Verdict
from master.supervision.states import NodeState
from nodekit.gateway_session import GatewaySession
from tests.services.conftest import OPERATOR, House

DOCUMENT = PatchDocument(
    name="ranks", version=4, created=1, expires=2, reload=("ranks",), archive_sha256="0" * 64, archive_bytes=0
)
PLAN = plan_for(DOCUMENT, PatchSettings(soak_s=1.0, most_soak_s=2.0))
TRACEBACK = """Traceback (most recent call last):
  File "cogs/ranks.py", line 4, in rank
    return 1 + None
TypeError: unsupported operand type(s) for +: 'int' and 'NoneType'"""


class Rolled:
    """A fleet of two programs, of which one is patched."""

    def __init__(self, house: House) -> None:
        self.house, services = house, house.services
        self.atlas, self.vega = services.directory.find("atlas"), services.directory.find("vega")
        self.judge = HealthJudge(
            ledger=services.ledger,
            groups=services.error_groups,
            supervisor=services.supervisor,
            connectivity=services.connectivity,
            clock=services.clock,
            sessions_dir=services.settings.sessions_dir,
        )
        now = services.clock.now()
        self.patch = Patch(
            id="P1",
            name="ranks",
            channel="main",
            version=4,
            key_id="SHA256:k",
            author="ada",
            received_at=now,
            received_from="cli:root",
            bundle_hash=b"0" * 32,
            bundle_bytes=0,
            document=msgspec.json.encode(DOCUMENT).decode(),
            state="soaking",
            rollout_plan="",
            changed_at=now,
            changed_by="cli:root",
        )
        self.baselines: dict[str, str] = {}

    async def take_baseline(self) -> Baseline:
        text = self.baselines[self.atlas.id] = await self.judge.baseline(self.atlas.id)
        return msgspec.json.decode(text, type=Baseline)

    async def verdict(self, soaked_s: float = 1.0) -> Verdict:
        return await self.judge.judge(self.patch, PLAN, self.baselines, soaked_s)

    def see_error(self, node: Node) -> None:
        services = self.house.services
        services.error_groups.take(
            Sighting(node_id=node.id, at=services.clock.now(), seen_in=SeenIn.STDERR, text=TRACEBACK)
        )


@pytest.fixture
async def rolled(house: House) -> Rolled:
    for name in ("atlas", "vega"):
        folder = house.base / name
        folder.mkdir(parents=True)
        (folder / "main.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
        request = RegisterRequest(
            name=name, token=house.token(name), folder=name, entry="main.py", options={"READY_WHEN": "log:up"}
        )
        made = await house.register(OPERATOR, request)
        await house.services.supervisor.wait_state(made.node_id, (NodeState.READY,), timeout_s=20)
    return Rolled(house)


async def test_an_error_that_only_the_patched_node_has_is_bad_with_its_traceback(rolled: Rolled) -> None:
    rolled.see_error(rolled.vega)
    await rolled.take_baseline()
    rolled.see_error(rolled.atlas)
    verdict = await rolled.verdict()
    assert verdict.outcome is Outcome.GOOD, "vega had it before the patch, as often"
    fresh = TRACEBACK.replace("TypeError", "AttributeError")
    services = rolled.house.services
    services.error_groups.take(
        Sighting(node_id=rolled.atlas.id, at=services.clock.now(), seen_in=SeenIn.STDERR, text=fresh)
    )
    verdict = await rolled.verdict(soaked_s=0.1)
    assert verdict.outcome is Outcome.BAD
    assert verdict.bad_nodes == (rolled.atlas.id,)
    assert verdict.reason.startswith("AttributeError")
    assert "on atlas, which unpatched nodes do not have" in verdict.reason
    assert verdict.traceback == fresh


async def test_a_process_that_ends_is_bad_and_one_that_did_so_before_is_not_worse(rolled: Rolled) -> None:
    supervisor, bus = rolled.house.services.supervisor, rolled.house.services.bus
    before = await rolled.take_baseline()
    assert (before.state, before.exits, before.was_broken) == ("ready", 0, False)
    pid = supervisor.pid_of(rolled.atlas.id)
    assert pid is not None
    with bus.subscribe(NodeExited) as exits:
        os.kill(pid, signal.SIGTERM)
        await anext(aiter(exits))
    verdict = await rolled.verdict(soaked_s=0.1)
    assert verdict.outcome is Outcome.BAD
    assert verdict.reason.startswith("ended once (")
    assert (await rolled.take_baseline()).exits == 1


async def test_nothing_happened_until_somebody_used_the_node(rolled: Rolled) -> None:
    path = rolled.house.services.settings.sessions_dir / rolled.atlas.id
    path.parent.mkdir(exist_ok=True)
    session = GatewaySession(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    assert (await rolled.take_baseline()).uses == 0
    verdict = await rolled.verdict()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason == "nothing happened: no command and no message reached atlas in 1s"
    session.take(json.dumps({"op": 0, "t": "INTERACTION_CREATE", "s": 3, "d": {}}))
    verdict = await rolled.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.GOOD, "used once on 1 of 1 node, no new error")
    session.close()


async def test_the_hour_before_is_in_the_baseline(rolled: Rolled) -> None:
    clock, ledger = rolled.house.services.clock, rolled.house.services.ledger
    now = clock.now()
    ledger.write_soon(
        PulsesSampled(
            snapshots=tuple(
                PulseSnapshot(
                    id=new_ulid(clock),
                    at=now - timedelta(minutes=5 * (11 - number)) - timedelta(seconds=90),
                    node_id=rolled.atlas.id,
                    state="ready",
                    latency_ms=40 + number % 2,
                    guilds=1,
                    memory_bytes=(80 + 2 * number) << 20,
                )
                for number in range(11)
            )
        )
    )
    rolled.see_error(rolled.atlas)
    before = await rolled.take_baseline()
    assert before.memory_mb_h is not None
    assert 20 < before.memory_mb_h < 26
    assert before.latency_ms == 40
    assert [seen.count for seen in before.errors.values()] == [1]
    assert "its use is not known" in (await rolled.verdict()).reason


async def test_a_node_that_was_removed_is_left_out(rolled: Rolled) -> None:
    await rolled.take_baseline()
    rolled.baselines = {"01ARZ3NDEKTSV4RRFFQ69G5FAV": ""}
    verdict = await rolled.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, "none of the patched nodes runs")


async def test_a_node_that_the_patch_failed_on_excuses_no_other(rolled: Rolled) -> None:
    ledger, now = rolled.house.services.ledger, rolled.house.services.clock.now()
    failed = PatchNode(patch_id="P1", node_id=rolled.vega.id, wave=0, state="rolled_back", changed_at=now)
    await ledger.write(lambda connection: patches.insert(connection, rolled.patch))
    await rolled.take_baseline()
    rolled.see_error(rolled.vega)
    rolled.see_error(rolled.atlas)
    assert (await rolled.verdict()).outcome is Outcome.GOOD, "vega runs without it"
    await ledger.write(lambda connection: patch_nodes.save(connection, [failed]))
    assert (await rolled.verdict()).outcome is Outcome.BAD
