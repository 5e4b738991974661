"""/fleet lineage: what is on record of a node, forged rows among it, within Discord's limits and never as markup."""

from __future__ import annotations

from datetime import timedelta

from master.ledger.identifiers import new_ulid
from master.ledger.rows import generations
from master.ledger.rows.records import Generation
from master.supervision.clock import SystemClock
from tests.cogs.conftest import Scene

FOREIGN = "@everyone ```\n**loud** " * 30


async def forge(scene: Scene, name: str, count: int) -> None:
    """Put generations on record that nobody signed, and leave one out."""
    clock, ledger = SystemClock(), scene.house.services.ledger
    for number in (*range(10, 20), *range(21, 11 + count)):
        forged = Generation(
            id=new_ulid(clock),
            kind="node",
            subject=scene.node_id(name),
            generation=number,
            at=clock.now() + timedelta(seconds=number),
            cause="patched",
            actor="discord:42",
            detail=FOREIGN[:400],
            manifest="{}",
            signature=b"none",
        )
        await ledger.write(lambda connection, row=forged: generations.insert(connection, row))  # type: ignore[misc]


async def test_a_lineage_is_paged_and_what_does_not_hold_is_told_on_each_page(scene: Scene) -> None:
    await scene.register("atlas")
    await forge(scene, "atlas", 30)
    answer = await scene.runs("fleet lineage", {"node": "atlas"})
    (embed,) = answer.embeds
    assert answer.ephemeral
    fields = {field["name"]: field["value"] for field in embed["fields"]}
    lines = fields["It is not as it was signed"].splitlines()
    assert lines[0].startswith("missing: generation ")
    assert lines[1].startswith("generation 10: ")
    assert lines[-1] == "and 25 more"
    first = embed["description"].splitlines()[0]
    assert first.startswith("❌ **40** <t:")
    assert "<@42>" in first
    assert "**loud**" not in embed["description"]
    assert len(embed["description"].splitlines()) == 10
    told = await scene.runs("fleet lineage", {"node": "nobody"})
    assert "there is no node called" in told.embeds[0]["title"].lower()
    options = {"node": "at"}
    choices = await scene.ada.autocompletes(scene.office, scene.account, "fleet lineage", options, focused="node")
    assert [choice["value"] for choice in choices] == ["atlas"]


async def test_a_node_of_which_nothing_is_noted_says_so(scene: Scene) -> None:
    await scene.register("atlas")
    answer = await scene.runs("fleet lineage", {"node": "atlas"})
    (embed,) = answer.embeds
    assert embed["title"] == "atlas: how it came to be"
    assert embed["footer"]["text"].startswith(("0 generations", "1 generation"))
