"""Licences as CSV: in and out. What a spreadsheet would take for a formula is written as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from handshake.files import read_regular
from master.errors import ExitCode
from master.services.core.errors import FilesFailed, ServiceError
from master.services.core.licence_views import LicenceDetails
from master.services.trust.licence_rules import EARLIEST_END, LATEST_END

MAX_ROWS = 5_000
"""Their codes are one answer of the master."""
MAX_BYTES = 4 * 1024 * 1024
MOST_MISTAKES = 10
_FORMULA, _BLANK = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"), ("\t", "\r")
"""With the wide forms, which spreadsheets set to Japanese or Chinese take too."""
_COLUMNS = (
    *("id", "tier", "state", "issued_at", "expires_at", "activated_at"),
    *("holder_id", "guild_id", "node", "origin", "note"),
)
_READ = frozenset({"tier", "holder_id", "expires_at", "days", "note", "redeemed"})
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


class LicenceFileRefused(ServiceError):
    """A CSV has mistakes: nothing of it was taken."""

    code: ClassVar[str] = "licence_file_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class WantedLicence(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a CSV that is taken in."""

    line: int
    tier: str
    holder_id: int | None = None
    expires_at: datetime | None = None
    days: int | None = None
    note: str = ""
    redeemed: bool = False
    """Whether the holder has it already: it needs no code."""


def safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _is_formula(text) else text


def _plain_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    """Tell whether a spreadsheet may run a cell; of one that was made safe too, so that it is read as it was."""
    return text.startswith(_BLANK) or text.lstrip("' \t\r\n").startswith(_FORMULA)


def csv_header() -> str:
    """Return the first line of an export."""
    return ",".join(_COLUMNS) + "\r\n"


def csv_rows(licences: Iterable[LicenceDetails]) -> str:
    """Return licences as lines of CSV; times in UTC."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    for licence in licences:
        texts = (
            *(licence.id, licence.tier, licence.state),
            *(_moment(at) for at in (licence.issued_at, licence.expires_at, licence.activated_at)),
            *("" if number is None else str(number) for number in (licence.holder_id, licence.guild_id)),
            *(licence.node, licence.origin, licence.note),
        )
        writer.writerow([safe_cell(text) for text in texts])
    return stream.getvalue()


def _moment(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_file(path: str, tiers: Iterable[str]) -> list[WantedLicence]:
    """Return the licences that a CSV file asks for. Blocks.

    Raises
    ------
    LicenceFileRefused
    FilesFailed
        It cannot be read.
    """
    if not path.startswith("/"):
        raise LicenceFileRefused(f"{path[:200]} is no absolute path", hint="the master has another working directory")
    try:
        content = read_regular(path, MAX_BYTES + 1)
    except OSError as error:
        raise FilesFailed(
            f"{path[:200]} cannot be read: {error.strerror}", hint="the master reads it as its own user"
        ) from error
    if len(content) > MAX_BYTES:
        raise LicenceFileRefused(f"{path[:200]} is larger than {MAX_BYTES >> 20} MB", hint="split it")
    try:
        return read_csv(content.decode("utf-8"), tiers)
    except UnicodeDecodeError:
        raise LicenceFileRefused(f"{path[:200]} is no UTF-8 text", hint="save it as CSV in UTF-8") from None


def read_csv(text: str, tiers: Iterable[str]) -> list[WantedLicence]:
    """Return the licences that a CSV asks for; columns that are not known are left out.

    Raises
    ------
    LicenceFileRefused
        It has mistakes: the error names their lines.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    known = {tier.casefold() for tier in tiers}
    found: list[WantedLicence] = []
    mistakes: list[str] = []
    try:
        columns = [column.strip().lower() for column in reader.fieldnames or ()]
        if "tier" not in columns:
            raise LicenceFileRefused(
                "line 1: there is no column `tier`", hint=f"the first line names columns: {', '.join(sorted(_READ))}"
            )
        reader.fieldnames = columns
        for cells in reader:
            if len(found) >= MAX_ROWS:
                raise LicenceFileRefused(f"the file has more than {MAX_ROWS} rows", hint="split it")
            try:
                found.append(_wanted(cells, reader.line_num, known))
            except ValueError as error:
                mistakes.append(f"line {reader.line_num}: {error}")
    except csv.Error as error:
        mistakes.append(f"line {reader.line_num}: {error}")
    if mistakes:
        more = len(mistakes) - MOST_MISTAKES
        shown = mistakes[:MOST_MISTAKES] + ([f"and {more} more"] if more > 0 else [])
        raise LicenceFileRefused("; ".join(shown), hint="nothing was taken: put them right, and import it again")
    if not found:
        raise LicenceFileRefused("the file has no rows", hint="one line for each licence, after the line of columns")
    return found


def _wanted(cells: dict[str, str | None], line: int, tiers: set[str]) -> WantedLicence:
    if None in cells:
        raise ValueError("it has more cells than the first line has columns")
    values = {name: _plain_cell(cells.get(name) or "").strip() for name in _READ}
    tier = values["tier"]
    if tier.casefold() not in tiers:
        raise ValueError(f"there is no licence tier {tier[:40]!r}")
    if values["expires_at"] and values["days"]:
        raise ValueError("expires_at and days are both given")
    redeemed = values["redeemed"].lower()
    if redeemed not in (*_YES, *_NO):
        raise ValueError(f"redeemed is yes or no, not {redeemed[:20]!r}")
    holder_id = _number(values["holder_id"], "holder_id", 2**63 - 1)
    if redeemed in _YES and not holder_id:
        raise ValueError("it is redeemed, and holder_id is empty")
    if len(values["note"]) > 200:
        raise ValueError("the note is longer than 200 characters")
    return WantedLicence(
        line=line,
        tier=tier,
        holder_id=holder_id or None,
        expires_at=_read_moment(values["expires_at"]),
        days=_number(values["days"], "days", 36_500),
        note=values["note"],
        redeemed=redeemed in _YES,
    )


def _number(text: str, name: str, most: int) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > most:
        raise ValueError(f"{name} is a number, not {text[:30]!r}")
    return int(text)


def _read_moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"expires_at is a date such as 2027-01-31, not {text[:30]!r}") from None
    if not EARLIEST_END <= moment <= LATEST_END:
        between = f"{EARLIEST_END:%Y-%m-%d} and {LATEST_END:%Y-%m-%d}"
        raise ValueError(f"expires_at is a date between {between}, not {text[:30]!r}; one that never ends has days 0")
    return moment
