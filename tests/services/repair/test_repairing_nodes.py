"""The engine on real programs: it acts once, within its limits, and finds out whether it helped."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec.structs import replace

from master.configuration.settings import HealingSettings, Settings
from master.events import AlertLevel, AlertRaised, SolutionChanged
from master.ledger.rows import solution_runs
from master.operations import changing, ledger
from master.operations.nodes import restart, stop
from master.operations.parameters import AuditParams, RemoveParams
from master.services.healing.sighting import SeenIn
from master.services.healing.solution import SolutionMode
from master.services.repair import attempts
from master.services.repair.actions.action import Acting, Action, ActionParameters, Done
from master.services.repair.actions.registry import ACTIONS
from master.services.repair.errors import ActionSkipped
from master.supervision.states import NodeState
from sandbox import Sandbox
from tests.hostile.effort import rounds
from tests.ledger.writer.test_spool import locked
from tests.services.conftest import OPERATOR
from tests.services.repair.conftest import Ward, open_ward, write_solution

pytestmark = pytest.mark.timeout(60)

AFTER = 2.0
"""Seconds from now; output that is read within a second of a repair may be from before it."""


async def test_it_acts_and_it_is_proven_that_it_helped(ward: Ward) -> None:
    node_id = await ward.add()
    ward.show(node_id)
    await ward.step("watching")
    helped = await ward.step("helped")
    (run,) = ward.runs()
    assert (run.outcome, run.action, run.line, run.actor) == (
        "helped",
        "restart",
        "stale cache",
        "system:solution/stale_cache",
    )
    assert run.ready_ms is not None
    assert run.finished_at is not None
    assert helped.detail == "stale_cache (restart): helped: the error stayed away for 5s"
    done, cured = ward.alerts()
    assert (done.title, done.quote, done.level) == ("web: Its cache is stale", "stale cache", AlertLevel.WARNING)
    assert done.text.startswith("Done: restarted; ready again after ")
    assert cured.text == "It helped: the error stayed away for 5s."
    assert cured.level is AlertLevel.SUCCESS
    assert ward.house.services.repair.runs.cure_rate("stale_cache") == 1.0


@pytest.mark.slow
async def test_an_error_that_comes_back_is_tried_again_and_then_left_to_people(ward: Ward) -> None:
    node_id = await ward.add()
    for attempt in range(1, 4):
        ward.show(node_id, in_s=AFTER)
        await ward.acts(node_id, count=attempt)
    ward.show(node_id, in_s=AFTER)
    await ward.step("did_not_help", count=3)
    before = ward.spawns()
    ward.show(node_id, in_s=AFTER)
    await ward.decided(node_id)
    assert ward.spawns() == before
    assert ward.outcomes() == ["did_not_help"] * 3
    assert "It is left to you now. Look at web." in ward.alerts()[-1].text
    # An operator's act is another chance.
    await ward.house.act(OPERATOR, restart, "web")
    await ward.house.services.supervisor.wait_state(node_id, [NodeState.READY], timeout_s=20)
    ward.show(node_id, in_s=AFTER)
    await ward.step("watching", count=4)


async def test_lines_of_before_the_repair_are_neither_a_relapse_nor_repaired(ward: Ward) -> None:
    node_id = await ward.add()
    ward.show(node_id)
    await ward.step("watching")
    ward.show(node_id, in_s=-5)
    ward.show(node_id)
    await ward.decided(node_id)
    assert ward.outcomes() == ["watching"]


async def test_of_ten_that_know_an_error_the_one_with_the_highest_priority_acts(
    ward_settings: Settings, sandbox: Sandbox
) -> None:
    for number in range(10):
        write_solution(ward_settings, f"number_{number}", priority=number % 7)
    async with open_ward(ward_settings, sandbox) as ward:
        node_id = await ward.add()
        before = ward.spawns()
        ward.show(node_id)
        # The same error, where it shows as well.
        ward.show(node_id, "exit code 1\nstale cache", SeenIn.EXIT)
        step = await ward.step("watching")
        await ward.decided(node_id)
        assert (step.solution, ward.outcomes(), ward.spawns()) == ("number_6", ["watching"], before + 1)


@pytest.mark.slow
async def test_who_writes_trigger_lines_as_fast_as_he_can_does_not_get_more_restarts(
    ward_settings: Settings, sandbox: Sandbox
) -> None:
    write_solution(ward_settings, "stale_cache", most_an_hour=2, most_attempts=20)
    async with open_ward(ward_settings, sandbox) as ward:
        node_id = await ward.add()
        before, count = ward.spawns(), 0
        while not [run for run in ward.runs() if run.outcome == "skipped"]:
            for _ in range(rounds(200)):
                ward.show(node_id, in_s=AFTER)
                count += 1
            await asyncio.sleep(0)
        began = time.perf_counter()
        for _ in range(rounds(5_000)):
            ward.show(node_id, in_s=AFTER)
        spent = time.perf_counter() - began
        await ward.decided(node_id)
        print(f"{count + rounds(5_000)} trigger lines, 2 restarts, {rounds(5_000) / spent:,.0f} lines/s when refused")
        assert ward.spawns() == before + 2
        assert ward.outcomes() == ["did_not_help", "did_not_help", "skipped"]
        assert ward.alerts()[-1].text.startswith(
            "Nothing is done: it acted 2 times within an hour, as often as it may (most_an_hour)."
        )
        assert len(ward.alerts()) <= 5


@pytest.mark.slow
async def test_two_that_fight_each_other_end_at_the_nodes_own_cap_and_that_is_told(
    ward_settings: Settings, sandbox: Sandbox
) -> None:
    settings = replace(ward_settings, healing=HealingSettings(detect_only_s=0, most_repairs_an_hour=4))
    write_solution(settings, "to_left", pattern="is right", most_attempts=20)
    write_solution(settings, "to_right", pattern="is left", most_attempts=20)
    async with open_ward(settings, sandbox) as ward:
        node_id = await ward.add()
        before = ward.spawns()
        for number in range(1, 5):
            ward.show(node_id, ("is right", "is left")[number % 2], in_s=AFTER)
            await ward.acts(node_id, count=number)
        ward.show(node_id, "is right", in_s=AFTER)
        await ward.step("skipped")
        assert ward.spawns() == before + 4
        assert ward.alerts()[-1].text.startswith(
            "Nothing is done: several solutions acted, which may undo each other's work (to_left 2, to_right 2), "
            "on web within an hour, as often as may be (MOST_REPAIRS_AN_HOUR)."
        )


async def test_an_action_that_raises_is_a_failed_run_and_the_next_node_is_repaired(
    ward: Ward, ward_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(acting: Acting, parameters: ActionParameters) -> Done:
        raise ZeroDivisionError("division by zero")

    broken = Action(name="broken", summary="Fail.", parameters=ActionParameters, run=fail)
    monkeypatch.setitem(ACTIONS, "broken", broken)
    write_solution(ward_settings, "divides", pattern="divide", action="broken")
    await ward.reload()
    node_id, other_id = await ward.add(), await ward.add("other")
    ward.show(node_id, "divide")
    await ward.step("failed")
    ward.show(other_id)
    await ward.step("watching")
    assert ward.runs()[0].detail == "a defect of the action: ZeroDivisionError: division by zero"
    assert ward.alerts()[0].text.startswith("Broken could not be carried out: a defect of the action: ZeroDivision")
    (row,) = await ward.house.operations.run(ledger.audit, OPERATOR, AuditParams(action="restart"))
    assert (row.actor, row.node, row.outcome) == ("system:solution/stale_cache", "other", "done")


async def test_an_error_that_cannot_be_decided_cuts_off_nothing_on_other_nodes(
    ward: Ward, ward_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = asyncio.Event()

    async def dawdle(acting: Acting, parameters: ActionParameters) -> Done:
        await let_go.wait()
        return Done(detail="done at last")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setitem(ACTIONS, "dawdle", Action(name="dawdle", summary="W.", parameters=ActionParameters, run=dawdle))
    write_solution(ward_settings, "slow_one", pattern="slowly", action="dawdle")
    write_solution(ward_settings, "asks", pattern="ask me", risk="ask")
    await ward.reload()
    node_id, other_id = await ward.add(), await ward.add("other")
    ward.show(node_id, "slowly")
    await ward.step("running")
    monkeypatch.setattr(ward.house.services.repair.alerts, "tell_asked", fail)
    ward.show(other_id, "ask me")
    await ward.step("asked")
    await ward.decided(other_id)
    let_go.set()
    await ward.step("watching")
    assert ward.outcomes() == ["watching", "asked"]


@pytest.mark.slow
async def test_who_waits_before_a_restart_keeps_nobody_else_from_being_repaired(
    ward: Ward, ward_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ACTION_TIMEOUT_S", 5.0)
    write_solution(ward_settings, "patient", pattern="try later")
    path = ward_settings.solutions_dir / "patient.toml"
    path.write_text(path.read_text().replace('{name = "restart"}', '{name = "restart", delay_s = 6}'))
    await ward.reload()
    waiting = [await ward.add(f"waiting{number}") for number in range(attempts.AT_ONCE)]
    other = await ward.add("other")
    for node_id in waiting:
        ward.show(node_id, "try later")
    await ward.step("running", count=attempts.AT_ONCE, solution="patient")
    ward.show(other)
    await ward.step("watching", solution="stale_cache")
    assert {run.outcome for run in ward.runs() if run.solution_id == "patient"} == {"running"}
    # Nor does its own wait count as time that it took.
    await ward.step("watching", count=attempts.AT_ONCE, solution="patient")


@pytest.mark.slow
async def test_a_solution_that_cures_nowhere_is_suspended_until_it_is_enabled_again(
    ward_settings: Settings, sandbox: Sandbox
) -> None:
    write_solution(ward_settings, "stale_cache", most_attempts=2)
    async with open_ward(ward_settings, sandbox) as ward:
        node_ids, count = [await ward.add(name) for name in ("web", "other")], 0
        for node_id in node_ids:
            for _ in range(2):
                ward.show(node_id, in_s=AFTER)
                await ward.acts(node_id, count=(count := count + 1))
            ward.show(node_id, in_s=AFTER)
            await ward.decided(node_id)
        modes = ward.house.services.modes
        await ward.wait(lambda event: isinstance(event, SolutionChanged) and event.mode == "suspended")
        assert modes.mode_of("stale_cache") is SolutionMode.SUSPENDED
        assert modes.why_of("stale_cache") == "it helped in 0 of 4 runs"
        await ward.wait(lambda event: isinstance(event, AlertRaised) and "suspended" in event.title)
        ward.show(node_ids[0], in_s=AFTER)
        await ward.decided(node_ids[0])
        assert len(ward.runs()) == 4
        await modes.set("stale_cache", SolutionMode.ON, "mended", "cli:ada")
        ward.show(node_ids[0], in_s=AFTER)
        await ward.step("watching", count=5)


async def test_a_new_one_only_detects_and_says_so_once(ward_settings: Settings, sandbox: Sandbox) -> None:
    write_solution(ward_settings, "stale_cache")
    async with open_ward(replace(ward_settings, healing=HealingSettings()), sandbox) as ward:
        node_id = await ward.add()
        before = ward.spawns()
        for number in range(1, 4):
            ward.show(node_id)
            await ward.step("detected", count=number)
        assert ward.spawns() == before
        (told,) = ward.alerts()
        assert told.text.startswith(
            "It would have acted now: restart. The solution stale_cache only detects: it is new"
        )
        assert "`fleet solutions enable stale_cache --now`" in told.text


async def test_a_node_that_an_operator_stops_while_it_is_repaired_stays_stopped(ward: Ward) -> None:
    node_id = await ward.add()
    ward.show(node_id)
    await ward.step("running")
    await ward.house.act(OPERATOR, stop, "web")
    await ward.step("skipped")
    assert ward.house.services.supervisor.view(node_id).state is NodeState.STOPPED
    ward.show(node_id, in_s=AFTER)
    assert not ward.house.services.repair._waiting.get(node_id)
    assert ward.runs()[0].detail == "the node was stopped by an operator meanwhile"


async def test_a_node_that_is_removed_while_it_is_watched_is_not_missed(ward: Ward) -> None:
    node_id = await ward.add()
    ward.show(node_id)
    await ward.step("watching")
    await ward.house.operations.run(changing.remove, OPERATOR, RemoveParams(names=("web",)))
    await ward.step("skipped")
    assert ward.runs()[0].detail in ("the node was removed meanwhile", "the node was stopped by an operator meanwhile")


@pytest.mark.slow
async def test_a_ledger_that_is_away_does_not_keep_it_from_acting(ward_settings: Settings, sandbox: Sandbox) -> None:
    write_solution(ward_settings, "stale_cache")
    slow = replace(ward_settings, database=replace(ward_settings.database, statement_timeout_s=0.05))
    async with open_ward(slow, sandbox) as ward:
        node_id = await ward.add()
        with locked(slow.database):
            ward.show(node_id)
            await ward.step("watching")
            assert ward.house.services.ledger.away is not None
        await ward.house.services.ledger.wait_available()
        (row,) = await ward.house.services.ledger.read(solution_runs.recent)
        assert (row.outcome, row.node_id) == ("watching", node_id)


@pytest.mark.slow
async def test_one_node_does_not_use_up_what_a_solution_may_do_for_all(
    ward_settings: Settings, sandbox: Sandbox
) -> None:
    write_solution(ward_settings, "stale_cache", most_an_hour=4, most_attempts=2)
    async with open_ward(ward_settings, sandbox) as ward:
        greedy, other = await ward.add("greedy"), await ward.add("other")
        for attempt in (1, 2):
            ward.show(greedy, in_s=AFTER)
            await ward.acts(greedy, count=attempt)
        ward.forgive_all()
        ward.show(greedy, in_s=AFTER)
        await ward.step("skipped")
        assert ward.runs()[-1].detail == (
            "it acted on greedy 2 times within an hour; the rest of most_an_hour is for other nodes"
        )
        ward.show(other)
        await ward.acts(other, count=3)


@pytest.mark.slow
async def test_what_a_new_one_would_have_done_uses_up_nobody_elses_limit(
    ward_settings: Settings, sandbox: Sandbox
) -> None:
    settings = replace(ward_settings, healing=HealingSettings(most_repairs_an_hour=2))
    write_solution(settings, "stale_cache")
    write_solution(settings, "new_one", pattern="anything", most_an_hour=2)
    async with open_ward(settings, sandbox) as ward:
        modes, node_id = ward.house.services.modes, await ward.add()
        await modes.set("stale_cache", SolutionMode.ON, "tested", "cli:ada")
        for number in (1, 2):
            ward.show(node_id, "anything")
            await ward.step("detected", count=number)
        ward.show(node_id, "anything")
        await ward.decided(node_id)
        assert ward.outcomes() == ["detected", "detected"]
        ward.show(node_id)
        await ward.acts(node_id)
        # Nor its own, once it acts.
        await modes.set("new_one", SolutionMode.ON, "tested", "cli:ada")
        ward.show(node_id, "anything", in_s=AFTER)
        await ward.acts(node_id, count=2)


LONG = """\
id = "long_line"
title = "A long line"
advice = "Ask {who}."
risk = "ask"
applies_to = ["stderr"]
patterns = ['''^stale x{1,900} (?P<who>[a-z]{1,20})$''']
stays_away_s = 5
action = {name = "restart_bot_by_path", path = "{who}"}
[samples]
match = ["stale xxx bob"]
"""


@pytest.mark.parametrize("action", ["restart", "restart_bot_by_path"])
async def test_what_was_captured_at_the_end_of_a_long_line_is_there_when_an_operator_decides(
    ward: Ward, ward_settings: Settings, action: str
) -> None:
    text = (
        LONG
        if action != "restart"
        else LONG.replace('name = "restart_bot_by_path", path = "{who}"', 'name = "restart"')
    )
    (ward_settings.solutions_dir / "long_line.toml").write_text(text)
    await ward.reload()
    node_id, repair = await ward.add(), ward.house.services.repair
    ward.show(node_id, f"stale {'x' * 800} bob")
    asked = await ward.step("asked")
    assert "Ask bob." in ward.alerts()[0].text
    # The next master has what is on record alone.
    repair._cut.clear()
    if action == "restart":
        assert (await repair.decide(asked.run_id, do=True, actor=OPERATOR)).outcome == "watching"
        return
    with pytest.raises(ActionSkipped, match="long_line does not know it any more"):
        await repair.decide(asked.run_id, do=True, actor=OPERATOR)
    ward.show(node_id, f"stale {'x' * 800} bob")
    again = await ward.step("asked", count=2)
    done = await repair.decide(again.run_id, do=True, actor=OPERATOR)
    assert (done.outcome, done.detail) == ("skipped", "'bob' names no node: the path is not absolute")


async def test_what_is_seen_while_an_action_runs_calls_for_no_second_one(
    ward: Ward, ward_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mend(acting: Acting, parameters: ActionParameters) -> Done:
        ward.show(acting.node.id, "divide")
        return Done(detail="mended")

    monkeypatch.setitem(ACTIONS, "mend", Action(name="mend", summary="Mend.", parameters=ActionParameters, run=mend))
    write_solution(ward_settings, "divides", pattern="divide", action="mend")
    await ward.reload()
    node_id = await ward.add()
    ward.show(node_id, "divide")
    await ward.step("watching")
    await ward.decided(node_id)
    assert ward.outcomes() == ["watching"]


async def test_a_crash_that_comes_again_right_after_the_advice_is_told_by_nobody_else(
    ward: Ward, ward_settings: Settings
) -> None:
    write_solution(ward_settings, "typo", pattern="typo", risk="manual", action="notify")
    await ward.reload()
    node_id, repair = await ward.add(), ward.house.services.repair
    for _ in range(2):
        at = ward.house.services.clock.now()
        ward.show(node_id, "exit code 1\ntypo", SeenIn.EXIT, at=at)
        await ward.decided(node_id)
        assert repair.tells(node_id, at) == "advice"
    assert len(ward.alerts()) == 1


async def test_nobody_is_asked_for_what_the_config_does_not_allow(ward_settings: Settings, sandbox: Sandbox) -> None:
    line = "ModuleNotFoundError: No module named 'aiosqlite'"
    healing = HealingSettings(detect_only_s=0)
    async with open_ward(replace(ward_settings, healing=healing), sandbox) as ward:
        node_id = await ward.add()
        ward.show(node_id, line)
        await ward.step("told", solution="missing_module")
        (told,) = ward.alerts()
        assert told.text.startswith("Install aiosqlite for the Python that runs web")
        assert "Do it" not in [button.label for button in told.buttons]
        # The operator allows it: a question is no repetition of the advice.
        ward.house.services.repair._tools.installer._settings = lambda: replace(
            ward_settings, healing=replace(healing, packages={"aiosqlite": "aiosqlite==0.21.0"})
        )
        ward.show(node_id, line, in_s=AFTER)
        await ward.step("asked", solution="missing_module")
        assert ward.alerts()[-1].buttons[0].label == "Do it"
