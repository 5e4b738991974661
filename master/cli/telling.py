"""``describe`` and ``why``: all that is known of one node, and what happened to it; also without a master."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, complete_nodes, reporting_errors, run_operation
from master.cli.moments import moment_of
from master.operations import telling
from master.operations.parameters import NodeParams, WhyParams
from master.services.core.telling_views import NodeDescription, NodeTimeline, TimelineEntry
from master.terminal import console, local_time, megabytes, one_line, print_json, state_text
from master.wording import duration, moment, visible

NodeArgument = Annotated[str, typer.Argument(help="Name of a node.", autocompletion=complete_nodes, show_default=False)]
TIMEOUT_S = 20.0
_LABEL = 11
_FINGERPRINT = 8
"""As many digits of an error's fingerprint: `fleet errors show` takes them."""
_NARROWEST = 40
_SHOWN_SETTINGS = ("default",)
"""Settings from there are shown with --json alone."""


def describe(name: NodeArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show all that is known of a node: its bot, state, last exit, limits, paths, settings, last lines."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, telling.describe, NodeParams(name=name), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
            return
        for line in description_lines(found, width=console.width):
            console.print(line, soft_wrap=True)


def why(
    name: NodeArgument,
    since: Annotated[str, typer.Option("--since", help="How far back: 90s, 10m, 2h, 3d, or 2026-11-22T10:00.")] = "24h",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a node and why, what is the matter with it now, and what to do next."""
    with reporting_errors(as_json=as_json):
        params = WhyParams(name=name, since=moment_of(since))
        found = run_operation(home, telling.why, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
            return
        for line in timeline_lines(found, width=console.width):
            console.print(line, soft_wrap=True)


# describe


def description_lines(found: NodeDescription, *, width: int) -> Iterator[Text]:
    """Render a description, a line at a time; only the invite link may be longer than ``width``."""
    status = found.status
    since = f"  since {moment(found.state_since)}" if found.state_since is not None else ""
    yield one_line((status.name, "bold"), "  ", state_text(status.state), (since, "bright_black"))
    for label, text, style in _facts(found):
        yield from _fact(label, text, width=width, style=style)
    for number, setting in enumerate(one for one in found.settings if one.source not in _SHOWN_SETTINGS):
        text = f"{setting.key} = {setting.value} ({setting.source})"
        yield from _fact("settings" if not number else "", text, width=width)
    if found.lines:
        yield one_line(("last lines", "bright_black"))
        for line in found.lines:
            yield _cut(f"  {visible(line)}", width)
    if found.trouble:
        yield from _fact("!", found.trouble, width=width, style="yellow")


def _facts(found: NodeDescription) -> Iterator[tuple[str, str, str]]:
    """Return label, text and style of each fact, in the order of their weight."""
    status, now = found.status, found.at
    if status.next_start_in_s is not None:
        yield "note", f"next start in {duration(status.next_start_in_s)}", "yellow"
    elif status.detail:
        yield "note", status.detail, "yellow"
    if not found.has_master:
        yield "note", "no master runs: this is what is on disk", "yellow"
    if status.licence_revoked:
        yield "note", f"its licence is revoked: fleet reinstate {status.name}", "red"
    if status.flag_reason:
        yield "flagged", f"{status.flag_reason}: fleet clear {status.name}, once you know what it was", "red"
    if found.last_exit is not None:
        ago = f"{moment(found.last_exit.at)}, {duration(now - found.last_exit.at)} ago"
        yield "last exit", f"{ago}: {found.last_exit.text}", ""
        if found.last_exit.todo:
            yield "", f"-> {found.last_exit.todo}", "cyan"
    if status.cogs_failed:
        yield "cogs", f"{_counted(len(status.cogs_failed), 'cog')} failed: {', '.join(status.cogs_failed)}", "red"
    for number, error in enumerate(found.errors):
        times = f"{error.count}x " if error.count > 1 else ""
        group = f" (error {error.fingerprint[:_FINGERPRINT]})" if error.fingerprint else ""
        yield "" if number else "errors", f"{moment(error.last_at)}  {times}{error.summary}{group}", ""
    yield from _process_facts(found)
    yield from _identity_facts(found)
    yield from _path_facts(found)


def _process_facts(found: NodeDescription) -> Iterator[tuple[str, str, str]]:
    status = found.status
    if status.pid is not None:
        cpu = "" if status.cpu_percent is None else f", CPU {status.cpu_percent:.1f} %"
        memory = "" if status.rss_bytes is None else f", {megabytes(status.rss_bytes)} MB"
        own = "" if status.pss_bytes is None else f" ({megabytes(status.pss_bytes)} MB its own share)"
        up = "" if status.uptime_s is None else f", up {duration(status.uptime_s)}"
        yield "process", f"pid {status.pid}{up}, {_counted(status.restarts, 'restart')}{cpu}{memory}{own}", ""
    soft, hard = _limit(found.memory_limit_bytes), _limit(found.memory_hard_limit_bytes)
    others = f"{found.open_files_limit} open files, CPU weight {found.cpu_weight}"
    yield "limits", f"memory {soft} (hard {hard}), {others}", ""
    if status.guilds is not None:
        ping = "" if status.latency_ms is None else f", {status.latency_ms:.0f} ms"
        pulse = "" if status.last_pulse_s_ago is None else f", last pulse {duration(status.last_pulse_s_ago)} ago"
        yield "discord", f"{_counted(status.guilds, 'guild')}{ping}{pulse}", ""


def _identity_facts(found: NodeDescription) -> Iterator[tuple[str, str, str]]:
    status, licence = found.status, found.licence
    yield "node", f"{status.id}, registered {moment(found.registered_at)}", ""
    if found.invite_url:
        yield "bot", f"{found.bot_name} ({status.bot_user_id})" if found.bot_name else status.bot_user_id, ""
        yield "invite", found.invite_url, ""
    else:
        yield "bot", "none: a program without a token", ""
    if licence is not None:
        until = "for ever" if licence.expires_at is None else f"until {local_time(licence.expires_at, '%Y-%m-%d')}"
        yield "licence", f"{licence.tier}, {licence.state}, {until}", ""
    if status.tags:
        yield "tags", ", ".join(status.tags), ""
    if found.release:
        yield "patch", f"{found.release}; `fleet lineage {status.name}`", ""
    version = f", version {status.version}" if status.version else ""
    yield "ready by", f"{status.readiness}{version}", ""


def _path_facts(found: NodeDescription) -> Iterator[tuple[str, str, str]]:
    yield "command", found.command, ""
    yield "folder", found.paths.folder, ""
    if found.paths.environment:
        yield "python of", found.paths.environment, ""
    if found.paths.env_file:
        yield "env file", found.paths.env_file, ""
    yield "logs", found.paths.stdout, ""
    yield "", found.paths.stderr, ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _limit(size: int) -> str:
    return f"{megabytes(size)} MB" if size else "none"


def _fact(label: str, text: str, *, width: int, style: str = "") -> Iterator[Text]:
    """Render one fact, its text wrapped beside its label; a word longer than the line, such as a link, stays whole."""
    wrapped = textwrap.wrap(
        visible(text), max(width - _LABEL, _NARROWEST), break_long_words=False, break_on_hyphens=False
    )
    for number, line in enumerate(wrapped or [""]):
        yield one_line((f"{'' if number else label:<{_LABEL}}", "bright_black"), (line, style))


def _cut(text: str, width: int) -> Text:
    line = Text(text, style="bright_black")
    line.truncate(width, overflow="ellipsis")
    return line


# why


def timeline_lines(found: NodeTimeline, *, width: int) -> Iterator[Text]:
    """Render a timeline, a line at a time, none longer than ``width``."""
    yield one_line(
        (found.node, "bold"),
        "  ",
        state_text(found.state),
        (f"  what happened since {moment(found.since)}", "bright_black"),
    )
    if found.left_out:
        yield one_line((f"{found.left_out} older entries are left out: give a later --since", "bright_black"))
    if not found.entries:
        yield one_line(("nothing happened since then", "bright_black"))
    for entry in found.entries:
        yield from _entry_lines(entry, found.at, width)
    yield Text()
    yield from _sentence("now", found.matter, width, "bold")
    if found.todo:
        yield from _sentence("do", found.todo, width, "cyan")
    if found.trouble:
        yield from _sentence("!", found.trouble, width, "yellow")


_STYLES = {"exited": "red", "quarantined": "red", "missing": "red", "refused": "red", "error": "red"}
_WARNING = frozenset({"degraded", "offline", "cut_off", "held", "continued", "backoff"})


def _entry_lines(entry: TimelineEntry, now: float, width: int) -> Iterator[Text]:
    """Render an entry: when, how long ago, what; then the lines before it."""
    margin = f"{moment(entry.at):>8} {duration(now - entry.at):>6} ago  "
    times = f"{entry.count} times since {moment(entry.first_at)}: " if entry.count > 1 else ""
    actor = f" by {entry.actor}" if entry.actor else ""
    outcome = f" -> {entry.outcome}" if entry.outcome else ""
    room = max(width - len(margin), _NARROWEST)
    style = _STYLES.get(entry.kind, "yellow" if entry.kind in _WARNING else "")
    group = f" (error {entry.fingerprint[:_FINGERPRINT]})" if entry.fingerprint else ""
    wrapped = textwrap.wrap(visible(f"{times}{entry.text}{group}{actor}{outcome}"), room, break_on_hyphens=False)
    for number, line in enumerate(wrapped):
        yield one_line((" " * len(margin) if number else margin, "bright_black"), (line, style))
    for line in entry.lines:
        yield _cut(f"{' ' * min(len(margin), 12)}| {visible(line)}", width)


def _sentence(label: str, text: str, width: int, style: str) -> Iterator[Text]:
    for number, line in enumerate(textwrap.wrap(visible(text), max(width - 5, _NARROWEST), break_on_hyphens=False)):
        yield one_line((f"{'' if number else label:<5}", "bright_black"), (line, style))
