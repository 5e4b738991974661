"""A patch file on the terminal, as its author reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.text import Text

from handshake.patch_document import PatchDocument, Targets
from master.services.patches.files import PatchFile
from master.terminal.output import local_time, one_line
from master.wording import duration, visible_lines

_LABEL = 13
SIGNS = {"A": "green", "M": "yellow", "D": "red"}


def patch_file_lines(found: PatchFile) -> Iterator[Text]:
    """Say what a patch is and does, a line at a time."""
    document = found.document
    yield one_line((f"{document.name} {document.version}", "bold"), f"  channel {document.channel}  {found.path.name}")
    if found.is_signed:
        yield fact_line("signature", ("signed; `fleet patch verify` says by whom", "cyan"))
    else:
        yield fact_line("signature", ("not signed yet: `fleet patch sign`", "yellow"))
    yield from _facts(document)
    yield from file_lines(document)


def fact_line(label: str, *parts: str | tuple[str, str]) -> Text:
    """Return a line with what it is about in front."""
    return one_line((f"{label:<{_LABEL}}", "bright_black"), *parts)


def _facts(document: PatchDocument) -> Iterator[Text]:
    if document.author:
        yield fact_line("author", document.author)
    yield fact_line("created", local_time(document.created, "%Y-%m-%d %H:%M"))
    left = document.expires - time.time()
    if left > 0:
        yield fact_line("expires", f"{local_time(document.expires, '%Y-%m-%d %H:%M')} (in {duration(left)})")
    else:
        yield fact_line("expires", (f"{local_time(document.expires, '%Y-%m-%d %H:%M')}: it has expired", "red"))
    yield fact_line("fleets", ", ".join(document.fleets) or "each that trusts its key")
    yield fact_line("targets", targets_text(document.targets))
    if document.depends_on:
        yield fact_line("needs", ", ".join(document.depends_on))
    yield fact_line("takes effect", effect_text(document))
    if document.requirements:
        yield fact_line("packages", ", ".join(document.requirements))
    plan = _plan_text(document)
    if plan:
        yield fact_line("roll-out", plan)
    note = visible_lines(document.note).split("\n") if document.note else []
    for at, line in enumerate(note):
        yield fact_line("note" if at == 0 else "", line)


def targets_text(targets: Targets) -> str:
    """Say which nodes a patch fits."""
    kinds = (("template", targets.templates), ("tag", targets.tags), ("node", targets.names))
    given = [f"{kind} {' or '.join(values)}" for kind, values in kinds if values]
    return ", and ".join(given) or "every node"


def effect_text(document: PatchDocument) -> str:
    """Say how a node takes a patch over."""
    if document.restarts:
        return "a restart, which resumes the gateway's session"
    return f"reloads {', '.join(document.reload)}, without leaving the gateway"


def _plan_text(document: PatchDocument) -> str:
    plan = document.rollout
    given = [] if plan.canary is None else ["no canary" if plan.canary == 0 else f"canary {plan.canary}"]
    if plan.waves:
        given.append(f"waves {', '.join(f'{percent} %' for percent in plan.waves)}")
    if plan.soak_s is not None:
        given.append(f"soak {duration(plan.soak_s)}")
    return ", ".join(given)


def file_lines(document: PatchDocument) -> Iterator[Text]:
    """Name each file with the sign of what becomes of it, as git does."""
    for file in document.files:
        sign = "A" if file.base is None else "M"
        run = "  executable" if file.executable else ""
        yield one_line((f"  {sign} ", SIGNS[sign]), file.path, (f"  {size_text(file.length)}{run}", "bright_black"))
    for removed in document.removed:
        yield one_line(("  D ", SIGNS["D"]), removed.path)


def size_text(size: int) -> str:
    """Write a size in the unit that fits."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.1f} KB" if size < 1 << 20 else f"{size / (1 << 20):.1f} MB"
