"""Patches of the running node: staged, tried, put in force, called good or taken back. Imported with the first one.

The master orders, the node answers with signed statuses; what is in force is on disk (:mod:`nodekit.releases`), so
that a node that dies at any point is wholly old or wholly new, and its successor says which.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import discord

from handshake.errors import HandshakeError
from handshake.files import read_regular
from handshake.messages import Heartbeat, Order, OrderResult, PatchOrder, PatchStatus
from handshake.patch_bundle import MAX_BUNDLE_BYTES, read_document, read_files, unpack
from handshake.patch_document import SUFFIX, PatchDocument
from nodekit.link import NodeLink
from nodekit.patch_checking import Check
from nodekit.patch_memory import PatchMemory, Remembered
from nodekit.patch_reactions import Reactions
from nodekit.patch_reloading import ReloadFailed, Reloading, modules_to_try
from nodekit.patch_trial import try_imports
from nodekit.releases import Outcome, Release, ReleaseError, Releases, ReleaseState, Settled
from nodekit.status_telling import StatusTelling

log = logging.getLogger("node")

BUNDLES_VARIABLE = "FLEET_PATCHES"
"""The folder of bundles; the node may read it."""
PACKAGES_VARIABLE = "FLEET_PATCH_PACKAGES"
"""The folder of packages that were installed for this node, each in a folder of its own."""
RELOAD_WITHIN_S = 30.0
RESTART = "restart"
"""The detail of a status after which the master restarts the node."""

Status: TypeAlias = Literal[
    "received", "staged", "applied", "healthy", "good", "failed", "rolled_back", "rollback_failed"
]


class PatchFailed(Exception):
    """A patch was not put in force; the text says why."""


class RollbackFailed(Exception):
    """The node could not go back; the text says why."""


class Patching:
    """What one node does about patches, one at a time.

    Parameters
    ----------
    folder
        The node's folder.
    token_variable
        In which a linked program expects its token.
    """

    def __init__(self, client: discord.Client, link: NodeLink, folder: Path, *, token_variable: str = "") -> None:
        self._client = client
        self._link = link
        self._folder = Path(os.path.realpath(folder))
        self._token_variable = token_variable
        self._releases = Releases(self._folder)
        self._memory = PatchMemory(self._folder)
        self._telling = StatusTelling(link)
        self._reactions = Reactions(client)
        self._task: asyncio.Task[None] | None = None
        self._working_on: tuple[str, str] | None = None
        self._goodness: asyncio.TimerHandle | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._owed: tuple[str, Reloading] | None = None
        """Of a patch whose files went back and whose cogs did not: what has to be loaded again."""

    # Orders

    def take(self, order: Order) -> OrderResult:
        """Begin to carry out an order, and return at once: how it goes is told by statuses."""
        patch = order.patch
        if patch is None:
            return OrderResult(order_id=order.id, done=False, detail="the order names no patch")
        if order.kind == "patch_posted":
            return self._take_message(order.id, patch)
        wanted = (order.kind, patch.patch_id)
        if self._task is not None and not self._task.done():
            if wanted == self._working_on:
                return OrderResult(order_id=order.id, done=True, detail="under way already")
            return OrderResult(order_id=order.id, done=False, detail="another patch is under way")
        self._working_on = wanted
        work = {"patch": self._apply, "patch_good": self._call_good, "patch_back": self._go_back}[order.kind]
        self._task = asyncio.get_running_loop().create_task(self._carry_out(work, patch), name=f"{order.kind} order")
        return OrderResult(order_id=order.id, done=True, detail="begun")

    def _take_message(self, order_id: str, patch: PatchOrder) -> OrderResult:
        """Show on the message of a patch how it went so far: the patch was ordered before it was posted."""
        remembered = self._memory.recall_of(patch.patch_id)
        if remembered is not None:
            # For the process after this one.
            self._memory.remember_order(patch)
        self._reactions.posted(patch)
        return OrderResult(order_id=order_id, done=True, detail="noted")

    async def _carry_out(self, work: Callable[[PatchOrder], Awaitable[None]], patch: PatchOrder) -> None:
        log.info("patch %s: %s", patch.patch_id, work.__name__.strip("_").replace("_", " "))
        failed: Status = "rollback_failed" if work == self._go_back else "failed"
        try:
            await work(patch)
        except RollbackFailed as error:
            await self._tell_failure(patch, "rollback_failed", str(error))
        except (PatchFailed, ReleaseError, HandshakeError, OSError) as error:
            await self._tell_failure(patch, failed, str(error) or type(error).__name__)
        except Exception:
            # Of the patch's code, or a bug of ours: the master has to know either way.
            await self._tell_failure(patch, failed, traceback.format_exc())

    async def _tell_failure(self, patch: PatchOrder, status: Status, detail: str) -> None:
        log.error("patch %s: %s: %s", patch.patch_id, status, detail)
        self._tell(patch, status, detail, release=await asyncio.to_thread(self._number_in_force))

    def _tell(self, patch: PatchOrder, status: Status, detail: str = "", *, release: int) -> None:
        self._telling.tell(PatchStatus(patch_id=patch.patch_id, status=status, detail=detail, release=release))
        self._reactions.show(patch, status)

    # Forward

    async def _apply(self, patch: PatchOrder) -> None:
        current = await asyncio.to_thread(self._in_force)
        if current.patch_id == patch.patch_id:
            self._tell_again(patch, current)
            return
        self._tell(patch, "received", release=current.number)
        document, files = await asyncio.to_thread(_read_bundle, patch.sha256)
        packages = _packages_of(document.requirements)
        number = await asyncio.to_thread(
            lambda: self._releases.stage(document, files, patch_id=patch.patch_id, packages=packages)
        )
        self._tell(patch, "staged", release=current.number)
        paths = [*files, *(file.path for file in document.removed)]
        reloading = Reloading(self._client, self._folder, document.reload, paths)
        if not document.restarts and (missing := reloading.missing()):
            raise PatchFailed(f"there is no cog {', '.join(missing)} to load anew: name it as its file is named")
        await self._try_imports(document, files, packages, reloading)
        ordered = self._reactions.with_message(patch)
        self._memory.remember(Remembered(order=ordered, reload=document.reload, failed_before=self._failed_cogs()))
        await asyncio.to_thread(self._releases.switch, number)
        sys.path += [path for path in packages if path not in sys.path]
        if document.restarts:
            self._tell(patch, "applied", RESTART, release=number)
            return
        await self._reload(patch, reloading)
        self._tell(patch, "applied", f"loaded anew: {', '.join(reloading.extensions)}", release=number)
        self._await_health(patch, number, paths)

    async def _try_imports(
        self, document: PatchDocument, files: dict[str, bytes], packages: list[str], reloading: Reloading
    ) -> None:
        check = Check(
            folder=str(self._folder),
            files=files,
            removed=[file.path for file in document.removed],
            modules=modules_to_try(self._client, self._folder, reloading, files),
            packages=packages,
        )
        problem = await try_imports(check, token_variable=self._token_variable)
        if problem:
            raise PatchFailed(problem)

    async def _reload(self, patch: PatchOrder, reloading: Reloading) -> None:
        """Load the cogs of a release that was put in force; where one fails, the node goes back.

        Raises
        ------
        PatchFailed, RollbackFailed
        """
        try:
            async with asyncio.timeout(RELOAD_WITHIN_S):
                await reloading.run()
            return
        except ReloadFailed as error:
            problem = str(error)
        except TimeoutError:
            problem = f"its cogs were not loaded within {RELOAD_WITHIN_S:g} s"
        try:
            await asyncio.to_thread(self._releases.back)
            self._owed = (patch.patch_id, reloading)
            async with asyncio.timeout(RELOAD_WITHIN_S):
                await reloading.undo()
        except (ReleaseError, ReloadFailed, TimeoutError) as error:
            reason = str(error) or "it took too long"
            raise RollbackFailed(f"{problem}\nAnd the code of before could not be loaded again: {reason}") from error
        self._owed = None
        raise PatchFailed(problem)

    def _tell_again(self, patch: PatchOrder, current: Release) -> None:
        """Tell a master that asks again, since it was restarted, how the patch stands that it wants."""
        self._memory.remember_order(patch)
        if current.state is ReleaseState.GOOD:
            self._tell(patch, "good", release=current.number)
        elif not current.began:
            self._tell(patch, "applied", RESTART, release=current.number)
        else:
            self._tell(patch, "applied", release=current.number)
            self._await_health(patch, current.number, current.files)

    # Health

    def _await_health(self, patch: PatchOrder, number: int, paths: Sequence[str]) -> None:
        """Tell that the node is healthy with the first pulse that says so, which is sent at once."""
        remembered = self._memory.recall_of(patch.patch_id)

        def blamed(cogs_failed: tuple[str, ...]) -> set[str]:
            if remembered is not None:
                return set(cogs_failed) - set(remembered.failed_before)
            # It was patched while it did not run: nobody knows what had failed before.
            return {name for name in cogs_failed if f"cogs/{name}.py" in paths}

        def look(pulse: Heartbeat) -> None:
            if pulse.offline_s is None and not blamed(pulse.cogs_failed):
                self._link.on_pulse = None
                self._tell(patch, "healthy", release=number)
                self._call_good_after(patch)

        self._link.on_pulse = look
        self._link.pulse_soon()

    def _call_good_after(self, patch: PatchOrder) -> None:
        if not patch.good_after_s:
            return

        def begin() -> None:
            if self._task is not None and not self._task.done():
                return  # An order came, which says what becomes of it.
            self._finishing = asyncio.get_running_loop().create_task(
                self._carry_out(self._call_good, patch), name="patch is good"
            )

        self._stop_timer()
        self._goodness = asyncio.get_running_loop().call_later(patch.good_after_s, begin)

    def _stop_timer(self) -> None:
        if self._goodness is not None:
            self._goodness.cancel()
            self._goodness = None

    async def _call_good(self, patch: PatchOrder) -> None:
        self._stop_timer()
        current = await asyncio.to_thread(self._in_force)
        if current.patch_id != patch.patch_id:
            raise PatchFailed("it is not in force on this node")
        if not current.began:
            raise PatchFailed("it is not in force yet: the node has to restart for it")
        await asyncio.to_thread(self._releases.mark_good)
        self._tell(patch, "good", release=current.number)

    # Back

    async def _go_back(self, patch: PatchOrder) -> None:
        self._stop_timer()
        self._link.on_pulse = None
        current = await asyncio.to_thread(self._in_force)
        if current.patch_id == patch.patch_id:
            remembered = self._memory.recall_of(patch.patch_id)
            before = await asyncio.to_thread(self._releases.back)
            if remembered is None or not remembered.reload:
                self._tell(patch, "rolled_back", RESTART, release=before)
                return
            reloading = Reloading(self._client, self._folder, remembered.reload, current.files)
            self._owed = (patch.patch_id, reloading)
        elif self._owed is not None and self._owed[0] == patch.patch_id:
            before, reloading = current.number, self._owed[1]
        elif await asyncio.to_thread(self._is_below, current, patch.patch_id):
            raise RollbackFailed(f"{current.name} {current.version} was put on top of it: that one goes back first")
        else:
            self._tell(patch, "rolled_back", "it is not in force on this node", release=current.number)
            return
        try:
            async with asyncio.timeout(RELOAD_WITHIN_S):
                await reloading.run()
        except (ReloadFailed, TimeoutError) as error:
            raise RollbackFailed(str(error) or f"its cogs were not loaded within {RELOAD_WITHIN_S:g} s") from error
        self._owed = None
        self._tell(patch, "rolled_back", f"loaded anew: {', '.join(reloading.extensions)}", release=before)
        self._link.pulse_soon()

    # After a start

    def take_settled(self, settled: Settled | str) -> None:
        """Tell what was found before this process ran its program; ends what the process before it had begun."""
        remembered = self._memory.recall()
        if isinstance(settled, str):
            self._tell(remembered.order, "rollback_failed", settled, release=0)
            return
        left = self._order_of(settled.left_patch_id, remembered)
        if settled.outcome is Outcome.BEGAN:
            patch = self._order_of(settled.patch_id, remembered)
            self._tell(patch, "applied", release=settled.current)
            self._await_health(patch, settled.current, self._releases.changed_paths(settled.current))
        elif settled.outcome is Outcome.ROLLED_BACK:
            edited = f"; edited since, and kept aside: {', '.join(settled.edited)}" if settled.edited else ""
            why = "the process ended before the release was good" + edited
            self._tell(left, "rolled_back", why, release=settled.current)
        elif settled.outcome is Outcome.UNDONE:
            why = "the process ended while the release was put in force: everything is as it was"
            self._tell(left, "failed", why, release=settled.current)

    @staticmethod
    def _order_of(patch_id: str, remembered: Remembered) -> PatchOrder:
        return remembered.order if remembered.order.patch_id == patch_id else PatchOrder(patch_id=patch_id)

    def end(self) -> None:
        """Begin nothing more; what a thread is doing to the folder comes to its end."""
        self._stop_timer()
        for task in (self._task, self._finishing):
            if task is not None:
                task.cancel()
        self._telling.end()
        self._reactions.end()

    # Looking

    def _failed_cogs(self) -> tuple[str, ...]:
        return tuple([*getattr(self._client, "failed_cogs", ()), *getattr(self._client, "disabled_cogs", ())])

    def _in_force(self) -> Release:
        return next(release for release in self._releases.list() if release.in_force)

    def _is_below(self, release: Release, patch_id: str) -> bool:
        """Tell whether a release was made on one that has a patch."""
        found = {one.number: one for one in self._releases.list()}
        while (parent := found.get(release.parent)) is not None and parent.number:
            if parent.patch_id == patch_id:
                return True
            release = parent
        return False

    def _number_in_force(self) -> int:
        try:
            return self._releases.current()
        except ReleaseError:
            return 0


def _read_bundle(sha256: str) -> tuple[PatchDocument, dict[str, bytes]]:
    """Read a bundle whose signature the master has verified: only its digest is compared. Blocks.

    Raises
    ------
    PatchFailed, BundleError
    """
    folder = os.environ.get(BUNDLES_VARIABLE)
    if not folder or not sha256:
        raise PatchFailed("this process knows no folder of bundles: restart the node, and it does")
    try:
        content = read_regular(Path(folder, f"{sha256}{SUFFIX}"), MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise PatchFailed(f"the bundle cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PatchFailed("the bundle is not the one that was ordered")
    raw = unpack(content)
    document = read_document(raw.document)
    return document, read_files(document, raw.archive)


def _packages_of(requirements: tuple[str, ...]) -> list[str]:
    """Return the folders of the packages that a patch requires, but for what the libraries have in this version.

    Raises
    ------
    PatchFailed
        The master has not installed one.
    """
    root, found = os.environ.get(PACKAGES_VARIABLE, ""), []
    for requirement in requirements:
        name, _, version = requirement.partition("==")
        folder = Path(root, requirement)
        if root and "/" not in requirement and folder.is_dir():
            found.append(str(folder))
            continue
        # Few patches need it, and it brings the whole of email.
        from importlib import metadata

        try:
            there = metadata.version(name.strip())
        except (metadata.PackageNotFoundError, ValueError):
            there = ""
        if there != version.strip():
            raise PatchFailed(f"{requirement} is not installed for this node")
    return found
