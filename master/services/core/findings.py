"""What a check found: one line of ``fleet doctor``."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One line of the report."""

    what: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""
