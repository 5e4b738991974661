"""What is shown of the channels: how they are, what differs, what would be done."""

from __future__ import annotations

from collections.abc import Callable

from master.configuration.settings import Settings
from master.services.channels.culprits import Culprits
from master.services.channels.drift import Drift, Step, plan
from master.services.channels.obstacles import obstacle
from master.services.channels.repairing import state_of
from master.services.channels.survey import Survey, Surveyor
from master.services.channels.tools import ChannelTools
from master.services.channels.tree import Wanted
from master.services.channels.wording import in_words
from master.services.core.channel_moves import named_channels
from master.services.core.channel_views import CapturedTree, ChannelRow, ChannelsView, DriftRow


class ChannelShowing:
    """Show channels.

    Parameters
    ----------
    written
        Returns the settings as config.py has them.
    """

    def __init__(
        self, tools: ChannelTools, surveyor: Surveyor, culprits: Culprits, written: Callable[[], Settings]
    ) -> None:
        self._tools, self._surveyor, self._culprits, self._written = tools, surveyor, culprits, written

    async def listing(self) -> ChannelsView:
        """Return all channels that are wanted.

        Raises
        ------
        NoServer, DiscordPortError, LedgerError
        """
        survey = await self._surveyor.look()
        drifts: dict[str, list[Drift]] = {}
        for drift in survey.drifts:
            drifts.setdefault(drift.key, []).append(drift)
        old = self._old_ids()
        shown = [self._row(one, survey, drifts.get(one.key, []), old) for one in survey.wanted.values()]
        shown += [
            ChannelRow(
                key=key,
                name="?",
                kind="?",
                state="unknown",
                channel_id=channel_id,
                detail="it is not there, and nothing is known of it: put the right id into config.py",
            )
            for key, channel_id in survey.unknown.items()
        ]
        return ChannelsView(
            mode=self._tools.settings().selffix.mode, channels=tuple(shown), troubles=tuple(survey.troubles)
        )

    def _old_ids(self) -> dict[int, int]:
        """Return the ids of config.py that are no longer right, by those that are."""
        current = self._tools.moves.current
        ids = named_channels(self._written()).values()
        return {current(one): one for one in ids if current(one) != one}

    def _row(self, one: Wanted, survey: Survey, drifts: list[Drift], old: dict[int, int]) -> ChannelRow:
        channel = survey.found.get(one.channel_id)
        parent = None if channel is None or channel.parent_id is None else survey.found.get(channel.parent_id)
        states = [state_of(drift, survey) for drift in drifts]
        state = "ok"
        if drifts:
            gone = any(drift.kind == "gone" for drift in drifts)
            state = next((word for word in ("failed", "asked") if word in states), "gone" if gone else "drift")
            state = "left" if set(states) == {"left"} else state
        return ChannelRow(
            key=one.key,
            name=one.name if channel is None else channel.name,
            kind=one.kind.value,
            state=state,
            channel_id=one.channel_id,
            category="" if parent is None else parent.name,
            config_id=old.get(one.channel_id, 0),
            detail="; ".join(in_words(d.kind, d.key, d.wanted, d.found).partition(": ")[2] for d in drifts),
        )

    async def diff(self) -> list[DriftRow]:
        """Return what differs, with what would be done and what is in the way of it.

        Raises
        ------
        NoServer, DiscordPortError, LedgerError
        """
        survey = await self._surveyor.look()
        if not survey.drifts:
            return []
        standing = await self._surveyor.standing(survey)
        steps: dict[str, Step] = {}
        for drift in survey.drifts:
            planned = plan([drift], tuple(survey.wanted.values()), survey.found.values())
            if planned:
                steps[drift.thing] = planned[0]
        now = self._tools.clock.now()
        rows = []
        for drift in survey.drifts:
            step, culprit = steps.get(drift.thing), self._culprits.of(drift.channel_id, drift.kind, now)
            rows.append(
                DriftRow(
                    key=drift.key,
                    drift=drift.kind,
                    channel_id=drift.channel_id,
                    words=in_words(drift.kind, drift.key, drift.wanted, drift.found),
                    plan="make anew" if drift.kind == "gone" else "change in place",
                    state=state_of(drift, survey),
                    obstacle="" if step is None else obstacle(step, standing, survey.found),
                    culprit_id=culprit.user_id or None,
                    culprit=culprit.name,
                )
            )
        return rows

    async def capture(self, categories: tuple[str, ...]) -> CapturedTree:
        """Return channels.toml, as it would be written from the server as it is.

        Raises
        ------
        TreeRefused, NoServer, DiscordPortError
        """
        # Imported where it is used: most fleets never have such a file.
        from master.services.channels.tree_file import capture, parse_tree

        survey = await self._surveyor.look()
        text = capture(survey.found.values(), survey.roles, categories)
        tree = parse_tree(text, self._tools.settings().channels_path)
        return CapturedTree(text=text, categories=len(tree.category), channels=len(tree.channel))
