"""One roll-out, driven from state to state: each is written before what it asks for is done.

:meth:`Drive.step` looks at what is on record and does the next thing, so that a master that was killed at any point
goes on with the same call: nodes under way are asked again, and one that has the patch already says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from master.errors import FleetError
from master.events import AlertButton, AlertLevel
from master.ledger.rows.records import Node, Patch, PatchNode, PatchNodeState, PatchState
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.patches.book import PatchBook
from master.services.patches.errors import PatchRefused
from master.services.patches.left_over import left_over
from master.services.patches.progress import Progress, progress_of, progress_text
from master.services.patches.showing import document_of, wave_text
from master.services.patches.statuses import PatchStatuses, has_gone_back
from master.services.patches.targets import Targets
from master.services.patches.template import PATCHED, PENDING, TemplatePatching, needs_template
from master.services.patches.verdict import Judge, Outcome, Verdict
from master.services.patches.waves import divide
from master.services.patches.ways import Way, Ways
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

AGAIN_S = 1.0
"""Between two orders to a node that did not take the first."""
LOOKED_AT_S = 10.0
"""How often a wave that is watched is judged before its time is over: what is bad goes back at once."""
ACTIVE: tuple[PatchState, ...] = ("approved", "rolling", "soaking", "asking", "rolling_back")
_UNDER_WAY = ("ordered", "received", "staged", "applied")
_HAVE_IT = ("applied", "healthy", "good")
_WELL = ("healthy", "good")
_BAD = ("failed", "rolled_back", "rollback_failed")
_MAY_HAVE_IT = (*_UNDER_WAY, "healthy", "good", "failed", "rolling_back")
RESTART = "restart"
"""What a node says with `applied` when it has to be restarted for it."""
_RESTARTING = "restarting"
Deed = Callable[[Node, PatchNode], Coroutine[Any, Any, None]]
_REASON_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveTools:
    """What roll-outs are carried out with.

    Parameters
    ----------
    ready_timeout_s
        Returns how long a node may take to be ready after a restart.
    """

    book: PatchBook
    statuses: PatchStatuses
    directory: NodeDirectory
    targets: Targets
    ways: Ways
    template: TemplatePatching
    judge: Judge
    alerts: Alerts
    clock: Clock
    ready_timeout_s: Callable[[], float]


class Drive:
    """Drive one patch.

    Parameters
    ----------
    others
        Returns the patches whose roll-outs go on beside this one.
    require_trusted
        Raises :class:`PatchRefused` where the key that signed a patch is not trusted any more.
    """

    def __init__(
        self,
        patch_id: str,
        tools: DriveTools,
        others: Callable[[], Iterable[Patch]],
        require_trusted: Callable[[Patch], Awaitable[None]],
    ) -> None:
        self.patch_id = patch_id
        self.lock = asyncio.Lock()
        """Held for each step, and by whoever steers."""
        self.woken = asyncio.Event()
        self._tools, self._book, self._clock = tools, tools.book, tools.clock
        self._others = others
        self._require_trusted = require_trusted
        self._asked: dict[str, asyncio.Task[None]] = {}
        """By node: what brings the patch to it, or takes it back."""
        self._since: dict[str, float] = {}
        """By node: monotonic seconds of its last step that this master saw."""
        self._noted: dict[str, PatchNodeState] = {}
        """By node: the state of that step. One who says the same in other words gets no more time."""
        self._trouble: dict[str, str] = {}
        """By node: why the last order did not reach it."""
        self._installing = set[str]()
        """Nodes for which packages are installed: that is not their time."""
        self._judged_at = float("-inf")
        self._soak: tuple[float, float, float] | None = None
        """When the wave began to be watched in Unix time, for how long it had been when this master looked first, and
        when that was, in monotonic seconds."""
        self._at_template = asyncio.Lock()
        self._settled = set[str]()
        """Nodes that were ready after they had gone back."""
        self._told_good = set[str]()
        self._restarted = set[str]()
        """Nodes that were restarted for what is wanted of them now."""
        self._praised_s: float | None = None
        """When the nodes of the last wave were told to call it good, in monotonic seconds."""
        self.taken_up = False
        """Whether an earlier master began it: what that did to nodes is not known here."""

    # From outside

    @property
    def patch(self) -> Patch:
        """The patch as it is now."""
        patch = self._book.get(self.patch_id)
        if patch is None:
            raise RuntimeError("a patch is held for as long as it is driven")
        return patch

    def note(self, row: PatchNode) -> None:
        """Note what a node says; where it is a step further its time begins anew."""
        if self._noted.get(row.node_id) != row.state:
            self._noted[row.node_id] = row.state
            self._since[row.node_id] = self._clock.monotonic()
        self.woken.set()

    def forget_orders(self) -> None:
        """Ask nodes again from now on: what is wanted of them is another thing."""
        self._since.clear()
        self._noted.clear()
        self._trouble.clear()
        self._restarted.clear()
        self._settled.clear()
        self._told_good.clear()
        for task in self._asked.values():
            task.cancel()
        self._asked.clear()

    def renew(self) -> None:
        """Begin the nodes' time anew: while it was paused nobody waited for them."""
        self._since.clear()
        self._judged_at = float("-inf")
        self._praised_s = None

    def ask_again(self, node_id: str) -> None:
        """Ask a node again whose process was replaced before it had taken the patch."""
        row, task = self._book.node(self.patch_id, node_id), self._asked.get(node_id)
        if row is not None and row.state in ("ordered", "received", "staged", "rolling_back"):
            if task is not None and task.done():
                del self._asked[node_id]
            self.woken.set()

    def soaked_s(self) -> float:
        """Return for how long the wave is watched; that the clock is set meanwhile makes no difference."""
        began, now_s = progress_of(self.patch).soak_began, self._clock.monotonic()
        if self._soak is None or self._soak[0] != began:
            self._soak = began, max(self._clock.now().timestamp() - began, 0.0), now_s
        _, before_s, at_s = self._soak
        return before_s + now_s - at_s

    async def end(self) -> None:
        """Stop bringing it to nodes; those that were asked go on by themselves."""
        tasks = list(self._asked.values())
        self.forget_orders()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self) -> None:
        """Drive until there is nothing more to do."""
        tending: asyncio.Task[None] | None = None
        try:
            while True:
                self.woken.clear()
                wait_s = await self.step()
                if self.patch.state not in ACTIVE and all(task.done() for task in self._asked.values()):
                    if tending is not None and tending.done():
                        await tending
                        tending = None
                    if tending is None and not needs_template(self.patch):
                        return
                    if tending is None:
                        # Beside the rest: an operator who rolls back does not wait for it.
                        tending = asyncio.create_task(self._tend_template(), name=f"template {self.patch_id}")
                        tending.add_done_callback(lambda _task: self.woken.set())
                try:
                    async with asyncio.timeout(wait_s):
                        await self.woken.wait()
                except TimeoutError:
                    pass
        finally:
            if tending is not None:
                tending.cancel()

    async def _tend_template(self) -> None:
        """Patch the template of what is done, and take back what was rolled back: nobody waits for it."""
        async with self._at_template:
            patch, template = self.patch, progress_of(self.patch).template
            if patch.state == "done" and template == PENDING:
                template = await self._tools.template.apply(patch)
            elif patch.state in ("rolled_back", "failed") and template == PATCHED:
                template = await self._tools.template.take_back(patch)
            elif patch.state in ("rolled_back", "failed") and template == PENDING:
                template = ""
            else:
                return
            # Whatever was begun meanwhile: this is what the template is.
            progress = replace(progress_of(self.patch), template=template)
            self._book.put(replace(self.patch, rollout_plan=progress_text(progress)))
            await self._book.flush()

    async def step(self) -> float | None:
        """Do what is to be done now; returns after how many seconds to look again, None: when something happens."""
        async with self.lock:
            match self.patch.state:
                case "approved":
                    return await self._begin()
                case "rolling":
                    return await self._roll()
                case "soaking" | "asking":
                    return await self._watch()
                case "rolling_back":
                    return await self._go_back()
        return AGAIN_S if self._asked else None

    # Beginning

    async def _begin(self) -> float | None:
        """Divide the nodes, once no other roll-out has one of them."""
        patch, progress = self.patch, progress_of(self.patch)
        choice = await self._tools.targets.choose(document_of(patch), progress.chosen)
        in_the_way = self._in_the_way({node.id for node in choice.nodes})
        if in_the_way:
            if patch.reason != in_the_way:
                await self._set("approved", reason=in_the_way)
            return None
        ordered = sorted(
            choice.nodes,
            key=lambda node: (self._is_taken(node.id), *self._tools.ways.busyness(node), node.name.casefold()),
        )
        waves = divide([node.id for node in ordered], progress)
        for number, wave in enumerate(waves):
            for node_id in wave:
                self._put_new(node_id, number, "waiting")
        for node, reason in choice.skipped:
            self._put_new(node.id, 0, "skipped", reason)
        if not waves:
            await self._finish("failed", reason=nobody(choice.skipped))
            return None
        # A canary that there is no node for is none.
        canary = len(waves[0]) if progress.canary else 0
        await self._set("rolling", progress=replace(progress, waves_in_all=len(waves), canary=canary), wave=0)
        return 0.0

    def _in_the_way(self, wanted: Collection[str]) -> str:
        for other in self._others():
            if other.id == self.patch_id or other.state in ("received", "approved"):
                continue
            held = [row for row in self._book.nodes(other.id) if row.node_id in wanted and row.state != "skipped"]
            if held:
                name = self._tools.directory.name_of(held[0].node_id)
                more = f" and {len(held) - 1} more" if len(held) > 1 else ""
                return f"waits for {other.name} {other.version}, which is being rolled out on {name}{more}"
        return ""

    def _put_new(self, node_id: str, wave: int, state: PatchNodeState, detail: str = "") -> None:
        if self._book.node(self.patch_id, node_id) is None:
            self._book.put_node(
                PatchNode(
                    patch_id=self.patch_id,
                    node_id=node_id,
                    wave=wave,
                    state=state,
                    changed_at=self._clock.now(),
                    detail=detail,
                )
            )

    # Rolling

    async def _roll(self) -> float | None:
        patch, progress = self.patch, progress_of(self.patch)
        self._give_up_silent(progress)
        rows = self._book.nodes(patch.id)
        bad = self._bad_of(rows, progress)
        if bad:
            await self._turn_back(bad)
            return 0.0
        waiting = [row for row in rows if row.wave <= patch.wave and row.state == "waiting"]
        under_way = [row for row in rows if row.state in _UNDER_WAY]
        giving = [row for row in waiting if self._is_asked(row.node_id)]
        for row in under_way:
            if row.state == "applied" and row.detail == RESTART:
                self._restart(row)
            elif row.state != "applied" or row.detail != _RESTARTING or row.node_id not in self._restarted:
                # A master that was killed may have written that it restarts a node, and not have done it.
                self._ask(row.node_id, self._give)
        room = progress.at_once - len(under_way) - len(giving)
        given = [row for row in waiting if not self._is_asked(row.node_id)][: max(0, room)]
        if given:
            try:
                await self._require_trusted(patch)
            except PatchRefused as error:
                await self._stop_untrusted(error.message)
                return AGAIN_S
        for row in given:
            self._ask(row.node_id, self._give)
        self._take_back_alone(rows)
        if waiting or under_way or any(row.state == "rolling_back" for row in rows):
            return AGAIN_S
        soak = replace(progress, soak_began=self._clock.now().timestamp(), soak_for_s=progress.soak_s)
        # From here on, and not from the first look: the clock may be set in between.
        self._soak = soak.soak_began, 0.0, self._clock.monotonic()
        await self._set("soaking", progress=soak)
        self._judged_at = float("-inf")
        return 0.0

    async def _stop_untrusted(self, why: str) -> None:
        """Order no further node to take a patch whose key was revoked; what has it, an operator has to judge."""
        await self._set("paused", progress=replace(progress_of(self.patch), paused_in="rolling"), reason=why)
        label = _label(self.patch)
        self._tools.alerts.raise_alert(
            AlertLevel.ERROR,
            f"The roll-out of {label} is paused: its key was revoked",
            key=f"patch:{self.patch_id}:revoked",
            text=f"{why}\nNo further node gets it, and those that have it keep it: `fleet patch rollback {label!r}` "
            "takes it back.",
            buttons=(AlertButton(label="Roll back", custom_id=f"patch:rollback:{self.patch_id}", style="danger"),),
        )

    def _is_asked(self, node_id: str) -> bool:
        task = self._asked.get(node_id)
        return task is not None and not task.done()

    def _ask(self, node_id: str, deed: Deed) -> None:
        """Have a node asked once; until it is on with it, again and again."""
        if node_id not in self._asked:
            self._since.setdefault(node_id, self._clock.monotonic())
            self._asked[node_id] = asyncio.create_task(
                self._until_it_goes_on(node_id, deed), name=f"patch {self.patch_id} {node_id}"
            )

    async def _until_it_goes_on(self, node_id: str, deed: Deed) -> None:
        while True:
            node, row = self._tools.directory.get(node_id), self._book.node(self.patch_id, node_id)
            if row is None:
                return
            if node is None:
                self._book.put_node(self._moved(row, "skipped", "it was removed"))
                return
            try:
                await deed(node, row)
                return
            except FleetError as error:
                log.info("a patch did not reach a node", extra={"node": node.name, "why": error.message})
                self._trouble[node_id] = error.message
            except Exception as error:
                log.exception("a patch could not be brought to a node", extra={"node": node.name})
                self._trouble[node_id] = f"{type(error).__name__}: {error}"
            finally:
                self.woken.set()
            now = self._book.node(self.patch_id, node_id)
            if now is None or now.state not in ("waiting", "ordered", "healthy", "rolling_back"):
                return
            await asyncio.sleep(AGAIN_S)

    def _is_taken(self, node_id: str) -> bool:
        """Tell whether a node has another patch on trial, or is still to get one: they come one after the other."""
        return bool(self._book.unfinished_on(node_id, besides=self.patch_id))

    async def _give(self, node: Node, row: PatchNode) -> None:
        """Have a node take the patch: what it was before is on record first."""
        patch = self.patch
        if row.state == "waiting":
            if patch.state != "rolling":
                self._asked.pop(node.id, None)
                return
            if self._tools.ways.way_of(node) is Way.LATER:
                self._book.put_node(self._moved(row, "absent", "it does not run, and gets it before it starts"))
                await self._book.flush()
                if progress_of(patch).urgent:
                    self._tools.ways.release(node)
                return
            if self._is_taken(node.id):
                self._book.put_node(self._moved(row, "absent", "it gets it once the patch before is good on it"))
                await self._book.flush()
                return
            baseline = await self._tools.judge.baseline(node.id)
            row = replace(self._moved(row, "ordered"), baseline=baseline)
            self._book.put_node(row)
            self.note(row)
            await self._book.flush()
        if document_of(patch).requirements and self._tools.ways.way_of(node) is not Way.LATER:
            await self._install(node)
        await self._tools.ways.give(node, self.patch, row, self._told)

    async def _install(self, node: Node) -> None:
        """Install what the patch requires. It takes minutes, for one node after the other, in which none is silent."""
        self._installing.add(node.id)
        self._detail_of(node.id, f"installs {', '.join(document_of(self.patch).requirements)}")
        try:
            await self._tools.ways.provide(node, self.patch)
        finally:
            self._installing.discard(node.id)
            self._detail_of(node.id, "")
        await self._book.flush()
        self._since[node.id] = self._clock.monotonic()

    def _detail_of(self, node_id: str, detail: str) -> None:
        """Say what a node that was ordered waits for."""
        row = self._book.node(self.patch_id, node_id)
        if row is not None and row.state == "ordered":
            self._book.put_node(replace(row, detail=detail[:_REASON_CHARACTERS]))

    def _restart(self, row: PatchNode) -> None:
        """Restart a node that has the patch in force, and says that it needs that."""
        node = self._tools.directory.get(row.node_id)
        if node is None:
            return
        self._book.put_node(replace(row, detail=_RESTARTING))
        if row.node_id in self._restarted:
            return  # It said so twice.
        self._restarted.add(row.node_id)
        previous = self._asked.pop(row.node_id, None)
        if previous is not None and previous is not asyncio.current_task():
            previous.cancel()

        async def restart(node: Node, _row: PatchNode) -> None:
            await self._book.flush()
            await self._tools.ways.restart(node)

        self._since[row.node_id] = self._clock.monotonic()
        self._ask(row.node_id, restart)

    def restart_back(self, row: PatchNode, detail: str, release: int | None) -> bool:
        """Restart a node that went back, if it needs that: its process has the code of the patch."""
        wanted = detail == RESTART or (self.taken_up and progress_of(self.patch).restarts)
        if not wanted or row.node_id in self._restarted:
            return wanted and not self._is_settled(row.node_id)
        self._restarted.add(row.node_id)
        self._asked.pop(row.node_id, None)

        async def restart(node: Node, row: PatchNode) -> None:
            await self._tools.ways.restart_until_ready(node)
            self._settled.add(node.id)
            self._told(row, "rolled_back", "", release)

        self.note(row)
        self._ask(row.node_id, restart)
        return True

    def _is_settled(self, node_id: str) -> bool:
        return node_id in self._settled

    def _told(self, row: PatchNode, state: PatchNodeState, detail: str, release: int | None) -> None:
        """Take what is told in the name of a node that says nothing itself."""
        now = self._book.node(row.patch_id, row.node_id)
        if now is None:
            return
        if state == "absent":
            self._book.put_node(self._moved(now, "absent", detail))
            self.woken.set()
        else:
            self._tools.statuses.move(now, state, detail, release=release)

    def _give_up_silent(self, progress: Progress) -> None:
        """Take nodes that say nothing for failed ones."""
        now_s = self._clock.monotonic()
        for row in self._book.nodes(self.patch_id):
            if row.state not in (*_UNDER_WAY, "rolling_back") or row.node_id in self._installing:
                continue
            patience_s = progress.answer_within_s
            if row.state in ("applied", "rolling_back") or self._trouble.get(row.node_id):
                patience_s += self._tools.ready_timeout_s() if row.state != "ordered" else 0.0
            if now_s - self._since.setdefault(row.node_id, now_s) < patience_s:
                continue
            why = self._trouble.get(row.node_id) or f"it said nothing for {patience_s:g} s, when it was {row.state}"
            back = row.state == "rolling_back"
            failed = self._moved(row, "rollback_failed" if back else "failed", why)
            self._book.put_node(failed if back else replace(failed, release_after=None))
            task = self._asked.pop(row.node_id, None)
            if task is not None:
                task.cancel()

    def _bad_of(self, rows: list[PatchNode], progress: Progress) -> Verdict | None:
        """Return why nodes that failed make the patch a bad one; None while they do not."""
        failed = [row for row in rows if row.state in _BAD or (row.state == "rolling_back" and row.detail)]
        if not failed:
            return None
        wave = [row for row in rows if row.wave == self.patch.wave]
        none_is_well = all(row.state in (*_BAD, "rolling_back", "skipped", "absent") for row in wave)
        if len(failed) <= progress.most_failed and not none_is_well:
            return None
        name = self._tools.directory.name_of(failed[0].node_id)
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        told = failed[0].detail.strip()
        reason = f"it failed on {name}{more}: {told.rpartition(chr(10))[2] or 'no reason given'}"
        return Verdict(outcome=Outcome.BAD, reason=reason, traceback=told if "\n" in told else "")

    def _take_back_alone(self, rows: list[PatchNode]) -> None:
        """Have nodes go back that failed, where the roll-out goes on without them."""
        for row in rows:
            if row.state == "failed" and not has_gone_back(row):
                self._since.pop(row.node_id, None)
                self._asked.pop(row.node_id, None)
                self._book.put_node(self._moved(row, "rolling_back", row.detail))
                self._ask(row.node_id, self._take_back)

    def _moved(self, row: PatchNode, state: PatchNodeState, detail: str = "") -> PatchNode:
        return replace(row, state=state, detail=detail, changed_at=self._clock.now())

    # Watching

    async def _watch(self) -> float | None:
        """Judge a wave: at its time, and now and then before."""
        patch, progress = self.patch, progress_of(self.patch)
        rows = self._book.nodes(patch.id)
        bad = self._bad_of(rows, progress)
        if bad:
            await self._turn_back(bad)
            return 0.0
        self._give_up_silent(progress)
        self._take_back_alone(rows)
        soaked_s = self.soaked_s()
        left_s = progress.soak_for_s - soaked_s
        now_s = self._clock.monotonic()
        if left_s > 0 and now_s - self._judged_at < LOOKED_AT_S:
            return min(left_s, LOOKED_AT_S)
        self._judged_at = now_s
        baselines = {row.node_id: row.baseline for row in rows if row.state in _HAVE_IT}
        verdict = (
            await self._tools.judge.judge(patch, progress, baselines, soaked_s)
            if baselines
            else Verdict(outcome=Outcome.GOOD)
        )
        if verdict.outcome is Outcome.BAD:
            await self._turn_back(verdict)
            return 0.0
        if left_s > 0 or patch.state == "asking":
            return min(left_s, LOOKED_AT_S) if left_s > 0 else LOOKED_AT_S
        # Without a soak nobody wants to wait for what may happen: that they are healthy is enough.
        if verdict.outcome is Outcome.GOOD or progress.soak_s == 0:
            if patch.wave + 1 >= progress.waves_in_all and self._waits_for_good(rows, progress):
                return AGAIN_S
            await self.next_wave()
            return 0.0
        await self._soak_longer(progress, soaked_s, verdict)
        return 0.0

    def _waits_for_good(self, rows: list[PatchNode], progress: Progress) -> bool:
        """Tell whether nodes still have to call it good: what is not good is rolled back with their next start."""
        self._praise()
        now_s = self._clock.monotonic()
        if self._praised_s is None:
            self._praised_s = now_s
        if now_s - self._praised_s > progress.answer_within_s:
            return False
        self._judged_at = float("-inf")
        healthy = (self._tools.directory.get(row.node_id) for row in rows if row.state == "healthy")
        return any(node is not None and self._tools.ways.way_of(node) is not Way.LATER for node in healthy)

    async def _soak_longer(self, progress: Progress, soaked_s: float, verdict: Verdict) -> None:
        """Watch longer, twice as long each time, and then ask."""
        if soaked_s < progress.most_soak_s:
            longer = replace(progress, soak_for_s=min(2 * max(progress.soak_for_s, 1.0), progress.most_soak_s))
            await self._set("soaking", progress=longer, reason=verdict.reason)
            return
        await self._set("asking", reason=verdict.reason or "nothing happened that says whether it is good")
        patch = self.patch
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"Is {_label(patch)} good? Nothing happened that would say so",
            key=f"patch:{patch.id}:asking",
            text=f"{patch.reason}\nIt is on the {wave_text(patch, progress)}, and goes no further by itself: "
            f"`fleet patch resume {_label(patch)!r}` or `fleet patch rollback {_label(patch)!r}`",
            buttons=(
                AlertButton(label="Go on", custom_id=f"patch:resume:{patch.id}", style="primary"),
                AlertButton(label="Roll back", custom_id=f"patch:rollback:{patch.id}", style="danger"),
            ),
        )

    async def next_wave(self) -> None:
        """Go on after a wave that is good: with the next, or to the end."""
        patch, progress = self.patch, progress_of(self.patch)
        self._praise()
        if patch.wave + 1 < progress.waves_in_all:
            await self._set("rolling", wave=patch.wave + 1)
            return
        # Clones of the template that was, and nodes that were registered meanwhile.
        known = {row.node_id for row in self._book.nodes(patch.id)}
        late = await self._tools.targets.choose(document_of(patch), progress.chosen, besides=known)
        if late.nodes:
            for node in late.nodes:
                self._put_new(node.id, patch.wave, "waiting")
            await self._set("rolling", wave=patch.wave)
            return
        progress = replace(progress, template=progress.template or PENDING)
        left = left_over(self._book.nodes(patch.id), self._tools.directory.name_of)
        await self._finish("done", progress=progress, reason=left)

    def _praise(self) -> None:
        """Have the nodes of the waves until now call it good."""
        for row in self._book.nodes(self.patch_id):
            if row.state == "healthy" and row.node_id not in self._told_good:
                self._told_good.add(row.node_id)
                self._asked.pop(row.node_id, None)
                self._ask(row.node_id, self._mark_good)

    async def _mark_good(self, node: Node, row: PatchNode) -> None:
        await self._tools.ways.mark_good(node, self.patch, row, self._told)

    # Going back

    async def _turn_back(self, verdict: Verdict) -> None:
        """Begin to roll back what is bad."""
        for row in self._book.nodes(self.patch_id):
            if row.node_id in verdict.bad_nodes and row.state in _HAVE_IT:
                text = verdict.traceback or verdict.reason
                self._book.put_node(replace(self._moved(row, "failed", text), release_after=None))
        await self.turn_back(verdict.reason, by_operator=False)
        patch = self.patch
        with_it = [row for row in self._book.nodes(patch.id) if row.state in _MAY_HAVE_IT and not has_gone_back(row)]
        self._tools.alerts.raise_alert(
            AlertLevel.ERROR,
            f"{_label(patch)} is bad, and is rolled back",
            key=f"patch:{patch.id}:bad",
            text=f"{patch.reason}\n{len(with_it)} nodes go back; it is quarantined: no node gets it any more.",
            quote=verdict.traceback[-1_500:],
        )

    async def turn_back(self, reason: str, *, by_operator: bool, actor: str = "") -> None:
        """Begin to roll back."""
        self.forget_orders()
        for row in self._book.nodes(self.patch_id):
            if row.state in ("waiting", "absent"):
                self._book.put_node(self._moved(row, "skipped", "the patch was rolled back before it got it"))
        progress = replace(progress_of(self.patch), goes_back=True, by_operator=by_operator, paused_in=None)
        await self._set("rolling_back", progress=progress, reason=reason, actor=actor)

    async def _go_back(self) -> float | None:
        progress = progress_of(self.patch)
        self._give_up_silent(progress)
        rows = [row for row in self._book.nodes(self.patch_id) if not has_gone_back(row)]
        under_way = [row for row in rows if row.state == "rolling_back"]
        left = [row for row in rows if row.state in _MAY_HAVE_IT and row.state != "rolling_back"]
        for row in under_way:
            self._ask(row.node_id, self._take_back)
        width = max(progress.at_once, progress.back_at_once) if progress.by_operator else progress.back_at_once
        for row in left[: max(0, width - len(under_way))]:
            self._since.pop(row.node_id, None)
            self._asked.pop(row.node_id, None)
            self._book.put_node(self._moved(row, "rolling_back", row.detail if row.state == "failed" else ""))
            self._ask(row.node_id, self._take_back)
        if left or under_way:
            return AGAIN_S
        stuck = [row for row in rows if row.state == "rollback_failed"]
        if not stuck:
            await self._finish("rolled_back", progress=progress)
            return None
        names = ", ".join(self._tools.directory.name_of(row.node_id) for row in stuck[:5])
        await self._finish("failed", progress=progress, reason=f"could not go back: {names}; {self.patch.reason}")
        self._tools.alerts.raise_alert(
            AlertLevel.ERROR,
            f"{_label(self.patch)} could not be rolled back on {names}",
            key=f"patch:{self.patch_id}:stuck",
            text=f"{stuck[0].detail.strip().rpartition(chr(10))[2]}\n"
            f"`fleet patch retry {_label(self.patch)!r}` tries it again.",
        )
        return None

    async def _take_back(self, node: Node, row: PatchNode) -> None:
        await self._book.flush()
        await self._tools.ways.take_back(node, self.patch, row, self._told)

    # Writing

    async def _finish(self, state: PatchState, *, progress: Progress | None = None, reason: str | None = None) -> None:
        await self._set(state, progress=progress, reason=reason, is_end=True)

    async def _set(
        self,
        state: PatchState,
        *,
        progress: Progress | None = None,
        wave: int | None = None,
        reason: str | None = None,
        actor: str = "",
        is_end: bool = False,
    ) -> None:
        """Put a state on record; returns once it is. The reason of a state is not that of the next."""
        patch = self.patch
        keeps = patch.reason if state in ("rolling_back", "rolled_back", "failed") else ""
        self._book.put(
            replace(
                patch,
                state=state,
                rollout_plan=patch.rollout_plan if progress is None else progress_text(progress),
                wave=patch.wave if wave is None else wave,
                changed_at=self._clock.now(),
                changed_by=actor or "system:master",
                reason=(keeps if reason is None else reason)[:_REASON_CHARACTERS],
                finished_at=self._clock.now() if is_end else None,
            ),
            actor=actor or "system:master",
        )
        await self._book.flush()


def _label(patch: Patch) -> str:
    return f"{patch.name} {patch.version}"


def nobody(skipped: tuple[tuple[Node, str], ...]) -> str:
    """Return why no node gets a patch."""
    if not skipped:
        return "no node is of a kind that it is for"
    node, reason = skipped[0]
    more = f"; so it is with {len(skipped) - 1} more" if len(skipped) > 1 else ""
    return f"no node gets it: {node.name}: {reason}{more}"
