"""Patches on the terminal: the roll-outs, which release each node has, one roll-out with its waves, the plan."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.text import Text

from master.services.core.patch_views import (
    NodeReleaseView,
    PatchDetails,
    PatchesView,
    PatchNodeView,
    PatchPlanView,
    PatchView,
)
from master.terminal.columns import Column, Row, beside_or_below, flow, lay_out
from master.terminal.output import local_time, one_line
from master.wording import duration, visible, visible_lines

_STATES = {
    "received": ("○", "bright_black"),
    "approved": ("○", "cyan"),
    "rolling": ("▸", "cyan"),
    "soaking": ("▸", "cyan"),
    "asking": ("?", "bold yellow"),
    "paused": ("‖", "yellow"),
    "done": ("●", "green"),
    "rolling_back": ("◂", "yellow"),
    "rolled_back": ("✗", "red"),
    "aborted": ("✗", "yellow"),
    "failed": ("✗", "bold red"),
}
_NODE_STATES = {
    "rollback_failed": ("✗", "bold red"),
    "failed": ("✗", "red"),
    "rolling_back": ("◂", "yellow"),
    "rolled_back": ("◂", "yellow"),
    "skipped": ("-", "yellow"),
    "absent": ("○", "bright_black"),
    "waiting": ("○", "bright_black"),
    "ordered": ("◐", "cyan"),
    "received": ("◐", "cyan"),
    "staged": ("◐", "cyan"),
    "applied": ("◐", "cyan"),
    "healthy": ("●", "cyan"),
    "good": ("●", "green"),
}
"""In the order in which they are shown: the worst first."""
_WANTS_A_LOOK = ("rollback_failed", "failed")
ENDED = frozenset({"done", "rolled_back", "aborted", "failed"})
_ASKING_FIRST = ("failed", "asking", "rolling_back", "rolling", "soaking", "paused", "received", "approved")
SHOWN_ENDED = 5
"""Roll-outs that are over, beside those that are not."""
_LABEL = 10


def words(state: str) -> str:
    """Return a state as people write it."""
    return visible(state.replace("_", " "))


def patch_state_text(state: str) -> Text:
    """Return a roll-out's state with its sign."""
    sign, style = _STATES.get(state, ("?", ""))
    return one_line((f"{sign} {words(state)}", style))


def node_state_text(state: str) -> Text:
    """Return a node's state with a patch, with its sign."""
    sign, style = _NODE_STATES.get(state, ("?", ""))
    return one_line((f"{sign} {words(state)}", style))


def counts_text(counts: Mapping[str, int]) -> Text:
    """Return how many nodes are in which state, the worst first."""
    order = list(_NODE_STATES)
    known = sorted(counts, key=lambda state: order.index(state) if state in order else len(order))
    parts = [
        (f"{counts[state]} {words(state)}", _NODE_STATES.get(state, ("", ""))[1]) for state in known if counts[state]
    ]
    joined: list[str | tuple[str, str]] = []
    for part in parts:
        joined += [", ", part] if joined else [part]
    return one_line(*joined) if joined else one_line(("-", "bright_black"))


def plan_text(plan: PatchPlanView) -> str:
    """Return how a patch is rolled out, in a sentence."""
    waves = [f"{wave} %" for wave in plan.waves]
    steps = [f"{plan.canary} {'node' if plan.canary == 1 else 'nodes'} as the canary"] if plan.canary else []
    steps += [f"{waves[0]} of the nodes" if waves[0] != "100 %" else "all nodes", *waves[1:]]
    watched = f"each watched for {duration(plan.soak_s)}" if plan.soak_s else "good as soon as each node says it works"
    if len(steps) == 1:
        return f"{steps[0]} at once, {watched.replace('each watched', 'watched')}"
    return f"{', then '.join(steps)}; {watched}"


def waves_of(found: PatchDetails) -> dict[str, Counter[str]]:
    """Return how many nodes of each wave are in which state, by the names of the waves, in their order."""
    waves: dict[int, Counter[str]] = {}
    for node in found.nodes:
        if node.state != "skipped":
            waves.setdefault(node.wave, Counter())[node.state] += 1
    last = max(waves, default=0)
    if found.plan.canary:
        return {f"wave {wave} of {last}" if wave else "canary": waves[wave] for wave in sorted(waves)}
    return {f"wave {wave + 1} of {last + 1}": waves[wave] for wave in sorted(waves)}


# All of them


_COLUMNS = (
    Column("PATCH"),
    Column("STATE"),
    Column("WAVE", importance=2, note_keeps=20),
    Column("NODES", importance=1),
    Column("SINCE", importance=3, note_keeps=20),
    Column("KEY", importance=4, note_keeps=30),
)


def status_lines(found: PatchesView, *, width: int | None) -> Iterator[Text]:
    """Render what a person looks for first: roll-outs that want something, then the release of every node."""
    if not found.patches:
        yield Text("no patches yet: `fleet patch deploy FILE` rolls one out, docs/patches.md says how one is made")
        return
    shown = worth_showing(found.patches)
    now = time.time()
    yield from lay_out(_COLUMNS, [_row(view, now) for view in shown], width=width).lines
    if len(shown) < len(found.patches):
        hint = f"and {len(found.patches) - len(shown)} older: `fleet patch history`"
        yield one_line((hint, "bright_black"))
    if found.nodes:
        yield Text()
        yield from releases_lines(found.nodes, width=width)


def worth_showing(patches: Sequence[PatchView]) -> list[PatchView]:
    """Return the roll-outs that go on or ask for something, the worst first, then the latest that are over."""
    going = [view for view in patches if view.state in _ASKING_FIRST]
    going.sort(key=lambda view: _ASKING_FIRST.index(view.state))
    return going + [view for view in patches if view.state not in _ASKING_FIRST][:SHOWN_ENDED]


def _row(view: PatchView, now: float) -> Row:
    style = _STATES.get(view.state, ("", ""))[1]
    cells: list[str | Text] = [
        visible(view.label),
        patch_state_text(view.state),
        visible(view.wave) or "-",
        counts_text(view.counts),
        f"{duration(now - view.since)} ago" if view.since else "-",
        visible(view.key),
    ]
    # Why something went back, or what it waits for, is not cut.
    return Row(cells, one_line((view.reason or _waits(view), style)), whole=bool(view.reason))


def _waits(view: PatchView) -> str:
    if view.state == "received" and view.approvals_missing and view.approvals > 1:
        return f"waits for {view.approvals_missing} more to approve it"
    return ""


def next_line(view: PatchView) -> Text:
    """Return what comes next for a patch that somebody has just deployed or steered."""
    deploying, missing = (f"fleet patch deploy {view.label}", "cyan"), view.approvals_missing
    if view.state != "received":
        return one_line((f"fleet patch status {view.label}", "cyan"), " shows how far it is")
    if not missing:
        return one_line("nobody has asked for its roll-out yet: ", deploying)
    if not view.wanted_by:
        whoever = "another operator's" if missing == 1 else "an operator's"
        return one_line(f"it waits for {missing} more to approve it: {whoever} ", deploying, " does, and begins it")
    approving = (f"fleet patch approve {view.label}", "cyan")
    return one_line(f"it begins once {missing} more {'has' if missing == 1 else 'have'} approved it: ", approving)


def releases_lines(nodes: Sequence[NodeReleaseView], *, width: int | None) -> Iterator[Text]:
    """Render which release each node has: those in trouble with the reason, the others together."""
    troubled = [node for node in nodes if node.state in _WANTS_A_LOOK]
    if troubled:
        columns = (Column("NODE"), Column("PATCH"), Column("STATE"))
        rows = [
            Row([visible(node.node), visible(node.patch) or "-", node_state_text(node.state)], _last_line(node.detail))
            for node in sorted(troubled, key=lambda node: (_WANTS_A_LOOK.index(node.state), node.node))
        ]
        yield from lay_out(columns, rows, width=width).lines
        yield Text()
    groups: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        if node.state not in _WANTS_A_LOOK:
            groups.setdefault((node.patch, node.state), []).append(node.node)
    for (patch, state), names in sorted(groups.items(), key=lambda one: (not one[0][0], -len(one[1]), one[0])):
        style = _NODE_STATES.get(state, ("", ""))[1]
        head = one_line((f"{len(names):>3} ", "bold"), visible(patch) if patch else "no patch")
        if state:
            head.append_text(one_line(" ", (words(state), style)))
        yield from _named(head, names, width=width)


def _named(head: Text, names: Iterable[str], *, width: int | None) -> Iterator[Text]:
    """Yield a heading with the names that it stands for, indented below it where they do not fit beside it."""
    listed = one_line((", ".join(sorted(names, key=_natural)), "bright_black"))
    lines = beside_or_below(Text.assemble(head, "  "), listed, width=width)
    lines[0].rstrip()
    yield from lines


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts node-2 before node-10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name.casefold())]


def _last_line(detail: str) -> Text:
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    return one_line((lines[-1] if lines else "", "red"))


# One of them


def details_lines(found: PatchDetails, *, width: int | None) -> Iterator[Text]:
    """Render one roll-out: what it is, how far it is, and the nodes in trouble with the reason."""
    view = found.patch
    wave = f"  {visible(view.wave)}" if view.wave else ""
    yield one_line((view.label, "bold"), "  ", patch_state_text(view.state), wave)
    for label, text in _facts(found):
        if text:
            yield from beside_or_below(one_line((label.ljust(_LABEL), "bright_black")), one_line(text), width=width)
    if view.reason:
        style = _STATES.get(view.state, ("", ""))[1]
        head = one_line(("why".ljust(_LABEL), "bright_black"))
        yield from beside_or_below(head, one_line((view.reason, style)), width=width)
    if found.nodes:
        yield Text()
        yield from wave_lines(found, width=width)
        yield from _trouble_lines(found.nodes, width=width)
        yield from _others_lines(found.nodes, width=width)


def _facts(found: PatchDetails) -> Iterator[tuple[str, str]]:
    view = found.patch
    yield "id", f"{view.id}  channel {view.channel}"
    author = f"{view.author}, " if view.author else ""
    yield "from", f"{author}signed with the key {view.key}"
    accepted = local_time(view.received_at, "%Y-%m-%d %H:%M:%S") if view.received_at else "?"
    yield "accepted", f"{accepted} from {view.received_from}" if view.received_from else accepted
    if view.approvals > 1 or view.approved_by:
        by = f": {', '.join(view.approved_by)}" if view.approved_by else ""
        yield "approved", f"by {len(view.approved_by)} of {view.approvals}{by}"
    yield "note", " ".join(found.note.split())
    yield "changes", changes_text(found)
    yield "for", ", ".join(found.targets) or "every node"
    yield "needs", ", ".join((*found.depends_on, *found.requirements))
    yield "plan", plan_text(found.plan) + (", urgent" if view.urgent else "")
    yield "template", view.template


def changes_text(found: PatchDetails) -> str:
    """Return what a patch changes, and what it takes to bring that about."""
    files = [*found.files, *(f"{path} (removed)" for path in found.removed)]
    how = f"loads {', '.join(found.reload)} anew" if found.reload else "the node restarts, and resumes its session"
    return f"{', '.join(files)}; {how}"


def wave_lines(found: PatchDetails, *, width: int | None, now: float | None = None) -> Iterator[Text]:
    """Render one line for each wave.

    Parameters
    ----------
    now
        While somebody watches: the wave that is being watched says how long already.
    """
    waves = waves_of(found)
    begun = [name for name, counts in waves.items() if set(counts) - {"waiting", "absent"}]
    longest = max(map(len, waves), default=0)
    for name, counts in waves.items():
        head = one_line(name.ljust(longest + 2))
        line = Text.assemble(head, counts_text(counts))
        if now is not None and [name] == begun[-1:] and found.patch.state == "soaking":
            passed = max(0.0, now - (found.patch.watched_since or found.patch.since))
            line.append_text(one_line((f"  {_watched(passed, found.plan)}", "cyan")))
        yield from flow([line], width=width)


def _watched(passed_s: float, plan: PatchPlanView) -> str:
    """Return how long a wave is watched already: beyond its time, how long at most."""
    if passed_s <= plan.soak_s or plan.most_soak_s <= plan.soak_s:
        return f"watched for {duration(passed_s)} of {duration(plan.soak_s)}"
    return f"watched for {duration(passed_s)}: until something happens, {duration(plan.most_soak_s)} at most"


def _trouble_lines(nodes: Sequence[PatchNodeView], *, width: int | None) -> Iterator[Text]:
    for node in nodes:
        if node.state not in _WANTS_A_LOOK and not (node.state == "rolled_back" and node.detail):
            continue
        yield Text()
        yield one_line((node.node, "bold"), "  ", node_state_text(node.state))
        for line in node.detail.rstrip().splitlines():
            yield Text(f"    {visible_lines(line)}", style="bright_black")


def _others_lines(nodes: Sequence[PatchNodeView], *, width: int | None) -> Iterator[Text]:
    """Yield the nodes by state; those that were passed over by their reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        if node.state in _WANTS_A_LOOK:
            continue
        reason = node.detail if node.state in ("skipped", "absent", "ordered") else ""
        groups.setdefault((node.state, reason), []).append(node.node)
    order = list(_NODE_STATES)
    yield Text()
    for (state, reason), names in sorted(groups.items(), key=lambda one: order.index(one[0][0])):
        head = Text.assemble(one_line((f"{len(names):>3} ", "bold")), node_state_text(state))
        if reason:
            head.append_text(one_line(f": {' '.join(reason.split())}"))
        yield from _named(head, names, width=width)


# What was


_HISTORY = (
    Column("ACCEPTED"),
    Column("PATCH"),
    Column("STATE"),
    Column("NODES", importance=2, note_keeps=20),
    Column("TOOK", importance=3, note_keeps=20),
    Column("BY", importance=1, note_keeps=20),
    Column("KEY", importance=4, note_keeps=30),
    Column("ID", importance=5, note_keeps=30),
)


def history_lines(patches: Sequence[PatchView], *, width: int | None) -> Iterator[Text]:
    """Render all patches, the newest first."""
    if not patches:
        yield Text("no patches yet")
        return
    rows = [
        Row(
            [
                local_time(view.received_at, "%m-%d %H:%M:%S"),
                visible(view.label),
                patch_state_text(view.state),
                counts_text(view.counts),
                "-" if view.finished_at is None else duration(view.finished_at - view.received_at),
                visible(view.changed_by) or "-",
                visible(view.key),
                visible(view.id),
            ],
            one_line(view.reason),
        )
        for view in patches
    ]
    yield from lay_out(_HISTORY, rows, width=width, note="REASON").lines
