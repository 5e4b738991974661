"""What `fleet licence` shows: at 80 columns, in a pipe, and of whoever typed something else."""

from __future__ import annotations

from master.cli.licences import imported_lines, issued_lines, list_lines, show_lines
from master.services.core.licence_views import (
    ImportedLicencesView,
    IssuedLicenceView,
    LicenceDetails,
    LicenceEventView,
    LicencesView,
    LicenceUseView,
)

CODE = "FM1-0403M-SPJXC-4Q0TS-K0YZ5-MVQ07-HB9TV-PX1MT-CQWNE"


def a_licence(**changes: object) -> LicenceDetails:
    values: dict[str, object] = {
        "id": "3a66d2eb09706b33",
        "tier": "professional",
        "state": "active",
        "reason": "grace",
        "valid": True,
        "issued_at": 1_790_000_000.0,
        "expires_at": 1_795_000_000.0,
        "ends_at": 1_796_000_000.0,
        "holder_id": 123456789012345678,
        "origin": "shop:kofi",
        "note": "order 17 \x1b[31m of somebody with a rather long name, and more of it",
        **changes,
    }
    return LicenceDetails(**values)  # type: ignore[arg-type]


def test_a_list_fits_80_columns_and_loses_nothing_in_a_pipe() -> None:
    found = LicencesView(licences=(a_licence(), a_licence(node_id="01A", node="atlas")), total=40, tiers=("pro",))
    narrow = [line.plain for line in list_lines(found, width=80)]
    assert all(len(line) <= 80 for line in narrow)
    assert narrow[0].split()[:4] == ["LICENCE", "TIER", "STATE", "ENDS"]
    assert "grace" in narrow[1]
    assert "atlas" in "".join(narrow)
    assert narrow[-1] == "2 of 40 licences; -n shows more"
    wide = "\n".join(line.plain for line in list_lines(found, width=None))
    assert "order 17 \\x1b[31m of somebody with a rather long name, and more of it" in wide


def test_an_empty_list_says_what_to_do() -> None:
    (line,) = list_lines(LicencesView(tiers=("standard", "pro")), width=80)
    assert line.plain == "no licence was issued yet: `fleet licence issue` makes one of standard, pro"
    (line,) = list_lines(LicencesView(total=3), width=80)
    assert line.plain == "none of 3 licences is like this"


def test_a_licence_is_shown_with_who_uses_it_and_its_history() -> None:
    found = a_licence(
        uses=(LicenceUseView(kind="node", subject="01A", name="atlas", at=0.0, last_at=0.0),),
        events=(LicenceEventView(at=1_790_000_000.0, what="suspended", actor="cli:root", detail="unpaid"),),
    )
    text = "\n".join(line.plain for line in show_lines(found))
    for part in ("grace    until", "nodes    atlas", "suspended by cli:root: unpaid", "\\x1b", "by shop:kofi"):
        assert part in text


def test_a_code_stands_alone_on_its_line() -> None:
    made = IssuedLicenceView(licence=a_licence(expires_at=None), code=CODE)
    lines = [line.plain for line in issued_lines(made)]
    assert lines[0] == CODE
    assert "for ever" in lines[1]
    assert all(len(line) <= 80 for line in lines)
    taken = ImportedLicencesView(licences=(made, IssuedLicenceView(licence=a_licence(), code="")))
    shown = [line.plain for line in imported_lines(taken)]
    assert CODE in shown[0]
    assert "redeemed" in shown[1]
    assert CODE not in repr(taken)
