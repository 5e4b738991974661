"""What moving in looks like to whoever asked for it, without any value of a variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from master.services.moving.plan import PlannedNode
from master.services.moving.programs import Lost
from master.services.moving.running import OldCopy, stop_command

Outcome = Literal["planned", "registered", "failed", "present", "impossible"]


class ProgramView(msgspec.Struct, frozen=True, kw_only=True):
    """One program, and what becomes or became of it."""

    name: str
    old_name: str
    supervisor: str
    source: str
    program: str
    folder: str
    token: str
    """Where its token is; empty for a program without."""
    variables: tuple[str, ...]
    """Names of its environment variables."""
    options: dict[str, Any]
    """Settings that are carried over, under the keys of NODES."""
    lost: tuple[Lost, ...]
    starts: bool
    running: tuple[OldCopy, ...]
    """Its processes under the old supervisor."""
    outcome: Outcome
    error: str = ""
    hint: str = ""
    node_id: str = ""
    bot_user_id: str = ""
    state: str = ""
    notes: tuple[str, ...] = ()
    """What the operator should know of the new node."""


class ImportView(msgspec.Struct, frozen=True, kw_only=True):
    """All programs, and what stops the old copies of them."""

    programs: tuple[ProgramView, ...]
    stop: tuple[str, ...]
    """Commands that stop what still runs elsewhere."""
    start: str
    """The command that starts what was registered stopped for that reason; empty for none."""


def view_of(node: PlannedNode) -> ProgramView:
    """Return a planned node as its operator sees it."""
    outcome: Outcome = "present" if node.present else "impossible" if node.trouble else "planned"
    program = node.program
    return ProgramView(
        name=node.name,
        old_name=program.name,
        supervisor=program.supervisor,
        source=program.source,
        program=node.command.shown,
        folder=node.folder or program.folder,
        token=node.token_place,
        variables=tuple(sorted(node.environment)),
        options={key: value for key, value in node.options.items() if key not in node.command.options},
        lost=node.lost,
        starts=node.start and not node.running,
        running=node.running,
        outcome=outcome,
        error=node.trouble,
    )


def stop_commands(nodes: Sequence[PlannedNode]) -> tuple[str, ...]:
    """Return the commands that stop what still runs under the old supervisors."""
    names: dict[tuple[str, str], list[str]] = {}
    pids: list[str] = []
    for node in nodes:
        by = {copy.by for copy in node.running}
        if by - {""}:
            # Of a compose file each has its own command; the others have one for all.
            source = node.program.source if node.program.supervisor == "docker compose" else ""
            names.setdefault((node.program.supervisor, source), []).append(node.program.full_name or node.program.name)
        pids += [str(copy.pid) for copy in node.running if not copy.by]
    stops = [stop_command(supervisor, found, source) for (supervisor, source), found in names.items()]
    return (*stops, *([f"kill {' '.join(pids)}"] if pids else []))
