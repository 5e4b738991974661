"""The table of legal changes: each one that is not in it is refused with its reason, and leaves no trace."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import create_engine

from master.configuration.settings import LicenceTier
from master.ledger.rows import licence_events, licences
from master.ledger.rows.records import Licence, LicenceState
from master.ledger.schema.tables import licence_events as events_table
from master.ledger.schema.tables import licenses, metadata, nodes
from master.services.trust.licence_rules import TRANSITIONS, LicenceAction, LicenceRefused, moved
from master.services.trust.licence_writing import apply, write_change
from tests.hostile.effort import rounds
from tests.services.conftest import OPERATOR
from tests.services.people.desk import Desk

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ACTIONS: tuple[LicenceAction, ...] = get_args(LicenceAction)
TIER = LicenceTier(name="pro", days=30, grace_days=7)
LICENCE = Licence(
    id="aa" * 8, node_id=None, tier="pro", state=LicenceState.ISSUED, code_hash=b"h" * 32, issued_at=NOW,
    expires_at=NOW + timedelta(days=30),
)  # fmt: skip


@pytest.mark.parametrize("state", LicenceState)
@pytest.mark.parametrize("action", ACTIONS)
def test_only_what_is_in_the_table_is_legal(state: LicenceState, action: LicenceAction) -> None:
    licence = replace(LICENCE, state=state, activated_at=NOW)
    if (state, action) in TRANSITIONS:
        assert moved(licence, action, TIER, now=NOW, actor="cli:ada", to=7).state is TRANSITIONS[state, action]
        return
    with pytest.raises(LicenceRefused) as refused:
        moved(licence, action, TIER, now=NOW, actor="cli:ada", to=7)
    assert refused.value.message.startswith(f"licence {licence.id} ")
    assert refused.value.code == f"licence_{refused.value.reason}"


@settings(deadline=None, max_examples=rounds(40))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 40), st.booleans()), max_size=12))
def test_whatever_is_done_the_history_tells_what_a_licence_is(steps: list[tuple[LicenceAction, int, bool]]) -> None:
    """Each accepted change is one event, each refused one none; a revoked licence is only ever given back."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine, tables=[nodes, licenses, events_table])
    now, accepted = NOW, list[str]()
    with engine.begin() as connection:
        licences.insert(connection, LICENCE)
        for action, days, twice in steps:
            now += timedelta(days=days, seconds=1)
            for _ in range(1 + twice):
                before = licences.get(connection, LICENCE.id)
                assert before is not None
                try:
                    after = apply(connection, before, action, TIER, at=now, actor="cli:ada", to=7)
                except LicenceRefused:
                    assert licences.get(connection, LICENCE.id) == before
                else:
                    accepted.append(action)
                    assert licences.get(connection, LICENCE.id) == after
                    assert before.state is not LicenceState.REVOKED or action == "reinstate"
                    assert after.state is not LicenceState.ISSUED or after.activated_at is None
        assert len(licence_events.list_of(connection, LICENCE.id)) == len(accepted)
    engine.dispose()


async def test_of_changes_at_once_each_acts_on_what_the_one_before_it_left(desk: Desk) -> None:
    licence_id = await desk.redeemed()
    desk.events.clear()
    done = await asyncio.gather(
        *(desk.licences.change(licence_id, "suspend", actor=OPERATOR) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(one, Licence) for one in done) == 1
    assert [event.what for event in desk.events] == ["suspended"]
    stale = await desk.licences.find(licence_id)
    await desk.licences.change(licence_id, "revoke", actor=OPERATOR)
    with pytest.raises(LicenceRefused, match="changed a moment ago"):
        await desk.ledger.write(lambda c: write_change(c, stale, replace(stale, state=LicenceState.ACTIVE)))
