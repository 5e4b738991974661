"""What the loader is told of a solution's action."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from master.services.healing.solution import Solution
from master.services.repair.actions.action import parameters_of
from master.services.repair.actions.registry import ACTIONS, check_action


def solution(action: dict[str, Any], **given: Any) -> Solution:
    whole = {
        "id": "missing_module",
        "title": "A module is not installed",
        "applies_to": ["exit"],
        "patterns": ["^No module named '(?P<module>[^']+)'$"],
        "action": action,
        "samples": {"match": ["No module named 'aiosqlite'"]},
        **given,
    }
    return msgspec.convert(whole, Solution)


@pytest.mark.parametrize(
    "action",
    [
        {"name": "restart"},
        {"name": "restart", "delay_s": 30},
        {"name": "restart_bot_by_path", "path": "/bots/{module}"},
        {"name": "fresh_identify"},
        {"name": "install_package", "module": "{module}"},
        {"name": "reload_cog", "cog": "{module}"},
        {"name": "disable_cog", "cog": "music"},
        {"name": "sync_commands"},
        {"name": "recreate_channels"},
        {"name": "refresh_token"},
        {"name": "quarantine", "hours": 2},
        {"name": "rollback_patch", "within_s": 600},
        {"name": "notify"},
    ],
)
def test_each_action_is_taken_with_its_parameters(action: dict[str, Any]) -> None:
    assert check_action(solution(action)) == ""


def test_all_are_tried_above() -> None:
    assert len(ACTIONS) == 12


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({}, "no name; there are disable_cog, "),
        ({"name": "shell", "command": "rm -rf /"}, "no action 'shell'; there are disable_cog, "),
        ({"name": "restart", "delay": 3}, "unknown field `delay`"),
        ({"name": "restart", "delay_s": -1}, r">= 0.0 - at `\$.delay_s`"),
        ({"name": "restart", "delay_s": "{module}"}, r"Expected `float`, got `str` - at `\$.delay_s`"),
        ({"name": "install_package"}, "missing required field `module`"),
        (
            {"name": "install_package", "module": "{package}"},
            r"\{package\}, which pattern 1 does not capture: \(\?P<pac",
        ),
        ({"name": "quarantine", "hours": 1_000}, "<= 168.0"),
    ],
)
def test_what_is_wrong_is_said(action: dict[str, Any], reason: str) -> None:
    assert re.search(reason, check_action(solution(action)))


def test_every_pattern_has_to_capture_what_the_action_uses() -> None:
    patterns = ["^No module named '(?P<module>[^']+)'$", "^cannot import"]
    wrong = solution({"name": "install_package", "module": "{module}"}, patterns=patterns)
    assert "pattern 2 does not capture" in check_action(wrong)


def test_what_asks_may_not_be_automatic() -> None:
    assert check_action(solution({"name": "recreate_channels"}, risk="auto")) == (
        "risk is 'auto', and recreate_channels needs 'ask' at least"
    )
    assert check_action(solution({"name": "recreate_channels"}, risk="manual")) == ""


def test_a_captured_placeholder_is_not_filled_in_again() -> None:
    found = parameters_of(
        ACTIONS["install_package"], {"module": "{module}"}, {"module": "{secret}", "secret": "not for this"}
    )
    assert found.module == "{secret}"
