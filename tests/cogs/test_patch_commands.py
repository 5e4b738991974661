"""/patch: files that are attached, what is shown, and what is asked before it is done."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from handshake.patch_bundle import MAX_BUNDLE_BYTES
from master.ledger.rows import patch_keys
from sandbox import CommandNotVisible
from tests.cogs.patch_scene import PatchScene
from tests.services.patches.authors import Author


def incoming(office: PatchScene) -> list[Path]:
    """Return the files of downloads that are left behind."""
    folder = office.settings.patches_dir / "incoming"
    return list(folder.iterdir()) if folder.exists() else []


async def test_a_file_that_nobody_known_has_signed_is_refused_and_nothing_of_it_stays(office: PatchScene) -> None:
    await office.connect()
    file = ("../../x`*.fleetpatch", Author().bundle())
    done = await office.runs("patch deploy", {"file": file})
    assert done.ephemeral
    assert done.embeds[0]["footer"]["text"] == "patch_refused"
    assert incoming(office) == []
    assert (await office.services.patches.list(5)).patches == ()
    assert [outcome for _, outcome in await office.audited("patch_receive")] == ["failed"]


async def test_a_file_that_is_too_large_is_not_even_downloaded(office: PatchScene) -> None:
    await office.connect()
    done = await office.runs("patch deploy", {"file": ("big.fleetpatch", b"x" * (MAX_BUNDLE_BYTES + 1))})
    assert "is larger than any patch" in done.embeds[0]["title"]
    assert not (office.settings.patches_dir / "incoming").exists()


async def test_a_file_that_expired_meanwhile_is_an_answer(office: PatchScene) -> None:
    await office.connect()
    office.sandbox.world.keep_upload = lambda upload: None  # type: ignore[method-assign]
    done = await office.runs("patch deploy", {"file": ("ranks.fleetpatch", Author().bundle())})
    assert "the file is gone, or its link has expired" in done.embeds[0]["title"]


@pytest.mark.parametrize("options", [{}, {"patch": "ranks", "file": ("a.fleetpatch", b"x")}])
async def test_deploy_takes_a_file_or_a_patch(office: PatchScene, options: dict[str, object]) -> None:
    await office.connect()
    done = await office.runs("patch deploy", options)
    assert done.embeds[0]["title"].endswith("Name a patch, or attach its file: one of the two")


async def test_deploy_shows_what_it_would_do_and_does_nothing_on_cancel(office: PatchScene) -> None:
    await office.connect()
    patch_id = await office.receive(note="faster")
    asked = await office.runs("patch deploy", {"patch": "ranks 1", "urgent": True, "soak_minutes": 1.5})
    (embed,) = asked.embeds
    assert embed["title"] == "Roll ranks 1 out?"
    assert embed["description"].startswith("faster\nAsked for: **urgent**")
    assert "watched for 1.5 min" in embed["description"]
    assert "author's signature" in embed["description"]
    cancelled = await office.ada.presses(asked, "Cancel")
    assert cancelled.embeds[0]["title"] == "Nothing was done"
    assert (await office.services.patches.show(patch_id)).patch.state == "received"


async def test_status_and_history_show_versions_and_what_became_of_them(office: PatchScene) -> None:
    await office.connect()
    atlas, vega, _ = await office.add_nodes("atlas", "vega", "wega_2")
    first = await office.receive(state="done")
    await office.put_node(first, atlas, "good")
    second = await office.receive(state="soaking")
    await office.put_node(second, vega, "failed", "KeyError: 'x'")
    status = (await office.runs("patch status")).embeds[0]["description"].split("\n")
    assert status[0].startswith("**👀 ranks 2: being watched** by ada, <t:")
    assert status[1:] == [
        "1 failed",
        "",
        "❌ **ranks 2** failed: vega",
        r"▫️ **no patch**: wega\_2",
        "✅ **ranks 1** good: atlas",
    ]
    history = (await office.runs("patch history")).embeds[0]["description"]
    assert history.index("ranks 2") < history.index("**✅ ranks 1: done**")
    shown = (await office.runs("patch show", {"patch": "ranks 2"})).embeds[0]
    assert "KeyError: 'x'" in str(shown["fields"])


async def test_patches_that_the_command_is_for_are_suggested_first(office: PatchScene) -> None:
    await office.connect()
    paused = await office.receive(state="paused")
    done = await office.receive(state="done")
    typed = await office.ada.autocompletes(
        office.channel, office.account, "patch resume", {"patch": "ran"}, focused="patch"
    )
    assert [(one["name"], one["value"]) for one in typed] == [("ranks 1 (paused)", paused), ("ranks 2 (done)", done)]


async def test_aborting_asks_and_who_is_no_operator_is_not_even_shown_the_command(office: PatchScene) -> None:
    await office.connect()
    await office.receive(state="rolling")
    asked = await office.runs("patch abort", {"patch": "ranks"})
    assert asked.embeds[0]["title"] == "Abort ranks 1?"
    assert "Those that have it keep it" in asked.embeds[0]["description"]
    with pytest.raises(CommandNotVisible):
        await office.eve.runs_command(office.channel, office.account, "patch status")


async def test_a_server_without_deferrals_is_answered(office: PatchScene) -> None:
    await office.connect()
    await office.receive(state="rolling")
    office.sandbox.interactions.deferrals_supported = False
    for name, option in (("abort", {"patch": "nothing"}), ("deploy", {"file": ("x.fleetpatch", b"x")}), ("status", {})):
        done = await office.runs(f"patch {name}", option)
        assert done.embeds[0]["title"], name


async def test_a_signed_file_is_accepted_shown_and_rolled_out_after_a_press(office: PatchScene) -> None:
    await office.connect()
    author, now = Author(), int(time.time())
    await office.services.ledger.write(lambda connection: patch_keys.insert(connection, author.key()))
    content = author.bundle(created=now - 60, expires=now + 3_600, note="faster")
    asked = await office.runs("patch deploy", {"file": ("ranks.fleetpatch", content)})
    assert asked.embeds[0]["title"] == "Roll ranks 1 out?", asked.embeds
    (patch,) = (await office.services.patches.list(5)).patches
    assert (patch.state, patch.received_from, patch.key) == ("received", f"discord:{office.ada.id}", "ada")
    assert incoming(office) == []
    message = await office.message_of(patch.id)
    assert message.attachments[0].content == content
    pressed = await office.ada.presses(asked, "Roll out")
    # There is no node that it could be for.
    await pressed.wait_until(lambda i: bool(i.followups))
    assert pressed.followups[0].embeds[0]["footer"]["text"] == "patch_not_now"
    # The same file again is that patch.
    again = await office.runs("patch deploy", {"file": ("ranks.fleetpatch", content)})
    assert again.embeds[0]["footer"]["text"] == patch.id
