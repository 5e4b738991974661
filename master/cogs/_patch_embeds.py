"""How patches are shown on Discord: in PATCH_CHANNEL, and in the answers of /patch. Foreign text is no markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from master.bot.embeds import shortened
from master.configuration.settings import ColourSettings
from master.services.core.discord_port import Embed, EmbedField
from master.services.core.patch_views import NodeReleaseView, PatchDetails, PatchesView, PatchNodeView, PatchView
from master.wording import as_code, as_markdown, duration

APPROVE, PAUSE, RESUME, ROLL_BACK = "✅", "⏸️", "▶️", "⏪"
"""Reactions by which operators steer."""

_NOTE, _NAMES, _TRACEBACK, _REASON, _LIST = 900, 500, 850, 300, 250
_FILES, _PATH = 6, 70
_BAD = ("failed", "rollback_failed", "rolled_back")
_ORDER = (
    "rollback_failed",
    "failed",
    "rolled_back",
    "rolling_back",
    "good",
    "healthy",
    "applied",
    "staged",
    "received",
    "ordered",
    "waiting",
    "absent",
    "skipped",
)
_NODE_MARKS = {
    "rollback_failed": "❌",
    "failed": "❌",
    "rolled_back": "⏪",
    "rolling_back": "⏪",
    "good": "✅",
    "healthy": "🟢",
    "applied": "🟡",
    "staged": "📦",
    "received": "📥",
    "ordered": "📨",
    "waiting": "⏳",
    "absent": "💤",
    "skipped": "⏭️",
}
_NODE_WORDS = {
    "rollback_failed": "could not go back",
    "rolled_back": "went back",
    "rolling_back": "going back",
    "absent": "not running, gets it at its start",
}
_STATE_WORDS = {
    "received": "received",
    "approved": "approved",
    "rolling": "rolling out",
    "soaking": "being watched",
    "asking": "asks whether to go on",
    "paused": "paused",
    "done": "done",
    "rolling_back": "rolling back",
    "rolled_back": "rolled back",
    "aborted": "aborted",
    "failed": "failed",
}
_STATE_MARKS = {
    "received": "📥",
    "approved": "👍",
    "rolling": "🚀",
    "soaking": "👀",
    "asking": "❓",
    "paused": "⏸️",
    "done": "✅",
    "rolling_back": "⏪",
    "rolled_back": "⏪",
    "aborted": "⏹️",
    "failed": "❌",
}


def patch_embed(colours: ColourSettings, found: PatchDetails) -> Embed:
    """Return what is shown of one patch: what it is, how it is rolled out, how far it is, and what went wrong."""
    patch = found.patch
    fields = [
        EmbedField("By", _author(patch)),
        EmbedField("Changes", _changes(found)),
        EmbedField("Plan", _plan(found)),
        *_approvals(patch),
        *_progress(found.nodes),
        *_trouble(patch, found.nodes),
    ]
    return Embed(
        title=shortened(title_of(patch), 256),
        description=_text(found.note, _NOTE),
        colour=_colour(colours, patch.state),
        fields=tuple(fields),
        footer=f"{patch.id[:26]} · {_what_reactions_do(patch)}",
    )


def title_of(patch: PatchView) -> str:
    """Return a patch with its state, in one line."""
    wave = f" ({as_markdown(patch.wave)})" if patch.wave and patch.finished_at is None else ""
    urgent = " · urgent" if patch.urgent else ""
    return f"{_STATE_MARKS.get(patch.state, '')} {as_markdown(patch.label)}: {state_words(patch.state)}{wave}{urgent}"


def state_words(state: str) -> str:
    """Return a patch's state in words."""
    return _STATE_WORDS.get(state) or as_markdown(state)


def _node_words(state: str) -> str:
    return _NODE_WORDS.get(state) or as_markdown(state)


def _what_reactions_do(patch: PatchView) -> str:
    if patch.finished_at is not None:
        return f"{ROLL_BACK} roll back" if patch.state in ("done", "aborted") else "/patch show has more"
    return f"operators: {APPROVE} approve {PAUSE} pause {RESUME} go on {ROLL_BACK} roll back"


def _author(patch: PatchView) -> str:
    author = as_markdown(patch.author) or "somebody"
    return shortened(f"{author}\nkey: {as_markdown(patch.key)}\nthrough {person(patch.received_from)}", 300)


def _changes(found: PatchDetails) -> str:
    files = [(path, "") for path in found.files] + [(path, " goes") for path in found.removed]
    lines = [f"`{_path(path)}`{goes}" for path, goes in files[:_FILES]]
    if len(files) > _FILES:
        lines.append(f"and {len(files) - _FILES} more")
    lines.append(_how(found))
    lines += [f"needs `{_path(package)}`" for package in found.requirements[:3]]
    return _lines(lines, 700)


def _path(path: str) -> str:
    """Return a path, of which the end says most."""
    text = as_code(path).replace("\n", "\\n")
    return text if len(text) <= _PATH else f"…{text[1 - _PATH :]}"


def _how(found: PatchDetails) -> str:
    if found.patch.restarts:
        return "restarts the bot, which resumes its session"
    return f"reloads {_listed(found.reload)}"


def _plan(found: PatchDetails) -> str:
    plan = found.plan
    waves = ", ".join(f"{percent} %" for percent in plan.waves)
    first = f"canary {plan.canary}, then " if plan.canary else ""
    lines = [f"{first}{waves or '100 %'}", f"watched for {duration(plan.soak_s)} each"]
    if plan.most_failed:
        lines.append(f"{plan.most_failed} may fail")
    lines.append(f"for {_listed(found.targets)}" if found.targets else "for every node")
    if found.depends_on:
        lines.append(f"after {_listed(found.depends_on)}")
    return _lines(lines, 500)


def _listed(names: Sequence[str]) -> str:
    return _names([as_markdown(name) for name in names], _LIST) or "-"


def _approvals(patch: PatchView) -> list[EmbedField]:
    if not patch.approved_by and patch.approvals < 2:
        return []
    people = shortened(", ".join(person(label) for label in patch.approved_by[:5]), _REASON)
    said = f"{len(patch.approved_by)} of {patch.approvals}{f': {people}' if people else ''}"
    if patch.state == "received":
        said += f"\n{next_text(patch)}"
    return [EmbedField("Approved", said)]


def next_text(patch: PatchView) -> str:
    """Say what a patch that is not being rolled out waits for."""
    missing = patch.approvals_missing
    if not missing:
        return "Nobody has asked for its roll-out yet: `/patch deploy` begins it."
    if not patch.wanted_by:
        return f"It waits for {missing} more: `/patch deploy` approves it too, and begins it with the last approval."
    has = "operator has" if missing == 1 else "operators have"
    wanted = f"{person(patch.wanted_by)} wants it rolled out"
    return f"{wanted}: it begins once {missing} more {has} approved it, with {APPROVE} or `/patch approve`."


def _progress(nodes: Sequence[PatchNodeView]) -> list[EmbedField]:
    if not nodes:
        return []
    ordered = sorted(nodes, key=lambda node: (_rank(node.state), node.node.casefold()))
    lines = []
    most = max(_NAMES // len({node.state for node in nodes}), 40) + 20
    for state, group in groupby(ordered, key=lambda node: node.state):
        names = [as_markdown(node.node) for node in group]
        words = _node_words(state)
        lines.append(f"{_NODE_MARKS.get(state, '•')} **{len(names)}** {words}: {_names(names, most)}")
    return [EmbedField(f"Nodes: {len(nodes)}", _lines(lines), inline=False)]


def _rank(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)


def _names(names: Sequence[str], most: int = _NAMES) -> str:
    """Return as many names as fit, and how many are left out."""
    shown, room = list[str](), most
    for name in names:
        room -= len(name) + 2
        if room < 0:
            break
        shown.append(name)
    left = len(names) - len(shown)
    if not shown and names:
        return shortened(names[0], most) + (f" and {left - 1} more" if left > 1 else "")
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _trouble(patch: PatchView, nodes: Iterable[PatchNodeView]) -> list[EmbedField]:
    fields = [EmbedField("Why", _text(patch.reason, _REASON), inline=False)] if patch.reason.strip() else []
    for node in nodes:
        if node.state in _BAD and node.detail.strip():
            # The end of a traceback says what it was.
            quote = as_code(node.detail.strip())[-_TRACEBACK:]
            name = shortened(as_markdown(node.node), 100)
            return [*fields, EmbedField(f"On {name}", f"```py\n{quote}\n```", inline=False)]
    return fields


def _colour(colours: ColourSettings, state: str) -> int:
    if state == "done":
        return colours.success
    if state in ("failed", "rolled_back", "rolling_back"):
        return colours.error
    return colours.warning if state in ("asking", "paused", "aborted") else colours.information


def person(label: str) -> str:
    """Return an actor's label: a person on Discord as a mention, which notifies nobody in an embed."""
    face, _, identity = label.partition(":")
    return f"<@{identity}>" if face == "discord" and identity.isdecimal() else as_markdown(label)


def _text(text: str, most: int) -> str:
    """Return a foreign text of several lines; a heading or a list at the beginning of one is none."""
    return shortened("\n".join(map(as_markdown, text.strip().split("\n"))), most)


def _lines(lines: Sequence[str], most: int = 1_000) -> str:
    """Return lines as the value of a field; those that do not fit are left out whole."""
    kept, room = list[str](), most
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            kept.append("…")
            break
        kept.append(line)
    return "\n".join(kept) or "-"


def status_lines(found: PatchesView) -> list[str]:
    """Return the roll-outs that go on, and which patch each node has."""
    lines = [patch_line(patch) for patch in found.patches if patch.finished_at is None]
    if not lines:
        lines = ["No roll-out is under way."]
    lines.append("")
    by_version: dict[tuple[str, str], list[NodeReleaseView]] = {}
    for node in found.nodes:
        by_version.setdefault((node.patch, node.state), []).append(node)
    for (patch, state), nodes in sorted(by_version.items(), key=lambda item: (item[0][1] not in _BAD, item[0])):
        names = _names([as_markdown(node.node) for node in nodes])
        mark = _NODE_MARKS.get(state, "▫️")
        version = f"**{as_markdown(patch)}** {_node_words(state)}" if patch else "**no patch**"
        lines.append(f"{mark} {version}: {names}")
    return lines


def patch_line(patch: PatchView) -> str:
    """Return one patch in a list."""
    counts = ", ".join(f"{patch.counts[state]} {_node_words(state)}" for state in _ORDER if state in patch.counts)
    author = as_markdown(patch.author or patch.key)
    line = f"**{title_of(patch)}** by {author}, <t:{int(patch.since)}:R>"
    line += f"\n{counts}" if counts else ""
    return line + (f"\n{_text(patch.reason, _REASON)}" if patch.reason else "")
