"""The checks of ``fleet doctor``; they are read-only."""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec import structs

from handshake.redaction import Secret
from master.bus import EventBus
from master.configuration.loading import ConfigError, load_settings, state_dir_of
from master.configuration.settings import ANY_DRIVER, Settings
from master.errors import ExitCode, FleetError
from master.services.core.findings import Finding
from master.services.core.views import MasterStatus
from master.services.onboarding.identity import Lookup
from master.supervision.clock import SystemClock
from master.supervision.merging import KSM, PageMerging

MIN_FREE_BYTES = 500 * 2**20
MIN_OPEN_FILES = 1024


Ping = Callable[[Path], MasterStatus]
"""Asks the master of a state folder for its status; raises ``FleetError`` if none answers."""


async def diagnose(
    home: Path,
    environment: Mapping[str, str],
    *,
    ping: Ping,
    lookup_of: Callable[[Settings, Secret[str]], Lookup] | None,
) -> list[Finding]:
    """Run all checks.

    Parameters
    ----------
    ping
        Queries a running master.
    lookup_of
        Returns what asks Discord with a token; None to skip Discord.
    """
    from master.services.upkeep.permissions_check import check_isolation, check_permissions, check_user

    findings = [_python(), _sqlite(), _pidfd(), _open_files(), _disk(home), check_user()]
    state_dir = state_dir_of(home, environment)
    findings.append(_state_folder(state_dir))
    settings: Settings | None = None
    try:
        settings = load_settings(home, environment)
        findings.append(Finding("config", "ok", str(home / "config.py")))
    except ConfigError as error:
        findings.append(Finding("config", "fail", error.message, error.hint))
    findings += check_permissions(home, state_dir, settings.identity.bots_base_path if settings else None)
    status, found = _master(state_dir, ping)
    findings += found
    if settings is not None:
        findings += [_bots_folder(settings), _template(settings), *_driver(settings), *_database(settings)]
        findings += [
            *_spool(settings),
            _merging(settings),
            check_isolation(settings, status.isolation if status else ""),
            *await _node_names(settings),
        ]
        findings += await _discord(settings, lookup_of)
    return [structs.replace(finding, fix=_here(finding.fix)) for finding in findings]


def _here(fix: str) -> str:
    """Return a hint without the advice to run what is running."""
    parts = (part for part in fix.split("; ") if not re.fullmatch(r"`fleet doctor` (looks closer|shows it)", part))
    return "; ".join(parts)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info < (3, 35):
        return Finding("sqlite", "fail", sqlite3.sqlite_version, "install SQLite 3.35 or later")
    return Finding("sqlite", "ok", sqlite3.sqlite_version)


def _pidfd() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding("pidfd", "fail", str(error), "needs Linux 5.3 or later, and a sandbox that allows pidfd_open")
    return Finding("pidfd", "ok", "exits are events, not polls")


def _open_files() -> Finding:
    # The master raises its soft limit by itself.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MIN_OPEN_FILES:
        return Finding(
            "open files", "warn", f"hard limit {hard}", f"ulimit -Hn {MIN_OPEN_FILES * 4} as root, before `fleet up`"
        )
    return Finding("open files", "ok", "no limit" if hard == resource.RLIM_INFINITY else f"hard limit {hard}")


def _disk(home: Path) -> Finding:
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    shown = f"{free / 2**30:.1f} GB free"
    if free < MIN_FREE_BYTES:
        return Finding("disk", "warn", shown, "free some space: logs and the ledger need room")
    return Finding("disk", "ok", shown)


def _state_folder(folder: Path) -> Finding:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return _state_folder_to_be(folder)
    except OSError as error:
        return Finding("state folder", "fail", f"{folder} cannot be used: {error.strerror}", "check STATE_DIR")
    if not stat.S_ISDIR(status.st_mode):
        return Finding("state folder", "fail", f"{folder} is no folder", "move it away, or change STATE_DIR")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            "state folder", "fail", f"{folder} cannot be written", f"chown it to the user of the master: {folder}"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        return Finding("state folder", "warn", f"others can look into {folder}", f"chmod 700 {folder}")
    return Finding("state folder", "ok", str(folder))


def _state_folder_to_be(folder: Path) -> Finding:
    """Report whether a folder that is not there can be made."""
    above = next(path for path in folder.parents if path.exists())
    if not above.is_dir():
        return Finding("state folder", "fail", f"{folder} cannot be made: {above} is no folder", "change STATE_DIR")
    # As root, too, a folder of the kernel's takes none: access(2) tells of a read-only file system alone.
    if not os.access(above, os.W_OK | os.X_OK) or os.statvfs(above).f_blocks == 0:
        fix = f"as root: install -d -m 700 -o {os.geteuid()} {shlex.quote(str(folder))}; or change STATE_DIR"
        return Finding("state folder", "fail", f"{folder} cannot be made: {above} takes none", fix)
    return Finding("state folder", "ok", f"{folder} is created by the first `fleet up`")


def _master(state_dir: Path, ping: Ping) -> tuple[MasterStatus | None, list[Finding]]:
    try:
        status = ping(state_dir)
    except FleetError as error:
        if error.exit_code is not ExitCode.NO_MASTER:
            return None, [Finding("master", "fail", error.message, error.hint)]
        left = (state_dir / "control.sock").exists()
        return None, [Finding("master", "warn" if left else "ok", error.message, error.hint)]
    verdict: Literal["ok", "warn"] = "warn" if status.discord.startswith("refused") else "ok"
    found = [Finding("master", verdict, f"running as {status.pid}, discord {status.discord}")]
    if status.commands:
        fix = "it is tried again every few minutes; the lines about Discord below say what is in the way"
        found.append(Finding("master's commands", "fail", f"not registered: {status.commands}", fix))
    found += [Finding("master's trouble", "fail", trouble) for trouble in status.troubles]
    if status.sentry:
        listens = status.sentry.startswith("listening")
        fix = "" if listens else "SENTRY_PORT of HEALING names another port; `ss -ltnp` shows who has it"
        found.append(Finding("sentry intake", "ok" if listens else "fail", status.sentry, fix))
    return status, found


def _bots_folder(settings: Settings) -> Finding:
    base = settings.identity.bots_base_path
    if not base.exists():
        return Finding("bots", "ok", f"{base} is created with the first node")
    if not os.access(base, os.W_OK):
        return Finding("bots", "fail", f"{base} cannot be written", "chown it to the user of the master")
    return Finding("bots", "ok", f"{sum(entry.is_dir() for entry in base.iterdir())} folders in {base}")


def _template(settings: Settings) -> Finding:
    from master.services.onboarding.folders import check_source

    return _try(
        "template",
        lambda: (
            f"{len(check_source(settings.identity.template_path, 'bot.py'))} files in {settings.identity.template_path}"
        ),
    )


def _database(settings: Settings) -> list[Finding]:
    """Report on the ledger, and whether it was made with this MASTER_SECRET."""
    from sqlalchemy.exc import SQLAlchemyError

    from master.ledger.engine import explain, make_engine, parse_url, prepare_file
    from master.ledger.errors import LedgerError
    from master.ledger.schema.migrations import HEAD_REVISION, current_revision
    from master.services.core.secret_check import foreign_secret

    foreign: list[Finding] = []

    def look() -> str:
        url = parse_url(settings.database)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            return f"{url.database} is created by the first `fleet up`"
        prepare_file(url)
        engine = make_engine(url, settings.database, read_only=True)
        try:
            revision = current_revision(engine)
            if revision == HEAD_REVISION:
                with engine.connect() as connection:
                    found = foreign_secret(connection, settings.identity)
                foreign.extend([] if found is None else [Finding("secret", "fail", found.message, found.hint)])
        except SQLAlchemyError as error:
            raise explain(error) from error
        finally:
            engine.dispose()
        if revision not in (None, HEAD_REVISION):
            raise LedgerError(f"schema {revision}, this program has {HEAD_REVISION}", hint="`fleet up` migrates it")
        return f"{url.get_backend_name()}, schema {revision or 'not created yet'}"

    return [_try("ledger", look), *foreign]


def _spool(settings: Settings) -> list[Finding]:
    """Report writes that wait on disk; empty if there are none."""
    from master.ledger.writer.spool import Spool

    spool = Spool(settings.spool_dir, "")
    refused = settings.spool_dir / "refused.jsonl"
    found = []
    try:
        records = sum(1 for name in spool.sessions() for _ in spool.records_of(name))
        lines = len(refused.read_bytes().splitlines()) if refused.exists() else 0
    except OSError as error:
        return [Finding("spool", "fail", f"cannot be read: {error}", f"check {settings.spool_dir}")]
    if records:
        problem = f"{records} writes wait on disk for the database"
        found.append(Finding("spool", "warn", problem, "they are applied automatically when it is back"))
    for path in settings.spool_dir.glob("*.damaged"):
        found.append(Finding("spool", "warn", f"{path} was damaged", "some of what waited in it is lost; remove it"))
    if lines:
        problem = f"{lines} waiting writes were refused by the database"
        found.append(Finding("spool", "warn", problem, f"read {refused}, and remove it"))
    return found


async def _node_names(settings: Settings) -> list[Finding]:
    """Report names in the config that no node has."""
    from master.services.upkeep.node_names import unknown_names_in

    found = await unknown_names_in(settings)
    return [Finding("node names", "warn", f"{problem.key}: {problem.problem}", problem.fix) for problem in found]


def _merging(settings: Settings) -> Finding:
    """Report whether the kernel merges equal pages of nodes (KSM)."""
    what = "memory merging"
    if not settings.supervision.merge_memory:
        return Finding(what, "ok", "off (MERGE_MEMORY)")
    if not KSM.exists():
        return Finding(what, "ok", "not on this kernel: it has no KSM")
    merging = PageMerging(settings.merging_path, enabled=True, bus=EventBus(), clock=SystemClock())
    saved = f"saves {(merging.saved_bytes() or 0) / 2**20:.0f} MB"
    if (KSM / "run").read_text().strip() == "1" and not settings.merging_path.exists():
        return Finding(what, "ok", f"on all the time, {saved}")
    if merging.can_control:
        return Finding(what, "ok", f"the master turns it on when nodes have started, {saved}")
    from master.services.upkeep.permissions_check import name_of_user

    user = name_of_user(os.geteuid())
    return Finding(
        what,
        "warn",
        f"off: {user} may not turn it on, and each node takes twice the memory",
        f"printf 'z {KSM}/%s 0644 {user} root -\\n' run pages_to_scan | sudo tee /etc/tmpfiles.d/fleetmaster.conf; "
        "sudo systemd-tmpfiles --create fleetmaster.conf",
    )


def _driver(settings: Settings) -> list[Finding]:
    """Report the ODBC driver for SQL Server; empty for a ledger on SQLite."""
    from master.ledger.engine import parse_url
    from master.ledger.odbc import check_driver, installed_driver

    if not settings.database.url.reveal().startswith("mssql"):
        return []
    named = _driver_named(parse_url(settings.database).query)
    return [_try("odbc driver", lambda: check_driver(named) if named else installed_driver().name)]


def _driver_named(query: Mapping[str, object]) -> str:
    """Return the driver that the config names; empty for automatic choice."""
    found = re.search(r"DRIVER=\{([^}]+)\}", str(query.get("odbc_connect", "")))
    return "" if found is None or found[1] == ANY_DRIVER else found[1]


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", look())
    except FleetError as error:
        return Finding(what, "fail", error.message, error.hint)


async def _discord(settings: Settings, lookup_of: Callable[[Settings, Secret[str]], Lookup] | None) -> list[Finding]:
    from master.services.upkeep.discord_findings import ask_discord

    token = settings.identity.master_token
    if token is None:
        return [Finding("discord", "warn", "no MASTER_TOKEN: no slash commands", "put it into .env")]
    if lookup_of is None:
        return [Finding("discord", "ok", "not asked (--offline)")]
    return await ask_discord(settings, token, lookup_of(settings, token))
