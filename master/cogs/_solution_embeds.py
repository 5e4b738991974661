"""How /solutions shows solutions, tests, drafts and histories. Foreign text is never markup."""

from __future__ import annotations

from collections.abc import Iterable

import discord

from master.bot.embeds import shortened
from master.configuration.settings import EmojiSettings, Settings
from master.services.core.solution_views import (
    DraftView,
    RunView,
    SolutionDetails,
    SolutionHistory,
    SolutionSaved,
    SolutionsView,
    SolutionTest,
    SolutionView,
    VersionView,
)
from master.wording import as_code, as_markdown

_TEXT_CHARACTERS = 3_500
_LINE_CHARACTERS = 300
_FIELD_CHARACTERS = 1_000


def mode_emoji(emojis: EmojiSettings, mode: str) -> str:
    """Return the emoji of a solution's mode."""
    known = {"on": emojis.ready, "detecting": emojis.starting, "off": emojis.stopped, "suspended": emojis.failed}
    return known.get(mode, emojis.stopped)


def list_lines(settings: Settings, found: SolutionsView) -> list[str]:
    """Return what is said of each solution, those in trouble first, and of each refused file."""
    lines = [_list_line(settings.emojis, view) for view in found.solutions]
    for refused in found.refused:
        name = refused.path.rpartition("/")[2]
        where = f"{name}, line {refused.line}" if refused.line else name
        why = shortened(as_markdown(refused.reason), _LINE_CHARACTERS)
        lines.insert(0, f"{settings.emojis.error} **{as_markdown(where)}** is refused: {why}")
    return lines or ["There are none."]


def _list_line(emojis: EmojiSettings, view: SolutionView) -> str:
    rate = "" if view.cure_rate is None else f", {view.cures} of {view.cures + view.failures} helped"
    would = f", would have acted {view.detected} times" if view.mode == "detecting" and view.detected else ""
    about = view.title if view.mode == "on" else f"{view.title} ({view.mode}: {view.why})"
    head = f"{mode_emoji(emojis, view.mode)} **{as_markdown(view.id)}** {as_markdown(view.action)}, {view.risk}"
    return f"{head}{rate}{would}\n{shortened(as_markdown(about), _LINE_CHARACTERS)}"


def details_embed(settings: Settings, found: SolutionDetails) -> discord.Embed:
    """Return one solution, with its text."""
    view = found.solution
    embed = discord.Embed(
        title=f"{mode_emoji(settings.emojis, view.mode)} {as_markdown(view.id)}: {as_markdown(view.title)}"[:256],
        description=_block(found.content, "toml"),
        colour=settings.colours.error if view.mode == "suspended" else settings.colours.information,
    )
    by = f", by {found.changed_by}" if found.changed_by else ""
    embed.add_field(name="Mode", value=shortened(as_markdown(f"{view.mode}: {view.why}{by}"), _FIELD_CHARACTERS))
    did = f"{view.runs} runs: {view.cures} helped, {view.failures} did not" if view.runs else "nothing yet"
    would = f"; it would have acted {view.detected} times" if view.detected else ""
    embed.add_field(name="Did", value=f"{did}{would}")
    if found.last_runs:
        embed.add_field(name="Last runs", value=_fitting(map(_run_line, found.last_runs)), inline=False)
    return embed


def history_lines(found: SolutionHistory) -> list[str]:
    """Return what became of a solution: its versions, then its runs."""
    lines = [*map(_version_line, found.versions), *map(_run_line, found.runs)]
    return lines or ["It comes with Fleetmaster, was never changed, and has done nothing yet."]


def _version_line(one: VersionView) -> str:
    what = f"version {one.version}" if one.content else f"version {one.version}, removed"
    return shortened(
        f"<t:{int(one.at)}:f> **{what}** by {as_markdown(one.actor)}: {as_markdown(one.why or '-')}", _LINE_CHARACTERS
    )


def _run_line(run: RunView) -> str:
    ready = "" if run.ready_ms is None else f", ready after {run.ready_ms / 1000:.1f} s"
    detail = as_markdown(f"{run.action}{ready}; {run.detail or run.line}")
    return shortened(
        f"<t:{int(run.at)}:f> {as_markdown(run.node)}: **{run.outcome.replace('_', ' ')}**, {detail}", _LINE_CHARACTERS
    )


def tested_embed(settings: Settings, found: SolutionTest) -> discord.Embed:
    """Return what a test found."""
    lines = "\n".join(f"{one.node}: {one.line}"[:200] for one in found.lines[:12])
    read = f"{found.files} logs of {found.nodes} nodes, {found.read_bytes / 1e6:.1f} MB"
    embed = discord.Embed(
        title=f"{as_markdown(found.id)}: {found.matched} lines matched"[:256],
        description=_block(lines) if lines else "Nothing matched.",
        colour=settings.colours.information,
    )
    held = f"; {found.held_back} times its limits would have held it back" if found.held_back else ""
    embed.add_field(name="It would have acted", value=f"{found.would_run} times{held}", inline=False)
    if found.others:
        known = ", ".join(f"{name} ({count})" for name, count in found.others.items())
        embed.add_field(name="Also known by", value=shortened(as_markdown(known), _FIELD_CHARACTERS), inline=False)
    if found.notes:
        embed.add_field(
            name="Notes", value=shortened(as_markdown("; ".join(found.notes)), _FIELD_CHARACTERS), inline=False
        )
    embed.set_footer(text=f"read {read}, in {found.seconds:.1f} s")
    return embed


def draft_embed(settings: Settings, found: DraftView) -> discord.Embed:
    """Return a draft, which is not active yet."""
    embed = discord.Embed(
        title=f"A draft: {as_markdown(found.id)}"[:256],
        description=_block(found.content, "toml"),
        colour=settings.colours.information,
    )
    embed.set_footer(text="; ".join((*found.notes, "not active until it is saved"))[:2_000])
    return embed


def saved_words(settings: Settings, done: SolutionSaved) -> tuple[str, str]:
    """Return title and text that say what a solution is after a change."""
    version = f", version {done.version}" if done.version else ""
    if done.mode == "removed":
        return f"{as_markdown(done.id)} is removed", "Its history stays; /solutions take-back has it again."
    lines = [
        f"{mode_emoji(settings.emojis, done.mode)} {done.mode}: {as_markdown(done.why)}",
        *map(as_markdown, done.notes),
    ]
    return f"{as_markdown(done.id)}{version}", "\n".join(lines)


def _block(text: str, language: str = "") -> str:
    shown = as_code(text)
    cut = shown if len(shown) <= _TEXT_CHARACTERS else f"{shown[:_TEXT_CHARACTERS]}\n…"
    return f"```{language}\n{cut}\n```"


def _fitting(lines: Iterable[str]) -> str:
    """Return as many lines as a field holds."""
    shown = ""
    for line in lines:
        if len(shown) + len(line) + 1 > _FIELD_CHARACTERS:
            break
        shown += f"{line}\n"
    return shown or "-"
