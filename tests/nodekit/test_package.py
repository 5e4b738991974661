"""Importing nodekit costs what is used of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nodekit


def test_what_the_master_imports_of_it_brings_no_discord_library() -> None:
    script = (
        "import sys, nodekit.gateway_session, nodekit.identify_budget, nodekit.output, nodekit.bootstrap\n"
        "assert not {'discord', 'aiohttp', 'asyncio'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603


def test_a_node_that_is_never_patched_imports_nothing_for_it() -> None:
    script = (
        "import sys, nodekit.bot, nodekit.running, nodekit.linking\n"
        "found = [name for name in sys.modules if 'patch' in name and name.split('.')[0] in ('nodekit', 'handshake')]\n"
        "found += [name for name in sys.modules if name.startswith(('nodekit.releases', 'nodekit.sett', 'zipfile'))]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603


def test_its_names_are_those_of_its_modules() -> None:
    from nodekit.attachment import attach
    from nodekit.bot import HandshakeBot
    from nodekit.running import run

    assert (nodekit.attach, nodekit.HandshakeBot, nodekit.run) == (attach, HandshakeBot, run)
    assert int(nodekit.NodeExit.IDENTIFIES) == 68
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        nodekit.nothing_of_that_name  # noqa: B018
