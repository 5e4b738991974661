"""The demo's steps in order, and what each measures."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
import psutil
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from handshake.messages import Heartbeat
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer
from handshake.transports import channel
from master.demonstration.channels import delete_and_see_it_again
from master.demonstration.owner import remove_abandoned
from master.demonstration.patching import patch_and_roll_back
from master.demonstration.people import serve_people
from master.demonstration.repairing import break_and_repair
from master.demonstration.stage import NAMES, EventTap, Stage, StageError
from master.errors import FleetError
from master.services.core.views import FleetStatus
from master.terminal import fleet_table, megabytes, summary_line

READY_TIMEOUT_S = 120.0


class Step(msgspec.Struct, kw_only=True):
    """The result of one step."""

    name: str
    ok: bool
    detail: str
    seconds: float


class Outcome(msgspec.Struct, kw_only=True):
    """The results of the demo."""

    ok: bool
    steps: list[Step]
    figures: dict[str, float]


class Story:
    """Runs the steps of the demo."""

    def __init__(self, stage: Stage, tap: EventTap, nodes: int, show: Callable[[str], None]) -> None:
        self._stage = stage
        self._tap = tap
        self._show = show
        self._names = [_name(index) for index in range(nodes)]
        self.steps: list[Step] = []
        self.figures: dict[str, float] = {}

    async def run(self) -> None:
        """Run the steps; stops at the first failure."""
        steps: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            (f"{len(self._names)} nodes cloned, started, ready", self._start_nodes),
            ("every node verified and pulsing", self._wait_for_pulses),
            ("/dupbot, run by a person", self._duplicate),
            ("SIGKILL, and back again", self._kill),
            ("a forged pulse, flagged", self._forge),
            ("a cog that no restart mends", self._repair),
            ("new code, and back by itself", self._patch),
            ("licence, giveaway, ticket", self._serve_people),
            ("a deleted channel, back again", self._delete_channel),
            ("what it costs", self._measure),
        ]
        for name, run_step in steps:
            self._show(name)
            began = time.monotonic()
            try:
                detail, held = await run_step(), True
            except (FleetError, TimeoutError, aiohttp.ClientError) as error:
                detail, held = str(error) or type(error).__name__, False
            seconds = round(time.monotonic() - began, 3)
            self.steps.append(Step(name=name, ok=held, detail=detail, seconds=seconds))
            if not held:
                return

    async def _start_nodes(self) -> str:
        began = time.monotonic()
        slots = asyncio.Semaphore(8)

        async def one(name: str) -> float:
            async with slots:
                await self._stage.register(name)
            await self._tap.wait_for("ready", name, timeout_s=READY_TIMEOUT_S)
            return time.monotonic() - began

        times = await asyncio.gather(*(one(name) for name in self._names))
        self.figures["all_ready_s"] = round(max(times), 3)
        self.figures["first_ready_s"] = round(min(times), 3)
        return f"first after {min(times):.1f} s, all after {max(times):.1f} s"

    async def _wait_for_pulses(self) -> str:
        """Wait until every node has pulsed since it was verified."""
        deadline = time.monotonic() + 30
        while True:
            status = await self._stage.status()
            pulsing = [node for node in status.nodes if node.latency_ms is not None and node.state == "ready"]
            if len(pulsing) == len(status.nodes):
                break
            if time.monotonic() > deadline:
                raise StageError(f"only {len(pulsing)} of {len(status.nodes)} nodes pulse")
            await asyncio.sleep(0.1)
        # The tap may lag behind the status.
        for node in status.nodes:
            await self._tap.wait_for("verified", node.name)
        return f"{len(status.nodes)} verified over the local socket, none over the Discord channel"

    async def _duplicate(self) -> str:
        stage, name = self._stage, "ninth" if len(self._names) == 8 else "newcomer"
        bot = stage.create_bot(name)
        began = time.monotonic()
        form = await stage.operator.runs_command(stage.office, stage.master_bot, "dupbot")
        if form.kind != "modal":
            raise StageError(f"/dupbot answered with a {form.kind}")
        values = {"Name": name, "Bot token": bot.token, "Tags": "demo"}
        sent = await stage.operator.submits_modal(form, values)
        await self._tap.wait_for("ready", name)
        seconds = time.monotonic() - began
        await sent.wait_until(lambda interaction: bool(interaction.embeds))
        title = str(sent.embeds[0].get("title", ""))
        if name not in title:
            raise StageError(f"/dupbot answered: {title}")
        self.figures["dup_to_ready_s"] = round(seconds, 3)
        return f"{name} ready {seconds:.2f} s after the form was sent; answered: {title}"

    async def _kill(self) -> str:
        name = self._names[0]
        before = await self._stage.node(name)
        if before.pid is None:
            raise StageError(f"{name} has no process")
        since, at = len(self._tap.events), time.time()
        os.kill(before.pid, signal.SIGKILL)
        spawned = await self._tap.wait_for("spawned", name, since=since)
        ready = await self._tap.wait_for("ready", name, since=since)
        self.figures["kill_to_spawned_ms"] = round((spawned.at - at) * 1000, 1)
        self.figures["kill_to_ready_ms"] = round((ready.at - at) * 1000, 1)
        return (
            f"{name} {before.pid} -> {spawned.pid}: new process after {self.figures['kill_to_spawned_ms']:.0f} ms, "
            f"ready after {self.figures['kill_to_ready_ms']:.0f} ms"
        )

    async def _forge(self) -> str:
        """Post a pulse in a node's name, from its own account, signed with a made-up key."""
        name = self._names[-1]
        node = await self._stage.node(name)
        forged = Signer(NodeKey(node.id, 1, Secret(os.urandom(32))), from_master=False, clock=time.time)
        text = forged.sign(Heartbeat(uptime_s=1.0, guilds=1))
        since, began = len(self._tap.events), time.monotonic()
        url = f"{self._stage.sandbox.api_base}/channels/{self._stage.verify.id}/messages"
        headers = {"Authorization": f"Bot {self._stage.bots[name].token}"}
        async with aiohttp.ClientSession() as session:
            response = await session.post(url, headers=headers, json={"content": channel.wrap(text)})
            response.raise_for_status()
        await self._tap.wait_for("refused", name, since=since)
        seconds = time.monotonic() - began
        flagged = await self._stage.node(name)
        if flagged.flag_reason != "bad_signature":
            raise StageError(f"{name} is not flagged: {flagged.flag_reason!r}")
        await self._stage.log.wait_for_message(lambda m: any(name in str(e.get("title")) for e in m.embeds))
        self.figures["forgery_flagged_ms"] = round(seconds * 1000, 1)
        return f"{name} flagged as bad_signature after {seconds * 1000:.0f} ms; the log channel shows it"

    async def _repair(self) -> str:
        """Break a cog, see that a restart does not mend it, and save a solution that knows the error."""
        return await break_and_repair(self._stage, self._tap, self._names[0], self.figures)

    async def _patch(self) -> str:
        """Patch every node, and see a bad patch taken back."""
        return await patch_and_roll_back(self._stage, self._tap, self.figures)

    async def _serve_people(self) -> str:
        """Have members use what the master does for them."""
        return await serve_people(self._stage, self._tap, self.figures)

    async def _delete_channel(self) -> str:
        """Delete PATCH_CHANNEL; wait until it is there again, and followed."""
        return await delete_and_see_it_again(self._stage, self._tap)

    async def _measure(self) -> str:
        status = await self._stage.status()
        master = status.master
        shares = await asyncio.to_thread(_proportional_sizes, [node.pid for node in status.nodes if node.pid])
        self.figures["nodes"] = len(status.nodes)
        self.figures["master_cpu_s"] = master.cpu_seconds
        self.figures["master_uptime_s"] = master.uptime_s
        self.figures["master_rss_mb"] = round(master.rss_bytes / 2**20, 1)
        self.figures["node_pss_mb"] = round(statistics.median(shares) / 2**20, 1)
        return (
            f"master {megabytes(master.rss_bytes)} MB, {master.cpu_seconds:.1f} CPU-s in {master.uptime_s:.0f} s; "
            f"a node {self.figures['node_pss_mb']:.1f} MB (PSS, median)"
        )


def _proportional_sizes(pids: list[int]) -> list[int]:
    sizes = []
    for pid in pids:
        with suppress(psutil.Error):
            sizes.append(psutil.Process(pid).memory_full_info().pss)
    return sizes or [0]


def _name(index: int) -> str:
    name = NAMES[index % len(NAMES)]
    return name if index < len(NAMES) else f"{name}-{index // len(NAMES) + 1}"


async def run_demo(*, nodes: int, stay: bool, quiet: bool, keep: Path | None, console: Console) -> Outcome:
    """Run the demo; returns its results.

    Parameters
    ----------
    stay
        Continue with the live view after the summary, until Ctrl-C.
    quiet
        Print nothing.
    """
    _end_at_signals(console)
    for line in await asyncio.to_thread(remove_abandoned):
        _print(console, quiet, Text(line, style="yellow"))
    async with Stage(keep=keep) as stage:
        _print(
            console,
            quiet,
            Text.assemble(("Fleetmaster", "bold"), "  a live fleet on a local Discord; no token, no server"),
        )
        await stage.start_master()
        async with stage.listen() as tap:
            outcome = await _run_story(stage, tap, nodes, console, quiet=quiet)
            if not quiet:
                if not outcome.ok:
                    console.print(Panel(stage.log_tail(), title="the master's log, its end", title_align="left"))
                console.print(_summary(outcome))
            if stay and outcome.ok:
                await _keep_running(stage, console, rows=len(console.render_lines(_summary(outcome), pad=False)))
    return outcome


def _end_at_signals(console: Console) -> None:
    """Let SIGTERM, and the end of the terminal, clean up like Ctrl-C; a second one does not disturb the clean-up."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()

    def end(*, without_terminal: bool) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        if without_terminal:
            console.quiet = True  # to write there is an error now
        if this is not None:
            this.cancel()

    loop.add_signal_handler(signal.SIGTERM, partial(end, without_terminal=False))
    loop.add_signal_handler(signal.SIGHUP, partial(end, without_terminal=True))


def _print(console: Console, quiet: bool, text: str | Text) -> None:
    if not quiet:
        console.print(text)


async def _run_story(stage: Stage, tap: EventTap, nodes: int, console: Console, *, quiet: bool) -> Outcome:
    current = [""]
    story = Story(stage, tap, nodes, lambda name: current.__setitem__(0, name))
    playing = asyncio.create_task(story.run())
    try:
        await _show(stage, story, playing, current, console, quiet=quiet)
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    ok = len(story.steps) == 10 and all(step.ok for step in story.steps)
    return Outcome(ok=ok, steps=story.steps, figures=story.figures)


async def _show(
    stage: Stage, story: Story, playing: asyncio.Task[None], current: list[str], console: Console, *, quiet: bool
) -> None:
    if quiet or not console.is_terminal:
        shown = 0
        while not playing.done():
            await asyncio.wait({playing}, timeout=0.2)
            shown = _print_new_steps(story, shown, console, quiet=quiet)
        _print_new_steps(story, shown, console, quiet=quiet)
    else:
        shown = 0
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            while not playing.done():
                # What is done scrolls by, above the frame: that way neither is lost on a small screen.
                shown = _print_new_steps(story, shown, console, quiet=False)
                live.update(await _frame(stage, current[0], console))
                await asyncio.wait({playing}, timeout=0.25)
        _print_new_steps(story, shown, console, quiet=False)
    await playing


def _print_new_steps(story: Story, shown: int, console: Console, *, quiet: bool) -> int:
    for step in story.steps[shown:]:
        if not quiet:
            console.print(_step_line(step), soft_wrap=not console.is_terminal)
    return len(story.steps)


def _step_line(step: Step) -> Text:
    mark = ("✓ ", "green") if step.ok else ("✗ ", "bold red")
    return Text.assemble(mark, (f"{step.name}  ", "bold"), step.detail)


async def _frame(stage: Stage, current: str, console: Console) -> Group:
    now = Text.assemble(("▸ ", "yellow"), (current, "bold"))
    try:
        status = await stage.status()
    except FleetError:
        return Group(now)
    above = Group(now, Text())
    taken = len(console.render_lines(above, pad=False)) + 1
    return Group(above, _fitting(status, Text(), console, rows=console.height - taken))


def _fitting(status: FleetStatus, closing: Text, console: Console, *, rows: int) -> Group:
    """Return the fleet in that many rows at most: what there is no room for are nodes, never the lines below them."""
    below = Group(Text(), summary_line(status), closing)
    room, nodes = rows - len(console.render_lines(below, pad=False)), status.nodes
    for shown in range(len(nodes), 0, -1):
        left = len(nodes) - shown
        more = [Text(f"and {left} more", style="bright_black")] if left else []
        # A node in trouble may have a second line for its note.
        whole = Group(fleet_table(nodes[:shown], width=console.width), *more)
        if len(console.render_lines(whole, pad=False)) <= room:
            return Group(whole, below)
    return Group(summary_line(status), closing)


async def _keep_running(stage: Stage, console: Console, *, rows: int) -> None:
    """Show the fleet, below the summary, until Ctrl-C.

    Parameters
    ----------
    rows
        Of the screen that the summary needs to remain in sight.
    """
    left = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, left.set)
    hint = Text.assemble(
        "\nThe fleet keeps running. In another terminal: ",
        (f"FLEET_HOME={stage.home} ./fleet status", "cyan"),
        " (or top, logs -f, restart). Ctrl-C stops it",
        f", and leaves {stage.home}." if stage.kept else " and removes everything.",
    )
    if not console.is_terminal:
        console.print(hint, soft_wrap=True)
        await left.wait()
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not left.is_set():
            live.update(_fitting(await stage.status(), hint, console, rows=console.height - rows - 1))
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await left.wait()
    console.print("stopping the fleet ...", style="bright_black")


_FIGURES = {
    "first_ready_s": ("first node ready", "s"),
    "all_ready_s": ("all nodes ready", "s"),
    "dup_to_ready_s": ("/dupbot to ready", "s"),
    "kill_to_spawned_ms": ("SIGKILL to new process", "ms"),
    "kill_to_ready_ms": ("SIGKILL to ready", "ms"),
    "forgery_flagged_ms": ("forgery to flag", "ms"),
    "error_to_repaired_ms": ("error to repaired", "ms"),
    "patched_ms": ("all nodes patched", "ms"),
    "taken_back_ms": ("a bad patch taken back", "ms"),
    "redeemed_ms": ("a licence redeemed, with its role", "ms"),
    "giveaway_ms": ("a giveaway, to its draw", "ms"),
    "ticket_ms": ("a panel, and a ticket opened at it", "ms"),
    "master_cpu_s": ("master's CPU so far", "s"),
    "master_rss_mb": ("master's memory (RSS)", "MB"),
    "node_pss_mb": ("a node's memory (PSS)", "MB"),
}


def _summary(outcome: Outcome) -> Group:
    """Return the summary; the steps have scrolled by."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bright_black")
    table.add_column(justify="right", style="bold")
    table.add_column()
    for key, (label, unit) in _FIGURES.items():
        if key in outcome.figures:
            table.add_row(label, f"{outcome.figures[key]:g}", unit)
    verdict = Text("every step passed", style="bold green") if outcome.ok else Text("a step failed", style="bold red")
    return Group(Text(), table, Text(), verdict)
