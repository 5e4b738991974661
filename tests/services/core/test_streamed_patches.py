"""`fleet events` tells of patches: which one, how far, why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from master.bus import EventBus
from master.events import Event, NodePatched, PatchChanged
from master.services.core.directory import NodeDirectory
from master.services.core.event_stream import STREAMED, fleet_event
from master.supervision.clock import SystemClock

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "kind", "detail"),
    [
        (PatchChanged(at=NOW, patch_id="1", name="ranks 4", state="rolling"), "patch", "ranks 4: rolling"),
        (
            PatchChanged(at=NOW, patch_id="1", name="ranks 4", state="rolled_back", detail="no such import"),
            "patch",
            "ranks 4: rolled back: no such import",
        ),
        (NodePatched(at=NOW, node_id="01A", patch_id="1", name="ranks 4", state="good"), "patched", "ranks 4: good"),
    ],
)
def test_a_patch_is_in_the_stream(event: Event, kind: str, detail: str) -> None:
    assert isinstance(event, STREAMED)
    told = fleet_event(event, NodeDirectory(EventBus(), SystemClock()))
    assert (told.kind, told.detail) == (kind, detail)
