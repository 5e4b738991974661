"""A changed config, applied from the shell and from Discord."""

from __future__ import annotations

import asyncio
import json

import pytest

from master.demonstration.stage import Stage
from sandbox import permissions
from tests.cli.test_commands import fleet

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
async def test_the_shell_says_what_took_effect_and_what_needs_a_restart(stage: Stage) -> None:
    config = stage.home / "config.py"
    before = config.read_text()
    config.write_text(before + "SUPERVISION['GRACE_S'] = 3.0\nHANDSHAKE['CLOCK_SKEW_S'] = 30\n")
    shown = await asyncio.to_thread(fleet, "reload", home=stage.home)
    assert shown.returncode == 0, shown.stderr
    assert "✓ SUPERVISION['GRACE_S']" in shown.stdout
    assert "HANDSHAKE['CLOCK_SKEW_S']: needs a restart of the master" in shown.stdout
    again = await asyncio.to_thread(fleet, "reload", "--json", home=stage.home)
    assert json.loads(again.stdout)["needs_restart"] == ["HANDSHAKE['CLOCK_SKEW_S']"]
    config.write_text(before + "SUPERVISION['GRACES'] = 3.0\n")
    mistaken = await asyncio.to_thread(fleet, "reload", home=stage.home)
    assert mistaken.returncode == 5
    assert "did you mean 'GRACE_S'" in mistaken.stderr


async def test_somebody_who_becomes_an_operator_may_act_without_a_restart(stage: Stage) -> None:
    grace = stage.sandbox.create_human("grace")
    stage.guild.add_member(grace, [stage.guild.create_role("managers", permissions.MANAGE_GUILD)])
    refused = await grace.runs_command(stage.office, stage.master_bot, "fleet reload")
    await refused.wait_until(lambda i: bool(i.embeds))
    assert "needs the permission 'operate'" in refused.embeds[0]["title"]
    config = stage.home / "config.py"
    config.write_text(config.read_text() + f"OPERATORS['USERS'].append({grace.id})\n")
    done = await stage.operator.runs_command(stage.office, stage.master_bot, "fleet reload")
    await done.wait_until(lambda i: bool(i.embeds))
    assert done.embeds[0]["fields"][0] == {"name": "In effect", "value": "`OPERATORS['USERS']`", "inline": False}
    allowed = await grace.runs_command(stage.office, stage.master_bot, "fleet reload")
    await allowed.wait_until(lambda i: bool(i.embeds))
    assert "Nothing new is in effect" in allowed.embeds[0]["title"]
