"""`fleet doctor` says whether the intake for sentry-sdk listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.services.core.views import MasterStatus
from master.services.upkeep.diagnosis import diagnose


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("listening on 127.0.0.1:9000", "ok"),
        ("cannot listen on 127.0.0.1:9000: another process listens at the port", "fail"),
    ],
)
async def test_doctor_says_whether_the_intake_listens(tmp_path: Path, said: str, verdict: str) -> None:
    def ping(_state_dir: Path) -> MasterStatus:
        return MasterStatus(
            pid=1,
            version="",
            uptime_s=0,
            cpu_percent=0,
            cpu_seconds=0,
            rss_bytes=0,
            discord="off",
            ledger="sqlite",
            sentry=said,
            home=str(tmp_path),
        )

    (found,) = [one for one in await diagnose(tmp_path, {}, ping=ping, lookup_of=None) if one.what == "sentry intake"]
    assert (found.verdict, found.detail, bool(found.fix)) == (verdict, said, verdict == "fail")
