"""The ledger: pulses end to end, group commits against single commits, and a table of five million events.

Pulses go through all of a master's processing: decoding, signature, replay guard, licence state, supervision, with the
ledger open. The peer of a pulse is PyJWT's decoder alone; the peer of group commits is a commit for each row with the
same durability. Queries are those of the commands, on a ledger with a year of events.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import psutil
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from benchmarks.reporting import MB, Outcome, parser, show
from handshake.messages import Heartbeat, VerificationRequest
from handshake.redaction import Secret
from handshake.signing import MASTER, Signer
from master.bot.token_inspector import DiscordTokenInspector
from master.bus import EventBus
from master.configuration.settings import ChannelSettings, DatabaseSettings, IdentitySettings, Settings
from master.ledger.database import Ledger
from master.ledger.identifiers import first_ulid_of, ulid_of
from master.ledger.rows import (
    audit,
    duplications,
    error_events,
    handshake_events,
    inspection,
    licences,
    nodes,
    process_events,
    pulse_snapshots,
    tokens,
)
from master.ledger.rows.records import HandshakeEvent, Node
from master.ledger.rows.retention import prune
from master.ledger.schema.migrations import migrate
from master.ledger.writer.entries import HandshakeOutcome
from master.security.derivation import check_master_secret, new_master_secret
from master.services.container import DiscordView, Services, build_services
from master.services.core.auditing import audit_chain_of
from master.services.core.keys import master_secret_of
from master.services.trust.verification import Source
from master.services.upkeep.ledger_admin import COUNTED
from master.supervision.clock import SystemClock
from master.supervision.spawner import PlainSpawner

NODES, PULSES_EACH = 100, 450
ROWS = 20_000
COMMITS = 400
PULSES_BOUND, GROUPED_BOUND, QUERY_BOUND_MS, MEMORY_BOUND_MB = 20_000, 5.0, 50.0, 64.0


@dataclass(frozen=True, slots=True)
class RunningMaster:
    """A master's services on a ledger with nodes, each with a placeholder process."""

    settings: Settings
    services: Services
    codes: dict[str, str]


def settings_in(folder: Path) -> Settings:
    """Return the settings of a fleet in a folder."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    return Settings(
        home=folder,
        state_dir=state,
        database=DatabaseSettings(url=Secret(f"sqlite:///{state / 'ledger.db'}")),
        identity=IdentitySettings(
            bots_base_path=folder / "bots",
            template_path=folder,
            guild_id=0,
            master_secret=Secret(check_master_secret(new_master_secret())),
        ),
        channels=ChannelSettings(verify=1),
    )


@asynccontextmanager
async def running_master(folder: Path, count: int) -> AsyncIterator[RunningMaster]:
    """Start a master's services with ``count`` running nodes."""
    settings = settings_in(folder)
    chain = audit_chain_of(settings)
    bus = EventBus()
    ledger = await Ledger.open(settings.database, chain=chain, spool_dir=settings.spool_dir, bus=bus)
    services = build_services(
        settings,
        ledger,
        bus=bus,
        spawner=PlainSpawner(),
        inspector=DiscordTokenInspector(None),
        discord=DiscordView(user_id=lambda: 1, state=lambda: "off"),
        clock=SystemClock(),
    )
    processes: list[subprocess.Popen[bytes]] = []
    codes = await ledger.write(lambda connection: _add_nodes(connection, services, count))
    await services.opening.load()
    supervising = asyncio.create_task(services.supervisor.run())
    try:
        for node in services.directory:
            home = folder / "bots" / node.folder
            home.mkdir(parents=True)
            processes.append(subprocess.Popen(["sleep", "3600"], cwd=home))  # noqa: ASYNC220 - before the measurement
            if not services.supervisor.adopt(node.id, processes[-1].pid, _start_of(processes[-1].pid)):
                raise SystemExit(f"{node.name} could not be adopted")
        yield RunningMaster(settings, services, codes)
    finally:
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        for process in processes:
            process.kill()
            process.wait()
        await ledger.close()


def _start_of(pid: int) -> float:
    """Return a process's start time in seconds since boot (proc(5), field 22 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _add_nodes(connection: Connection, services: Services, count: int) -> dict[str, str]:
    now, codes = datetime.now(UTC), {}
    for number in range(count):
        node = Node(
            id=ulid_of(now), name=f"node-{number}", folder=f"node-{number}", bot_user_id=10**17 + number,
            created_at=now, updated_at=now,
        )  # fmt: skip
        nodes.insert(connection, node)
        tokens.store(connection, node.id, b"sealed", at=now)
        issued = services.licensing.issue(node.id)
        licences.insert(connection, issued.record)
        codes[node.id] = issued.code.reveal()
    return codes


async def pulses(folder: Path, outcome: Outcome) -> None:
    """Measure signed pulses per CPU-second, end to end, with the ledger in its normal mode."""
    async with running_master(folder, NODES) as master:
        services, secret = master.services, master_secret_of(master.settings.identity)
        signers = {node.id: Signer(secret.derive_node_key(node.id, 1), from_master=False, clock=time.time,
                                   session=services.sessions.offered(node.id))
                   for node in services.directory}  # fmt: skip
        sources = {node.id: Source(transport="local", pid=services.supervisor.pid_of(node.id))
                   for node in services.directory}  # fmt: skip
        for node in services.directory:
            request = VerificationRequest(
                licence=master.codes[node.id], version="1", pid=sources[node.id].pid or 0, pid_started_at=0.0,
                bot_user_id=node.bot_user_id, started_at=time.time(),
            )  # fmt: skip
            await services.reception.receive(signers[node.id].sign(request), sources[node.id])
            if not services.verification.is_verified(node.id):
                raise SystemExit(f"{node.name} is not verified")
        pulse = Heartbeat(uptime_s=1234.5, latency_ms=41.2, guilds=12)
        texts = [(signer.sign(pulse), sources[node_id]) for _ in range(PULSES_EACH)
                 for node_id, signer in signers.items()]  # fmt: skip
        # The first pulses fill caches, as in the first minute of a master.
        await _take(services, texts[: NODES * 10])
        rss = psutil.Process().memory_info().rss
        rate = await _take(services, texts[NODES * 10 :])
        grown_mb = (psutil.Process().memory_info().rss - rss) / MB
        if any(view.guilds != 12 for view in services.supervisor.snapshot()):
            raise SystemExit("a pulse did not arrive")
        peer = _peer_rate(secrets.token_bytes(32))
    outcome.rows["pulses, end to end"] = {"a second": round(rate), "memory grown, MB": round(grown_mb, 1)}
    outcome.rows["PyJWT, decode alone"] = {"a second": round(peer)}
    outcome.ratio("pulses to PyJWT", rate, peer)
    outcome.at_least("pulses_per_s", round(rate), PULSES_BOUND)
    outcome.at_most("pulses_memory_mb", round(grown_mb, 1), MEMORY_BOUND_MB)


async def _take(services: Services, texts: list[tuple[str, Source]]) -> float:
    """Return pulses a second of this process's CPU time, all of its threads counted."""
    receive, began = services.reception.receive, time.process_time()
    for text, source in texts:
        await receive(text, source)
    return len(texts) / (time.process_time() - began)


def _peer_rate(key: bytes) -> float:
    now = int(time.time())
    claims = {"iss": "n", "aud": MASTER, "iat": now, "exp": now + 60, "jti": "j" * 16, "seq": 1,
              "body": {"uptime_s": 1234.5, "latency_ms": 41.2, "guilds": 12}}  # fmt: skip
    text, began = jwt.encode(claims, key, algorithm="HS256"), time.process_time()
    for _ in range(5_000):
        jwt.decode(text, key, algorithms=["HS256"], audience=MASTER)
    return 5_000 / (time.process_time() - began)


def _event(number: int, node_id: str | None = None) -> HandshakeEvent:
    now = datetime.now(UTC)
    return HandshakeEvent(
        id=ulid_of(now), at=now, node_id=node_id, message_type="heartbeat", outcome="replayed", transport="local",
        detail=f"number {number}",
    )  # fmt: skip


async def grouped(folder: Path, outcome: Outcome) -> None:
    """Measure rows per second of wall time: with group commits, and with a commit for each row."""
    async with running_master(folder, 1) as master:
        ledger = master.services.ledger
        began = time.monotonic()
        for number in range(ROWS):
            ledger.write_soon(HandshakeOutcome(event=_event(number)))
            if number % 1_000 == 999:
                await ledger.flush()
        await ledger.flush()
        together = ROWS / (time.monotonic() - began)
        groups = ledger.statistics.groups
        began = time.monotonic()
        for number in range(COMMITS):
            await ledger.write_durable(HandshakeOutcome(event=_event(number)))
        alone = COMMITS / (time.monotonic() - began)
    outcome.rows["rows, grouped"] = {"a second": round(together), "transactions": groups}
    outcome.rows["rows, a commit each"] = {"a second": round(alone), "transactions": COMMITS}
    outcome.ratio("grouped to single", together, alone)
    outcome.at_least("grouped_times_single", round(together / alone, 1), GROUPED_BOUND)


def fill(path: Path, events: int) -> str:
    """Create a ledger with a year of events; returns the id of a node with many of them."""
    migrate(make_url(f"sqlite:///{path}"))
    begin = datetime.now(UTC) - timedelta(days=365)
    step = timedelta(days=365) / events
    names = [ulid_of(begin)[:-2] + f"{number:02}" for number in range(40)]
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        ledger.execute("PRAGMA journal_mode=OFF")
        ledger.execute("PRAGMA synchronous=OFF")
        stamp = "2026-01-01 00:00:00.000000"
        ledger.executemany(
            "INSERT INTO nodes (id, name, name_key, folder, entry, bot_user_id, desired_state, lifecycle, readiness, "
            "key_epoch, template_version, tags, priority, flag_reason, created_at, updated_at) VALUES "
            "(?, ?, ?, ?, 'bot.py', ?, 'running', 'active', 'handshake', 1, '', '', 1, '', ?, ?)",
            ((name, name, name, name, number, stamp, stamp) for number, name in enumerate(names)),
        )

        def rows() -> Any:
            for number in range(events):
                at = begin + step * number
                yield (
                    f"{first_ulid_of(at)[:10]}{number:016d}", f"{at:%Y-%m-%d %H:%M:%S.%f}", names[number % 40],
                    "heartbeat", "accepted", "local", 10**17 + number, "",
                )  # fmt: skip

        ledger.executemany("INSERT INTO handshake_events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows())
        few = max(events // 10, 1)
        for table, values in (
            ("process_events", "?, ?, ?, 'exited', 1, 0, NULL, 'exited with code 0'"),
            ("pulse_snapshots", "?, ?, ?, 'ready', 40, 3, 9"),
            ("error_events", "?, ?, ?2, ?3, 'task', substr(?1, 11), 's', 'd', 1"),
        ):
            ledger.executemany(
                f"INSERT INTO {table} VALUES ({values})",  # noqa: S608 - our own table names
                (
                    (f"{first_ulid_of(at)[:10]}{number:016d}", f"{at:%Y-%m-%d %H:%M:%S.%f}", names[number % 40])
                    for number in range(few)
                    for at in (begin + step * 10 * number,)
                ),
            )
        ledger.commit()
        ledger.execute("PRAGMA journal_mode=WAL")
    return names[7]


def commands(node_id: str) -> dict[str, Callable[[Connection], Any]]:
    """Return the queries behind the commands."""
    old = datetime.now(UTC) - timedelta(days=360)
    return {
        "nodes at the start": lambda c: (nodes.list_active(c), tokens.load_all(c)),
        "handshake events, all": handshake_events.recent,
        "handshake events of a node": lambda c: handshake_events.recent(c, node_id=node_id),
        "errors, all": error_events.recent,
        "errors of a node": lambda c: error_events.recent(c, node_id=node_id),
        "process events of a node": lambda c: process_events.recent(c, node_id),
        "pulse snapshots of a node": lambda c: pulse_snapshots.recent(c, node_id),
        "audit show": audit.search,
        "audit show, of a node": lambda c: audit.search(c, node_id=node_id),
        "duplications": duplications.recent,
        "licence by its code": lambda c: licences.find_by_hash(c, b"h" * 32),
        "fleet ledger status": lambda c: inspection.count_rows(c, COUNTED),
        "a batch of pruning": lambda c: prune(c, "handshake_events", old),
        "a batch of pruning errors": lambda c: prune(c, "error_events", old),
    }


async def queries(folder: Path, events: int, outcome: Outcome) -> None:
    """Measure each command's query on a large ledger; the slowest of five counts."""
    path = folder / "large.db"
    node_id = await asyncio.to_thread(fill, path, events)
    ledger = await Ledger.open(DatabaseSettings(url=Secret(f"sqlite:///{path}")))
    slowest = 0.0
    rss = psutil.Process().memory_info().rss
    try:
        for name, query in commands(node_id).items():
            taken = []
            for _ in range(5):
                began = time.monotonic()
                await (ledger.write(query) if "pruning" in name else ledger.read(query))
                taken.append((time.monotonic() - began) * 1000)
            outcome.rows[name] = {"median, ms": round(sorted(taken)[2], 1), "worst, ms": round(max(taken), 1)}
            slowest = max(slowest, max(taken))
    finally:
        await ledger.close()
    grown = (psutil.Process().memory_info().rss - rss) / MB
    outcome.rows["the ledger"] = {"events": events, "MB": round(path.stat().st_size / MB)}
    outcome.at_most("slowest_query_ms", round(slowest, 1), QUERY_BOUND_MS)
    outcome.at_most("queries_memory_mb", round(grown, 1), MEMORY_BOUND_MB)


async def measure(options: argparse.Namespace) -> Outcome:
    """Measure all three."""
    outcome = Outcome("the ledger, on SQLite")
    root = Path(tempfile.mkdtemp(prefix="fleet-ledger-", dir=options.folder))
    try:
        for part in (pulses, grouped):
            folder = root / part.__name__
            folder.mkdir()
            await part(folder, outcome)
        if options.events:
            await queries(root, options.events, outcome)
    finally:
        await asyncio.to_thread(shutil.rmtree, root)
    return outcome


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--events", type=int, default=5_000_000, help="in the large ledger; 0 skips it")
    options.add_argument("--folder", type=Path, help="where the ledgers are created; 2 GB for five million events")
    chosen = options.parse_args()
    show(asyncio.run(measure(chosen)), as_json=chosen.json)


if __name__ == "__main__":
    main()
