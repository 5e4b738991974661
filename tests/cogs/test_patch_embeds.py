"""How patches are shown: within Discord's limits whatever they hold, and nothing foreign acts in it."""

from __future__ import annotations

import random
import re

from msgspec import structs

from master.bot.wire import embed_payload
from master.cogs._patch_embeds import patch_embed, patch_line, status_lines
from master.cogs._views import lines_in_pages
from master.configuration.settings import ColourSettings
from master.services.core.patch_views import PatchDetails, PatchesView, PatchNodeView, PatchPlanView, PatchView
from sandbox.composing import check_message
from tests.hostile.effort import rounds
from tests.hostile.hostile_texts import HOSTILE, filled

PLAN = PatchPlanView(canary=1, waves=(25, 100), soak_s=300, most_soak_s=3600, most_failed=0, at_once=25, back_at_once=5)
_CODE = re.compile(r"```py\n.*?\n```|`[^`\n]*`", re.DOTALL)
_OURS = re.compile(r"<@\d+>|<t:\d+:R>|\*\*")
_ACTS = re.compile(r"(?<!\\)[*_~|`<>\[\]@]|[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069]")


def texts_of(found: PatchDetails) -> list[str]:
    """Return each text of a patch's embed, which Discord has to take."""
    data = embed_payload(patch_embed(ColourSettings(), found))
    check_message({"embeds": [data]}, [])
    fields = [text for field in data["fields"] for text in (field["name"], field["value"])]
    return [data.get("title", ""), data.get("description", ""), *fields]


def test_hostile_texts_neither_act_nor_break_a_limit() -> None:
    rng, shown = random.Random(14), 0  # noqa: S311 - a fuzzer
    for _ in range(rounds(300)):
        found = filled(PatchDetails, rng, HOSTILE)
        view = structs.replace(found.patch, state=rng.choice(("rolling", "failed", "done", found.patch.state)))
        found = structs.replace(found, patch=view)
        lists = [patch_line(view), *status_lines(filled(PatchesView, rng, HOSTILE))]
        for text in (*texts_of(found), *lists):
            left = _OURS.sub("", _CODE.sub("", text))
            assert not _ACTS.search(left), text
            shown += 1
    print(f"{shown} texts of hostile patches")


def test_a_patch_as_large_as_one_can_be_is_shown_within_the_limits() -> None:
    nodes = tuple(
        PatchNodeView(node=f"{'*' * 30}{number}", state=state, detail="`x`\n" * 1_000)
        for number, state in enumerate(("failed", "good", "rolled_back", "waiting", "absent", "skipped") * 40)
    )
    patch = PatchView(
        id="0" * 26, name="r" * 40, version=2**53, channel="main", author="*" * 120, key="_" * 64, state="rolling_back",
        wave="wave 10 of 10", reason="*" * 400, approved_by=tuple(f"cli:{'*' * 100}" for _ in range(5)), approvals=5,
        received_from="cli:" + "*" * 100, urgent=True,
    )  # fmt: skip
    found = PatchDetails(
        patch=patch,
        note="*\n" * 1_000,
        files=tuple("`" * 200 for _ in range(500)),
        removed=tuple("`" * 200 for _ in range(500)),
        reload=("*" * 60,) * 50,
        requirements=("*" * 120,) * 50,
        depends_on=("_" * 40,) * 20,
        targets=("*" * 100,) * 200,
        plan=PLAN,
        nodes=nodes,
    )
    texts = texts_of(found)
    assert any("and 994 more" in text for text in texts)
    # The bad ones come first, and none is left out of the counts.
    assert any(text.startswith("❌ **40** failed: ") for text in texts)


def test_lines_of_a_list_fit_on_pages() -> None:
    views = tuple(filled(PatchView, random.Random(seed)) for seed in range(60))  # noqa: S311 - a fuzzer
    pages = lines_in_pages([patch_line(view) for view in views], on_page=8)
    assert all(len("\n".join(page)) <= 4_096 for page in pages)
