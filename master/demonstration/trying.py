"""``fleet patch try``: a patch in a copy of a bot's folder, with a real master and the sandbox, before any real bot.

The copy has no ``.env``, no token and no licence of the bot. It is removed in every case.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import msgspec

from handshake.manifest import DEFAULT_TOKEN_VARIABLE, MANIFEST_NAME, ManifestError, NodeManifest, read_manifest
from handshake.patch_bundle import MAX_BUNDLE_BYTES
from master.demonstration.stage import EventTap, Stage, StageError
from master.demonstration.trying_reload import reload_in_place, why_restarted
from master.errors import ExitCode, FleetError
from master.ledger.rows.records import ReadinessKind
from master.operations.parameters import ErrorParams, ErrorsParams, RegisterParams
from master.services.core.error_views import ErrorDetail, ErrorGroupView
from master.services.core.views import Registered
from master.services.onboarding.folders import clone_folder, remove_folder
from master.services.onboarding.programs import readiness_of
from master.services.patches.files import PatchFile
from nodekit.releases import ReleaseError, Releases
from sandbox.intents import PRIVILEGED

NAME, _PATCH_ID, _SHELF = "rehearsal", "rehearsal", ".releases"
READY_WITHIN_S = 60.0
ERROR_WITHIN_S = 5.0
_CONFIG = '\nHEALING = {"ENABLED": False}  # what goes wrong is to be seen, not mended\n'
_INTERPRETERS = (".venv/bin/python", "venv/bin/python")


class TryRefused(FleetError):
    """The patch cannot be tried: the folder is none of a bot that can be run here, or not what the patch is for."""

    code: ClassVar[str] = "try_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tried, and on what.

    Parameters
    ----------
    folder
        The bot's; it is copied, and stays as it is.
    entry
        The file that starts it; empty: as its manifest says, or bot.py.
    token_variable
        Where a bot that does not use nodekit reads its token; empty: as its manifest says.
    environment
        Variables that it gets.
    watch_s
        How long it is watched with the patch.
    """

    patch: PatchFile
    folder: Path
    entry: str = ""
    token_variable: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    watch_s: float = 10.0


class TriedError(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong with the patch and not before."""

    title: str
    count: int
    text: str
    """With its traceback, where it has one."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the copy, once it was ready."""

    ready_ms: int
    """From its start on."""
    cogs: tuple[str, ...]
    cogs_failed: tuple[str, ...]
    commands: tuple[str, ...]
    """Slash commands and menu entries on Discord."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    holds: bool
    patch: str
    folder: str
    before: Seen | None = None
    after: Seen | None = None
    errors: tuple[TriedError, ...] = ()
    problems: tuple[str, ...] = ()
    """Why it does not hold, in words."""
    notes: tuple[str, ...] = ()
    """What could not be tried here."""


Tell = Callable[[str], None]


async def try_patch(trial: Trial, tell: Tell) -> Tried:
    """Try a patch.

    Parameters
    ----------
    tell
        Told what happens, a line each.

    Raises
    ------
    FleetError
        Nothing could be said of the patch: it does not fit, or the copy does not run without it.
    """
    async with Stage(pulse_s=0.5) as stage:
        config = stage.home / "config.py"
        config.write_text(config.read_text("utf-8") + _CONFIG, "utf-8")
        return await _Rehearsal(stage, trial, tell).run()


class _Rehearsal:
    def __init__(self, stage: Stage, trial: Trial, tell: Tell) -> None:
        self._stage, self._trial, self._tell = stage, trial, tell
        self._folder = stage.home / "bots" / NAME
        self._releases = Releases(self._folder)
        self._notes = list[str]()
        self._linked = False
        """Whether its program knows nothing of nodekit."""
        self._reloads = bool(trial.patch.document.reload) and not why_restarted(trial.patch)
        self._not_loaded = list[TriedError]()

    async def run(self) -> Tried:
        release = await asyncio.to_thread(self._prepare)
        self._tell("a sandbox and a master start")
        await self._stage.start_master()
        async with self._stage.listen() as tap:
            before = await self._start_first(tap)
            self._tell(f"without the patch: {_told(before)}")
            known = {group.fingerprint for group in await self._error_groups()}
            since = len(tap.events)
            if self._reloads:
                after, problems = await self._reload(tap)
            else:
                await self._stage.act("stop", [NAME])
                await tap.wait_for("stopped", NAME)
                since = len(tap.events)
                self._releases.switch(release, begins=False)
                self._tell(f"the patch is in force, as {effect(self._trial.patch)}")
                after, problems = await self._start_patched(tap, since)
            if after is not None:
                self._tell(f"with the patch: {_told(after, 'loaded anew' if self._reloads else 'ready')}")
                self._tell(f"it is watched for {self._trial.watch_s:g} s")
                problems += await self._watch(tap, since)
            found = [*self._not_loaded, *await self._new_errors(known)]
        problems += _worse(before, after, self._trial.patch)
        return Tried(
            holds=not problems and not found,
            patch=f"{self._trial.patch.document.name} {self._trial.patch.document.version}",
            folder=str(self._trial.folder),
            before=before,
            after=after,
            errors=tuple(found),
            problems=tuple(problems),
            notes=tuple(self._notes),
        )

    def _prepare(self) -> int:
        """Copy the folder, and stage the patch in the copy; returns the number of the release. Blocks."""
        trial, document = self._trial, self._trial.patch.document
        known = manifest_of(trial.folder)
        entry = trial.entry or (known.entry if known is not None else "bot.py")
        if not entry.endswith(".py"):
            raise TryRefused(
                f"{entry} is no Python program: only discord.py bots can be tried here",
                hint="programs with a COMMAND are tried on one real node: `fleet patch deploy --canary 1`",
            )
        self._tell(f"{trial.folder} is copied, without .env")
        manifest = NodeManifest(node_id=NAME, name=NAME, licence="")
        clone_folder(trial.folder, entry, self._folder.parent, NAME, manifest)
        (self._folder / MANIFEST_NAME).unlink()
        if (self._folder / _SHELF).exists():
            remove_folder(self._folder / _SHELF)
            self._notes.append("the packages of earlier patches are not there")
        if document.requirements:
            self._notes.append(f"nothing is installed here: it needs {', '.join(document.requirements)}")
        if document.reload and not self._reloads:
            why = why_restarted(trial.patch)
            self._notes.append(f"a node loads {', '.join(document.reload)} anew; the copy was restarted: {why}")
        try:
            return self._releases.stage(document, trial.patch.contents(), patch_id=_PATCH_ID)
        except ReleaseError as error:
            raise TryRefused(f"the patch does not fit: {error.message}", hint=_fits_hint(trial)) from error

    async def _start_first(self, tap: EventTap) -> Seen:
        """Start the copy as it is; what does not run without the patch says nothing of it."""
        began = time.monotonic()
        await asyncio.to_thread(self._register)
        problem = await _until_up(tap, 0, exits=2)
        if problem:
            raise TryRefused(
                f"without the patch the copy does not become ready: {await self._with_its_error(problem, tap, 0)}",
                hint=_not_ready_hint(self._trial, linked=self._linked),
            )
        return await self._seen(began)

    def _register(self) -> None:
        trial, known = self._trial, manifest_of(self._trial.folder)
        linked = self._linked = readiness_of(self._folder, "auto") is ReadinessKind.PROCESS
        if linked and not imports_discord(self._folder):
            raise TryRefused(
                f"{trial.folder} has no program that imports discord",
                hint="only discord.py bots can be tried here; others on one node: `fleet patch deploy --canary 1`",
            )
        bot = self._stage.create_bot(NAME, privileged_intents=PRIVILEGED)
        variable = trial.token_variable or (known.token_variable if known is not None else "")
        own = next((path for name in _INTERPRETERS if (path := trial.folder.absolute() / name).exists()), None)
        params = RegisterParams(
            name=NAME,
            token=bot.token,
            folder=NAME,
            entry=trial.entry or (known.entry if known is not None else "bot.py"),
            link=linked,
            token_env=variable or DEFAULT_TOKEN_VARIABLE,
            options={} if own is None else {"INTERPRETER": str(own)},
            environment=dict(trial.environment),
        )
        self._stage.client.call("register", params, answer=Registered, timeout_s=60.0)

    async def _reload(self, tap: EventTap) -> tuple[Seen | None, list[str]]:
        began = time.monotonic()
        self._tell(f"the copy loads {', '.join(self._trial.patch.document.reload)} anew, as a node does")
        try:
            done = await reload_in_place(self._stage, tap, self._trial.patch)
        except StageError:
            return None, ["with the patch it is neither good nor bad: it says nothing"]
        if done.problem:
            self._not_loaded.append(TriedError(title=done.problem, count=1, text=done.text))
            return None, [done.problem]
        return await self._seen(began), []

    async def _start_patched(self, tap: EventTap, since: int) -> tuple[Seen | None, list[str]]:
        began = time.monotonic()
        await self._stage.act("start", [NAME])
        problem = await _until_up(tap, since, exits=1)
        if problem:
            return None, [f"with the patch it does not become ready: {await self._with_its_error(problem, tap, since)}"]
        return await self._seen(began), []

    async def _watch(self, tap: EventTap, since: int) -> list[str]:
        try:
            async with asyncio.timeout(self._trial.watch_s):
                how = await _exit(tap, since, 1)
        except (TimeoutError, StageError):
            return []  # nothing has ended it
        return [f"it ended while it was watched: {how}"]

    async def _seen(self, began: float) -> Seen:
        took_ms = int((time.monotonic() - began) * 1000)
        node = await self._stage.node(NAME)
        account = self._stage.bots[NAME].id
        found = self._stage.sandbox.commands.visible(account, self._stage.guild.id)
        files = sorted(path.stem for path in (self._folder / "cogs").glob("[!_]*.py"))
        failed = {name.split(":")[0] for name in node.cogs_failed}
        return Seen(
            ready_ms=took_ms,
            cogs=tuple(name for name in files if name not in failed),
            cogs_failed=node.cogs_failed,
            commands=tuple(sorted(str(command["name"]) for command in found)),
        )

    async def _error_groups(self) -> list[ErrorGroupView]:
        return await asyncio.to_thread(
            self._stage.client.call,
            "errors",
            ErrorsParams(node=NAME),
            answer=list[ErrorGroupView],
            timeout_s=30.0,
        )

    async def _new_errors(self, known: set[str]) -> list[TriedError]:
        found = []
        for group in await self._error_groups():
            if group.fingerprint in known:
                continue
            detail = await asyncio.to_thread(
                self._stage.client.call,
                "error_show",
                ErrorParams(group.fingerprint),
                answer=ErrorDetail,
                timeout_s=30.0,
            )
            found.append(TriedError(title=group.title, count=group.count, text=detail.text))
        return found

    async def _with_its_error(self, problem: str, tap: EventTap, since: int) -> str:
        """Add what the copy complained of to how it ended; it is read from its output a moment later."""
        with contextlib.suppress(StageError):
            await tap.wait_for("error", NAME, since=since, timeout_s=ERROR_WITHIN_S)
        groups = await self._error_groups()
        titles = [group.title for group in groups if group.kind == "exception"] or [group.title for group in groups]
        return ": ".join([problem, *titles[:1]])


async def _until_up(tap: EventTap, since: int, *, exits: int) -> str:
    """Wait until the copy has proved itself, be it without some cogs; returns why it has not, or nothing.

    Parameters
    ----------
    exits
        After so many ends it will not: with a patch one is enough, since the next start goes back to what was before.
    """
    up = asyncio.ensure_future(tap.wait_for("verified", NAME, since=since, timeout_s=READY_WITHIN_S))
    ended = asyncio.ensure_future(_exit(tap, since, exits))
    try:
        await asyncio.wait({up, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and ended.exception() is None:
            return ended.result()
        await up
    except StageError:
        return f"it is not ready after {READY_WITHIN_S:.0f} s"
    else:
        return ""
    finally:
        for waiting in (up, ended):
            waiting.cancel()
        await asyncio.gather(up, ended, return_exceptions=True)


async def _exit(tap: EventTap, since: int, number: int) -> str:
    """Wait for that many exits; returns how the last one was."""
    for _ in range(number):
        exited = await tap.wait_for("exited", NAME, since=since, timeout_s=READY_WITHIN_S)
        since = tap.events.index(exited, since) + 1
    return exited.detail


def manifest_of(folder: Path) -> NodeManifest | None:
    """Return the manifest of a node's folder; None for a folder that is no node's."""
    try:
        return read_manifest(folder)
    except ManifestError:
        return None


def imports_discord(folder: Path) -> bool:
    """Tell whether a program in a folder, or a folder in it, names discord."""
    return any(
        b"discord" in path.read_bytes()[:MAX_BUNDLE_BYTES] for path in [*folder.glob("*.py"), *folder.glob("*/*.py")]
    )


def effect(patch: PatchFile) -> str:
    """Say which files a patch changes."""
    brought, removed = len(patch.document.files), len(patch.document.removed)
    return f"a release: {brought} written, {removed} removed"


def _worse(before: Seen, after: Seen | None, patch: PatchFile) -> list[str]:
    """Return what is worse with the patch than without it."""
    if after is None:
        return []
    failed = [name for name in after.cogs_failed if name not in before.cogs_failed]
    return [f"cogs that were not loaded: {', '.join(failed)}"] if failed else []


def _told(seen: Seen, what: str = "ready") -> str:
    failed = f", {len(seen.cogs_failed)} failed" if seen.cogs_failed else ""
    cogs = f", {len(seen.cogs)} cogs{failed}" if seen.cogs or failed else ""
    return f"{what} after {seen.ready_ms} ms{cogs}, {len(seen.commands)} commands"


def _not_ready_hint(trial: Trial, *, linked: bool) -> str:
    """Say what a copy may miss that the bot has."""
    hints = []
    if (trial.folder / ".env").exists() and not trial.environment:
        hints.append("its .env is not copied: --env-file PATH gives the copy variables")
    if linked and not trial.token_variable:
        hints.append("--token-env names the variable in which it reads its token")
    return "; ".join(hints) or "mend the bot first: a patch is compared with the bot as it is"


def _fits_hint(trial: Trial) -> str:
    return f"it is made for another state of the bot: `fleet patch diff FILE --base {trial.folder}` shows where"
