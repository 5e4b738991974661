"""The end of the audit log: whatever is cut off it is noticed, and stays noticed until somebody acknowledges it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import AuditLogCut
from master.ledger.database import Ledger
from master.ledger.rows import audit, nodes
from master.ledger.rows.audit import ACKNOWLEDGE_ACTION, ALARM_ACTION, AuditChain, AuditFault
from master.ledger.rows.audit_head import AuditHead, HeadFile
from master.ledger.rows.records import Outcome
from master.ledger.schema.tables import audit_log
from master.ledger.writer.entries import Audited
from master.operations import ledger as operations
from master.operations.alone import run_alone
from master.operations.parameters import ArchiveParams, AuditParams, BackupParams, NoParams
from master.security.derivation import new_master_secret
from master.services.core.errors import NothingToAcknowledge
from tests.hostile.effort import rounds
from tests.ledger.test_archive import settings_at
from tests.ledger.test_database import NOW, a_node
from tests.services.conftest import OPERATOR

KEY = b"k" * 32


class Log:
    """An audit log that is opened, appended to and cut, as by one master after another."""

    def __init__(self, settings: DatabaseSettings, folder: Path) -> None:
        self.settings = settings
        self.path = folder / "audit-head"
        self.bus = EventBus()
        self.ledger: Ledger

    async def open(self) -> Log:
        chain = AuditChain(KEY, HeadFile(self.path, KEY))
        self.ledger = await Ledger.open(self.settings, chain=chain, bus=self.bus)
        return self

    async def reopen(self) -> None:
        await self.ledger.close()
        await self.open()

    async def act(self, action: str = "restart", times: int = 1) -> None:
        for number in range(times):
            row = Audited(
                at=NOW, actor="cli:a", face="cli", action=action, node_id=None, outcome=Outcome.DONE, detail=f"{number}"
            )
            await self.ledger.write_durable(row)

    async def cut(self, after: int) -> None:
        await self.ledger.write(lambda c: c.execute(audit_log.delete().where(audit_log.c.sequence > after)).close())

    async def fault(self) -> str:
        found: AuditFault | None = await self.ledger.read(self.ledger.chain.verify)
        return "" if found is None else found.problem

    async def actions(self) -> list[str]:
        return [row.action for row in reversed(await self.ledger.read(audit.search))]


@pytest.fixture
async def kept(ledger_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Log]:
    log = await Log(ledger_settings, tmp_path).open()
    yield log
    await log.ledger.close()


async def test_the_end_is_checked_though_the_ledger_has_been_away_since_the_start(kept: Log) -> None:
    # As on a full disk: it can be read, and was never opened for writing.
    await kept.act(times=3)
    assert await kept.ledger.read(AuditChain(KEY, HeadFile(kept.path, KEY)).verify) is None
    await kept.cut(after=2)
    fault = await kept.ledger.read(AuditChain(KEY, HeadFile(kept.path, KEY)).verify)
    assert fault == AuditFault(3, "the log ends before row 3, and there were 3")
    kept.path.unlink()
    fault = await kept.ledger.read(AuditChain(KEY, HeadFile(kept.path, KEY)).verify)
    assert fault is not None
    assert fault.problem.endswith("is not checkable: audit-head is missing")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("left", [0, 1, 4])
async def test_a_log_that_was_cut_is_not_sound_again_after_the_next_action(
    kept: Log, restarted: bool, left: int
) -> None:
    await kept.act(times=5)
    await kept.cut(left)
    if restarted:
        await kept.reopen()
    assert f"the log ends before row {left + 1}, and there were 5" in await kept.fault()
    with kept.bus.subscribe(AuditLogCut) as alarms:
        await kept.act("stop", times=7)
        assert "missing at the end of the audit log" in (await alarms.get()).detail
    for _ in range(2):
        assert "missing at the end" in await kept.fault()
        await kept.reopen()
    assert await kept.actions() == ["restart"] * left + [ALARM_ACTION] + ["stop"] * 7
    await kept.act(ACKNOWLEDGE_ACTION)
    assert await kept.fault() == ""


async def test_what_happens_after_an_acknowledgement_is_a_new_alarm(kept: Log) -> None:
    await kept.act(times=3)
    await kept.cut(2)
    await kept.act(ACKNOWLEDGE_ACTION)
    assert await kept.fault() == ""
    await kept.cut(3)  # the acknowledgement itself
    await kept.act()
    assert "row 3 is missing" in await kept.fault()
    assert await kept.ledger.read(kept.ledger.chain.standing_alarms) == (
        "row 3 is missing at the end of the audit log",
        "row 4 is missing at the end of the audit log",
    )


@pytest.mark.parametrize("content", [None, b"", b"junk", "another key", "older"])
async def test_a_head_that_is_gone_or_altered_is_an_alarm_too(kept: Log, content: bytes | str | None) -> None:
    await kept.act(times=2)
    older = kept.path.read_bytes()
    await kept.act(times=3)
    await kept.ledger.close()
    match content:
        case None:
            kept.path.unlink()
        case "another key":
            HeadFile(kept.path, b"x" * 32).save(AuditHead(3, b"?" * 32))
        case "older":
            kept.path.write_bytes(older)
        case bytes():
            kept.path.write_bytes(content)
    await kept.open()
    if content == "older":
        # A true head of before: what came after it may be there or not, but nothing before it may be missing.
        assert await kept.fault() == ""
        await kept.cut(1)
        assert await kept.fault() != ""
        return
    assert "is not checkable: audit-head" in await kept.fault()
    await kept.cut(3)
    await kept.act()
    assert "is not checkable" in await kept.fault()
    await kept.reopen()
    assert "is not checkable" in await kept.fault()
    await kept.act(ACKNOWLEDGE_ACTION)
    assert await kept.fault() == ""


async def test_a_log_that_was_emptied_with_its_head_is_not_a_new_one(kept: Log) -> None:
    await kept.ledger.write(lambda c: nodes.insert(c, a_node()))
    await kept.act(times=2)
    await kept.cut(0)
    kept.path.unlink()
    await kept.reopen()
    assert "the end of the audit log, which is empty, is not checkable" in await kept.fault()
    await kept.act()
    assert "is not checkable" in await kept.fault()


async def test_a_new_log_is_sound_and_so_is_one_that_a_crash_left_ahead_of_its_head(kept: Log) -> None:
    assert await kept.fault() == ""
    await kept.act(times=2)
    before = kept.path.read_bytes()
    await kept.act(times=2)
    kept.path.write_bytes(before)
    await kept.reopen()
    await kept.act()
    assert (await kept.fault(), await kept.actions()) == ("", ["restart"] * 5)
    assert kept.path.stat().st_mode & 0o777 == 0o600


async def test_a_rolled_back_alarm_is_raised_again(kept: Log) -> None:
    await kept.act(times=3)
    await kept.cut(1)

    def fail(connection: Connection) -> None:
        kept.ledger.chain.append(
            connection, at=NOW, actor="a", face="cli", action="stop", node_id=None, outcome=Outcome.DONE, detail=""
        )
        raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        await kept.ledger.write(fail)
    await kept.act()
    assert await kept.actions() == ["restart", ALARM_ACTION, "restart"]


async def test_no_order_of_cuts_actions_and_restarts_hides_a_cut(kept: Log) -> None:
    """A model: a fault is told exactly while rows of before are missing that nobody has acknowledged."""
    rng = random.Random(11)  # noqa: S311 - a test's own
    cut_unacknowledged, length, counts = False, 0, {"act": 0, "cut": 0, "restart": 0, "acknowledge": 0}
    for _ in range(rounds(60)):
        what = rng.choice(["act", "act", "cut", "restart", "acknowledge"])
        counts[what] += 1
        if what in ("act", "acknowledge"):
            await kept.act(ACKNOWLEDGE_ACTION if what == "acknowledge" else "restart")
            cut_unacknowledged = cut_unacknowledged and what == "act"
        elif what == "restart":
            await kept.reopen()
        elif length:
            await kept.cut(rng.randrange(length))
            cut_unacknowledged = True
        rows = await kept.ledger.read(kept.ledger.chain.length)
        assert bool(await kept.fault()) is cut_unacknowledged, counts
        length = rows
    print(f"audit log: {counts}")


async def test_a_restore_of_an_older_backup_says_how_many_rows_it_took_back(
    tmp_path: Path, sqlite_settings: DatabaseSettings
) -> None:
    settings = settings_at(tmp_path, new_master_secret())
    older = await run_alone(settings, operations.backup, OPERATOR, BackupParams())
    for name in ("a.zip", "b.zip"):
        await run_alone(settings, operations.backup, OPERATOR, BackupParams(path=str(tmp_path / name)))
    await run_alone(settings, operations.restore, OPERATOR, ArchiveParams(path=older.path))
    (row,) = await run_alone(settings, operations.audit, OPERATOR, AuditParams(limit=10, node="", action=""))
    assert "; the audit log had 3 rows, now 0" in row.detail
    assert (await run_alone(settings, operations.verify_audit, OPERATOR, NoParams())).ok
    with pytest.raises(NothingToAcknowledge):
        await run_alone(settings, operations.acknowledge_audit, OPERATOR, NoParams())
    settings.audit_head_path.unlink()
    (fault,) = (await run_alone(settings, operations.verify_audit, OPERATOR, NoParams())).faults
    assert "the end of the audit log, after row 2, is not checkable: audit-head is missing" in fault
    await run_alone(settings, operations.acknowledge_audit, OPERATOR, NoParams())
    assert (await run_alone(settings, operations.verify_audit, OPERATOR, NoParams())).ok
