"""Licences as CSV: all of a file or nothing, and no cell that a spreadsheet runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.operations import licences as operations
from master.operations.parameters import LicenceImportParams, LicencesParams
from master.services.core.errors import FilesFailed
from master.services.core.licence_views import LicenceDetails
from master.services.people.licence_files import (
    LicenceFileRefused,
    csv_header,
    csv_rows,
    read_csv,
)
from tests.services.conftest import OPERATOR, STRANGER, House
from tests.services.people.desk import ADA, Desk

TIERS = ("pro", "trial")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40))
def test_no_cell_of_an_export_is_a_formula_and_each_is_read_as_it_was(note: str) -> None:
    details = LicenceDetails(
        id="aa", tier="pro", state="issued", reason="valid", valid=True, issued_at=0.0, origin="=1+1", note=note
    )
    text = csv_header() + csv_rows([details])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    assert row["origin"] == "'=1+1"
    (wanted,) = read_csv(text.replace("expires_at", "x", 1), TIERS)
    assert wanted.note == note.strip()


def test_every_mistake_is_told_with_its_line() -> None:
    text = (
        "tier,holder_id,days,expires_at,redeemed,note\n"
        "gold,,,,,\n"
        "pro,x,,,,\n"
        'pro,,3,2027-01-01,,"a note\nof two lines"\n'
        "pro,,,tomorrow,,\n"
        "pro,,,,yes,\n"
        "pro,,,,perhaps,\n"
        "pro,,,,,,,\n"
        "pro,,99999999,,,\n"
        f"pro,,,,,{'x' * 201}\n"
    )
    with pytest.raises(LicenceFileRefused) as refused:
        read_csv(text, TIERS)
    assert refused.value.message.split("; ") == [
        "line 2: there is no licence tier 'gold'",
        "line 3: holder_id is a number, not 'x'",
        "line 5: expires_at and days are both given",
        "line 6: expires_at is a date such as 2027-01-31, not 'tomorrow'",
        "line 7: it is redeemed, and holder_id is empty",
        "line 8: redeemed is yes or no, not 'perhaps'",
        "line 9: it has more cells than the first line has columns",
        "line 10: days is a number, not '99999999'",
        "line 11: the note is longer than 200 characters",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no column `tier`"),
        ("name\npro\n", "no column `tier`"),
        ("tier\n", "no rows"),
        ('tier\n"pro', "unexpected end of data"),
        ("tier\n" + "pro\n" * 5_001, "more than 5000 rows"),
    ],
)
def test_a_file_that_is_no_list_of_licences_is_refused(text: str, why: str) -> None:
    with pytest.raises(LicenceFileRefused, match=why):
        read_csv(text, TIERS)


async def test_those_that_are_redeemed_are_their_holders_at_once(desk: Desk) -> None:
    text = f"\ufeffTier,holder_id,redeemed,expires_at,more\r\nPRO,{ADA},yes,2099-01-01,x\r\nteam,,,,\r\n"
    made = await desk.licences.take_in(read_csv(text, ("pro", "team")), actor=OPERATOR)
    assert await desk.reason(ADA) == (True, "valid")
    assert made[0].record.expires_at is not None
    assert made[0].record.expires_at.isoformat() == "2099-01-01T00:00:00+00:00"
    assert await desk.redeem(made[1].code.reveal()) == made[1].record.id


async def test_a_file_is_taken_whole_or_not_at_all_and_on_the_box_alone(house: House, tmp_path: Path) -> None:
    file = tmp_path / "licences.csv"
    file.write_text("tier,holder_id\nstandard,7\nnone,\n")
    run, params = house.operations.run, LicenceImportParams(path=str(file))
    with pytest.raises(LicenceFileRefused, match="line 3"):
        await run(operations.take_in, OPERATOR, params)
    assert (await run(operations.listing, OPERATOR, LicencesParams())).total == 0
    file.write_text("tier,holder_id\nstandard,7\ntrial,\n")
    made = await run(operations.take_in, OPERATOR, params)
    assert [one.licence.tier for one in made.licences] == ["standard", "trial"]
    assert all(one.code and one.code not in repr(made) for one in made.licences)
    with pytest.raises(FilesFailed):
        await run(operations.take_in, OPERATOR, LicenceImportParams(path=str(tmp_path)))
    remote = type(STRANGER)(face="discord", identity="7", name="ada", is_member=True)  # an operator, on Discord
    with pytest.raises(LicenceFileRefused, match="on the box alone"):
        await run(operations.take_in, remote, params)
