"""/fleet describe and /fleet why, of a node whose texts are as long and as foreign as they can be."""

from __future__ import annotations

from datetime import timedelta

from master.ledger.identifiers import new_ulid
from master.ledger.rows import error_events, process_events
from master.ledger.rows.records import ErrorEvent, ProcessRecord
from master.supervision.clock import SystemClock
from tests.cogs.conftest import Scene

FOREIGN = "@everyone ```\n**loud** " * 30


async def crash_often(scene: Scene, name: str) -> None:
    """Put a bad day of a node on record, and fill its log."""
    clock, node_id = SystemClock(), scene.node_id(name)
    began = clock.now() - timedelta(hours=1)
    rows = [
        ProcessRecord(
            id=new_ulid(clock),
            at=began + timedelta(seconds=10 * number),
            node_id=node_id,
            kind="exited" if number % 2 else "degraded",
            exit_code=number % 2,
            detail=f"{chr(97 + number % 26)} {FOREIGN}"[:400],
        )
        for number in range(120)
    ]
    error = ErrorEvent(
        id=new_ulid(clock),
        at=began,
        node_id=node_id,
        source="command",
        fingerprint="f",
        summary=FOREIGN[:400],
        detail=FOREIGN,
        count=10**9,
    )
    ledger = scene.house.services.ledger
    await ledger.write(lambda connection: process_events.insert(connection, *rows))
    await ledger.write(lambda connection: error_events.record(connection, error))
    logs = scene.house.services.settings.logs_dir
    logs.mkdir(exist_ok=True)
    (logs / f"{name}.err.log").write_text(FOREIGN * 20)


async def test_a_node_is_described_within_discords_limits_and_nothing_foreign_is_markup(scene: Scene) -> None:
    await scene.register("atlas", tags=("music",))
    await crash_often(scene, "atlas")
    answer = await scene.runs("fleet describe", {"node": "atlas"})
    (embed,) = answer.embeds
    assert answer.ephemeral
    assert embed["title"] == "atlas is stopped"
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    assert "exited with code 1" in fields["Last exit"]
    assert "**loud**" not in fields["Errors"].replace("\\*", "")
    assert fields["Last lines"].count("```") == 2
    assert "client_id=" in fields["Bot"]


async def test_why_says_what_is_the_matter_and_pages_through_what_happened(scene: Scene) -> None:
    await scene.register("atlas")
    await crash_often(scene, "atlas")
    answer = await scene.runs("fleet why", {"node": "atlas", "hours": 2})
    (embed,) = answer.embeds
    assert answer.ephemeral
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    assert fields["Now"].startswith("atlas is stopped")
    assert "fleet start atlas" in fields["To do"]
    # The newest first.
    assert embed["description"].splitlines()[0].startswith("<t:")
    told = await scene.runs("fleet why", {"node": "nobody"})
    assert "there is no node called" in told.embeds[0]["title"].replace("There", "there")
    choices = await scene.ada.autocompletes(scene.office, scene.account, "fleet why", {"node": "at"}, focused="node")
    assert [choice["value"] for choice in choices] == ["atlas"]
