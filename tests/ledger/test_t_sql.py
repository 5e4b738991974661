"""Every statement that a repository can issue, compiled for SQL Server and read by a T-SQL parser."""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
import sqlglot
from msgspec import structs
from sqlalchemy import ClauseElement, Connection, Engine, create_engine, event
from sqlalchemy.dialects import mssql
from sqlalchemy.pool import StaticPool
from sqlglot import exp

from master.ledger import archive
from master.ledger.rows import (
    announcements,
    applied_writes,
    audit,
    duplications,
    error_events,
    error_groups,
    facts,
    generations,
    giveaways,
    handshake_events,
    inspection,
    licence_events,
    licence_uses,
    licences,
    mail_threads,
    mailboxes,
    mails,
    nodes,
    patch_keys,
    patch_nodes,
    patch_tracking,
    patch_versions,
    patches,
    process_events,
    pulse_snapshots,
    retention,
    server_channels,
    shop_events,
    solution_figures,
    solution_runs,
    solution_versions,
    solutions,
    ticket_permissions,
    tickets,
    tokens,
)
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.audit_head import HeadFile
from master.ledger.rows.mail_records import Mail, MailAction, MailAnswer, Mailbox, MailThread
from master.ledger.rows.records import (
    Announcement,
    AnnouncementPlace,
    ChannelMove,
    ChannelPanel,
    ChannelRepair,
    DesiredState,
    Duplication,
    ErrorEvent,
    ErrorGroup,
    Generation,
    Giveaway,
    GiveawayEntry,
    GiveawayWinner,
    HandshakeEvent,
    Licence,
    LicenceEvent,
    LicenceState,
    Outcome,
    Patch,
    PatchKey,
    PatchNode,
    PatchTrack,
    ProcessRecord,
    PulseSnapshot,
    ShopEvent,
    SolutionRun,
    SolutionState,
    Ticket,
    TicketPermission,
    WantedChannel,
)
from master.ledger.schema.migrations import HEAD_REVISION
from master.ledger.schema.tables import audit_log, metadata
from tests.ledger.test_database import NOW, a_node

REPOSITORIES = (
    announcements,
    applied_writes,
    audit,
    duplications,
    error_events,
    error_groups,
    facts,
    generations,
    giveaways,
    handshake_events,
    inspection,
    licence_events,
    licence_uses,
    licences,
    mail_threads,
    mailboxes,
    mails,
    nodes,
    patch_keys,
    patch_nodes,
    patch_tracking,
    patch_versions,
    patches,
    process_events,
    pulse_snapshots,
    retention,
    server_channels,
    shop_events,
    solution_figures,
    solution_runs,
    solution_versions,
    solutions,
    ticket_permissions,
    tickets,
    tokens,
)


def append_to_the_log(c: Connection, chain: AuditChain) -> None:
    """Append rows, and one after the end of the log was cut off: an alarm comes before it."""
    chain.open(c)
    for detail in ("one", "two", "after the cut"):
        if detail == "after the cut":
            c.execute(audit_log.delete().where(audit_log.c.sequence == 2))
        chain.append(
            c, at=NOW, actor="cli:ada", face="cli", action="stop", node_id="01A", outcome=Outcome.DONE, detail=detail
        )
        chain.mark_committed()
    chain.verify(c)
    chain.standing_alarms(c)
    chain.rebase(c)
    chain.length(c)


def call_announcements(c: Connection) -> None:
    """Call every function about announcements."""
    announcement = Announcement(
        id="A1", at=NOW, due_at=NOW, text="hello", state="scheduled", written_by="cli:ada", changed_at=NOW
    )
    places = [
        AnnouncementPlace(announcement_id="A1", place=name, state="waiting", next_at=NOW, changed_at=NOW)
        for name in ("news", "mail")
    ]
    announcements.insert(c, announcement, places)
    announcements.find(c, "A1")
    announcements.beginning(c, "A")
    announcements.recent(c, limit=5)
    announcements.recent(c, states=("scheduled",), limit=5)
    announcements.count_scheduled(c)
    announcements.due(c, NOW)
    announcements.next_due(c)
    announcements.change(c, "A1", was=("scheduled",), at=NOW, state="sending")
    announcements.places_of(c, ["A1"])
    announcements.places_to_send(c)
    announcements.change_place(c, "A1", "news", was=("waiting",), at=NOW, state="sending", attempts=1)
    announcements.places_left(c)


def call_tickets(c: Connection) -> None:
    """Call every function about tickets."""
    ticket = Ticket(
        id="T1", number=tickets.next_number(c, 5), guild_id=5, node_id="01A", category="support", state="queued",
        author_id=7, opened_at=NOW, last_at=NOW, changed_at=NOW,
    )  # fmt: skip
    tickets.insert(c, ticket)
    tickets.find_by_number(c, 5, 1)
    tickets.in_states(c, ("queued", "opening"))
    tickets.count_live(c, 5, 7, "support")
    tickets.count_since(c, 5, 7, "support", NOW - timedelta(days=1))
    tickets.change(c, "T1", was=("queued",), at=NOW, state="open", channel_id=9)
    tickets.claim(c, "T1", 8, at=NOW)
    tickets.find_by_channel(c, 9)
    tickets.with_channel(c)
    tickets.recent(c, node_id="01A", author_id=7, states=("open",), limit=5)
    tickets.recent(c, limit=5)
    held = TicketPermission(
        id="P1", ticket_id="T1", channel_id=9, subject_id=8, subject_kind="user", permission_set="observer",
        state="asking", asked_by="node:01A", at=NOW, changed_at=NOW,
    )  # fmt: skip
    ticket_permissions.insert(c, held)
    ticket_permissions.change(c, "P1", was=("asking",), at=NOW, state="granted")
    ticket_permissions.of_ticket(c, "T1")
    ticket_permissions.of_ticket(c, "T1", ("granted",))
    ticket_permissions.in_states(c, ("granted",))
    ticket_permissions.recent(c, limit=5)
    ticket_permissions.end_of_ticket(c, "T1", at=NOW, detail="gone")


def call_mailboxes(c: Connection) -> None:
    """Call every function about mailboxes; a ticket T1 is there."""
    mailboxes.insert(c, Mailbox(id="M1", name="inbox", changed_at=NOW))
    mailboxes.find(c, "inbox")
    mailboxes.load_all(c)
    mailboxes.change(c, "M1", at=NOW, uid_next=7, since=NOW, sealed_secret=b"s")
    mail = Mail(
        id="L1", mailbox="inbox", uid_validity=1, uid=2, mail_hash=b"h" * 32, message_id="<a@b>", sender="a@b",
        subject="s", at=NOW, is_trusted=True, content="{}", state="acting", changed_at=NOW,
    )  # fmt: skip
    action = MailAction(mail_id="L1", number=0, rule="r", action="post", plan="{}", state="planned", changed_at=NOW)
    mails.insert(c, mail, [action])
    mails.is_known(c, "inbox", b"h" * 32)
    mails.get(c, "L1")
    mails.beginning_with(c, "L")
    mails.recent(c, limit=5)
    mails.recent(c, mailbox="inbox", states=("acting",), limit=5)
    mails.count_by_state(c)
    mails.change(c, "L1", at=NOW, state="done", content="")
    mails.actions_of(c, ("L1",))
    mails.open_actions(c, limit=5)
    mails.change_action(c, "L1", 0, was=("planned",), at=NOW, state="doing")
    thread = MailThread(
        ticket_id="T1", mailbox="inbox", address="a@b", subject="s", last_message_id="<a@b>", message_ids="[]",
        changed_at=NOW,
    )  # fmt: skip
    mail_threads.insert(c, thread)
    mail_threads.find(c, "T1")
    mail_threads.of_address(c, "inbox", "a@b")
    mail_threads.change(c, "T1", at=NOW, last_message_id="<c@d>")
    mail_threads.count_live(c, "inbox", "a@b", ("open",))
    mail_threads.count_since(c, "inbox", NOW)
    answer = MailAnswer(
        id="A1", ticket_id="T1", at=NOW, text="t", written_by="cli:ada", message_id="<e@f>", state="waiting",
        changed_at=NOW,
    )  # fmt: skip
    mail_threads.insert_answer(c, answer)
    mail_threads.answers_in(c, ("waiting",), limit=5)
    mail_threads.count_answers(c, "T1", NOW)
    mail_threads.change_answer(c, "A1", was=("waiting",), at=NOW, state="sent")


def call_channels(c: Connection) -> None:
    """Call every function about the server's channels, twice where that is another statement."""
    repair = ChannelRepair(
        id="C1", at=NOW, guild_id=5, key="LOG", channel_id=9, drift="gone", wanted="{}", found="{}", state="repairing",
        changed_at=NOW, changed_by="system:selffix",
    )  # fmt: skip
    wanted = WantedChannel(key="LOG", guild_id=5, channel_id=9, seen="{}", changed_at=NOW)
    move = ChannelMove(old_id=9, new_id=10, key="LOG", guild_id=5, at=NOW)
    panel = ChannelPanel(key="rules", channel_id=9, message_id=11, content_hash=b"h" * 32, changed_at=NOW)
    for _ in range(2):
        server_channels.save_wanted(c, wanted)
        server_channels.save_move(c, move)
        server_channels.save_repair(c, repair)
        server_channels.save_panel(c, panel)
    server_channels.all_wanted(c)
    server_channels.all_moves(c)
    server_channels.all_panels(c)
    server_channels.repairs_beginning_with(c, "C")
    server_channels.repairs_between(c, "C", "D", limit=5)
    server_channels.repairs_in_states(c, server_channels.UNFINISHED)
    server_channels.recent_repairs(c, limit=5)
    server_channels.recent_repairs(c, key="LOG", culprit_id=7, since=NOW, limit=5)
    server_channels.newest_of_each(c)
    server_channels.count_repaired(c, NOW)
    server_channels.forget_wanted(c, "LOG")
    server_channels.forget_panel(c, "rules")


def call_every_function_of_giveaways(c: Connection) -> None:
    giveaway = Giveaway(
        id="W1", guild_id=1, channel_id=2, prize="p", winners=1, started_by=7, starts_at=NOW, ends_at=NOW, state="open",
        seed_hash=b"h" * 32, sealed_seed=b"s", changed_at=NOW, changed_by="cli:ada",
    )  # fmt: skip
    giveaways.insert(c, giveaway)
    giveaways.get(c, "W1")
    for guild_id in (0, 1):
        giveaways.beginning_with(c, "W", guild_id=guild_id)
        giveaways.recent(c, guild_id=guild_id, limit=5)
    giveaways.count_open(c, 1)
    giveaways.unfinished(c, NOW)
    giveaways.add_entries(c, [GiveawayEntry(giveaway_id="W1", user_id=7, at=NOW)])
    giveaways.entered(c, "W1", [7, 8])
    giveaways.count_entries(c, "W1")
    giveaways.entries_of(c, "W1")
    giveaways.remove_entries(c, "W1", [7, 8])
    giveaways.change(c, "W1", ["open"], state="drawn", changed_at=NOW)
    giveaways.add_draw(c, "W1", 0, at=NOW, by="cli:ada")
    winner = GiveawayWinner(giveaway_id="W1", draw=0, place=0, user_id=7, state="drawn", changed_at=NOW)
    giveaways.add_winners(c, [winner])
    giveaways.winners_of(c, "W1")
    giveaways.change_winner(c, winner, state="told", claim_until=NOW)
    giveaways.next_claim_end(c)


def call_every_function(c: Connection) -> None:
    """Call every function of every repository, including each branch with a different statement."""
    nodes.insert(c, a_node())
    nodes.get(c, "01A")
    nodes.list_active(c)
    nodes.find_by_name(c, "Atlas")
    nodes.ids_named(c, "Atlas")
    nodes.names(c)
    nodes.list_provisioning(c)
    nodes.activate(c, "01A", host="", at=NOW)
    nodes.set_desired_state(c, "01A", DesiredState.RUNNING, host="", at=NOW)
    nodes.set_process(c, "01A", 7, 1.5, host="", at=NOW)
    nodes.set_flag(c, "01A", "replayed", host="", at=NOW)
    nodes.clear_flag(c, "01A", host="", at=NOW)
    nodes.raise_key_epoch(c, "01A", at=NOW)
    nodes.change(c, a_node())
    tokens.store(c, "01A", b"sealed", at=NOW)
    tokens.load(c, "01A")
    tokens.load_all(c)
    tokens.delete(c, "01A")
    licence = Licence(
        id="L1", node_id="01A", tier="standard", state=LicenceState.ISSUED, code_hash=b"h" * 32, issued_at=NOW,
        expires_at=None,
    )  # fmt: skip
    licences.insert(c, licence)
    licences.find_by_hash(c, b"h" * 32)
    licences.newest_of_node(c, "01A")
    licences.list_of_origin(c, "mail:01A")
    sold = ShopEvent(
        source="stripe", event_id="evt_1", at=NOW, reference="sub_1", licence_id="L1", outcome="taken", detail=""
    )
    shop_events.put(c, sold)
    shop_events.put(c, structs.replace(sold, outcome="issued"))
    shop_events.find(c, "stripe", "evt_1")
    shop_events.find_issued(c, "shop:stripe:evt_1")
    shop_events.find_licence(c, "stripe", "sub_1")
    shop_events.was_refunded(c, "stripe", "sub_1")
    shop_events.put_link(c, "stripe", "in_1", "sub_1", at=sold.at)
    shop_events.whole_of(c, "stripe", "in_1")
    shop_events.newest_part_of(c, "stripe", "sub_1")
    licences.revoke_of_node(c, "01A")
    licences.is_revoked(c, "01A")
    licences.list_revoked(c)
    licences.own_block(c, "01A")
    licences.get(c, "L1")
    licences.list_beginning(c, "L1")
    licences.list_matching(c)
    licences.list_matching(c, state=LicenceState.ACTIVE, tier="standard", holder_id=7, node_id="01A", limit=3)
    licences.list_of_person(c, 7)
    licences.list_of_node(c, "01A")
    licences.list_ending(c, NOW)
    licences.first_end_after(c, NOW)
    licences.list_told_nothing(c, "system:master", NOW)
    licences.list_ended_early(c, "system:master", NOW)
    licences.count(c)
    licences.change(c, licence, structs.replace(licence, state=LicenceState.ACTIVE, expires_at=NOW, holder_id=7))
    licences.change(c, structs.replace(licence, expires_at=NOW, holder_id=7), licence)
    licence_uses.put(c, "L1", "node", "01A", at=NOW)
    licence_uses.put(c, "L1", "node", "01A", at=NOW)
    licence_uses.has(c, "L1", "node", "01A")
    licence_uses.list_of(c, "L1")
    licence_uses.list_people(c)
    licence_uses.count_people(c, "L1")
    licence_uses.count_nodes(c, "L1")
    licence_uses.remove_other_of_node(c, "01A", "L1")
    licence_uses.remove(c, "L1", "node", "01A")
    what = LicenceEvent(id="E1", at=NOW, licence_id="L1", what="issued", actor="cli:ada")
    licence_events.insert(c, what)
    licence_events.list_of(c, "L1")
    licence_events.list_since(c, "transferred", NOW)
    licence_events.count_since(c, "L1", "transferred", NOW)
    call_tickets(c)
    call_announcements(c)
    call_mailboxes(c)
    call_channels(c)
    run = Duplication(id="D1", at=NOW, node_id="01A", source="template 1", requested_by="cli:ada", outcome="running")
    duplications.insert(c, run)
    duplications.source_of(c, "01A")
    duplications.finish_of_node(c, "01A", "done", at=NOW)
    duplications.recent(c)
    refused = HandshakeEvent(id="H1", at=NOW, node_id="01A", message_type="x", outcome="replayed", transport="local")
    handshake_events.insert(c, refused)
    handshake_events.recent(c)
    handshake_events.recent(c, node_id="01A")
    process_events.insert(c, ProcessRecord(id="P1", at=NOW, node_id="01A", kind="spawned", pid=7))
    process_events.recent(c, "01A")
    seen = ErrorEvent(id="E1", at=NOW, node_id="01A", source="event", fingerprint="f", summary="s")
    error_events.record(c, seen)
    error_events.record(c, seen)
    error_events.recent(c)
    error_events.recent(c, node_id="01A")
    error_events.by_node(c, ["f", "g"])
    generations.insert(
        c, Generation(id="G1", kind="node", subject="01A", generation=1, at=NOW, cause="cloned", signature=b"s" * 32)
    )
    generations.get(c, "G1")
    generations.newest(c, "node", "01A")
    generations.of_subject(c, "node", "01A")
    generations.known_subjects(c, "node")
    error_events.sums(c, since=NOW)
    error_events.sums(c, since=NOW, node_id="01A")
    group = ErrorGroup(fingerprint="f", kind="line", title="t", first_at=NOW, last_at=NOW, sample="s")
    error_groups.add(c, group, sets_state=False)
    error_groups.add(c, group, sets_state=True)
    error_groups.set_state(c, "f", "muted", muted_until=NOW, at=NOW, by="cli:ada")
    error_groups.recent(c, limit=10)
    error_groups.some(c, ["f", "g"])
    error_groups.beginning_with(c, "f", limit=2)
    mode = SolutionState(solution_id="missing_module", mode="off", since=NOW, first_at=NOW, content_hash="0" * 16)
    solutions.save(c, mode)
    solutions.save(c, mode)
    solutions.list_all(c)
    repair = SolutionRun(
        id="R1", at=NOW, node_id="01A", solution_id="missing_module", content_hash="0" * 16, seen_in="exit", line="x",
        action="restart", outcome="running",
    )  # fmt: skip
    solution_runs.save(c, repair)
    solution_runs.save(c, structs.replace(repair, outcome="helped", ready_ms=700, finished_at=NOW))
    solution_runs.recent(c)
    solution_runs.recent(c, node_id="01A", solution_id="missing_module", since=NOW)
    solution_runs.unfinished(c)
    solution_runs.find(c, "R")
    solution_runs.last_acts_of_operators(c, NOW)
    for content in ("one", "two", ""):
        solution_versions.add(
            c, id=f"V{content}", solution_id="missing_module", at=NOW, actor="cli:ada", why="", content=content
        )
    solution_versions.find(c, "missing_module", 1)
    solution_versions.list_of(c, "missing_module")
    solution_versions.newest(c)
    solution_figures.figures(c)
    solution_figures.recent(c, "missing_module")
    solution_figures.latest_errors(c, limit=5)
    patch = Patch(
        id="T1", name="ranks", channel="main", version=4, key_id="SHA256:x", author="ada", received_at=NOW,
        received_from="cli:ada", bundle_hash=b"h" * 32, bundle_bytes=9, document="{}", state="received",
        rollout_plan="{}", changed_at=NOW, changed_by="cli:ada",
    )  # fmt: skip
    patches.insert(c, patch)
    patches.update(c, structs.replace(patch, state="rolling"))
    patches.get(c, "T1")
    patches.find_by_hash(c, b"h" * 32)
    patches.recent(c, limit=5)
    patches.in_states(c, patches.UNFINISHED)
    patches.with_nodes_left(c)
    on_node = PatchNode(patch_id="T1", node_id="01A", wave=0, state="waiting", changed_at=NOW)
    patch_nodes.save(c, [on_node])
    patch_nodes.save(c, [structs.replace(on_node, state="ordered")])
    patch_nodes.of_patch(c, "T1")
    patch_nodes.of_node(c, "01A")
    patch_nodes.at_a_glance(c, ["T1"])
    patch_tracking.add_all(c, [])
    patch_tracking.add_all(
        c, [PatchTrack(id="K1", at=NOW, patch_id="T1", node_id="01A", kind="reaction", user_id=7, emoji="x")]
    )
    patch_tracking.of_patch(c, "T1")
    patch_tracking.standing(c, "T1")
    call_every_function_of_giveaways(c)
    pulse_snapshots.insert(
        c,
        PulseSnapshot(id="S1", at=NOW, node_id="01A", state="ready", latency_ms=4, guilds=2, memory_bytes=9),
    )
    pulse_snapshots.recent(c, "01A")
    applied_writes.advance(c, "01S", 1, after=0, at=NOW)
    applied_writes.advance(c, "01S", 2, after=1, at=NOW)
    applied_writes.require(c, "01S", 2)
    applied_writes.last_applied(c, "01S")
    applied_writes.delete_session(c, "01S")
    applied_writes.delete_older_than(c, NOW)
    author = PatchKey(id="SHA256:x", name="ada", kind="ssh-ed25519", public="ssh-ed25519 x", added_at=NOW, added_by="a")
    patch_keys.insert(c, author)
    patch_keys.list_all(c)
    patch_keys.revoke(c, author.id, at=NOW, by="cli:ada", why="")
    patch_keys.deployed(c)
    patch_versions.advance(c, author.id, "main", 1, at=NOW)
    patch_versions.advance(c, author.id, "main", 2, at=NOW)
    patch_versions.highest(c, author.id, "main")
    patch_versions.list_all(c)
    facts.get_or_add(c, "fleet_id", "fleet-x")
    facts.get(c, "fleet_id")
    with tempfile.TemporaryDirectory() as folder:
        append_to_the_log(c, AuditChain(b"k" * 32, HeadFile(Path(folder) / "head", b"k" * 32)))
    AuditChain(b"k" * 32).began_here(c)
    audit.search(c)
    audit.search(c, node_ids=["01A", "01B"], action="stop")
    inspection.count_rows(c)
    inspection.count_rows(c, 5)
    inspection.find_faults(c)
    for name in retention.PRUNABLE:
        retention.prune(c, name, NOW + timedelta(days=400))
    for table in metadata.sorted_tables:
        list(archive._rows(c, table, HEAD_REVISION))
    nodes.mark_removed(c, "01A", host="", at=NOW)


def functions_of(module: ModuleType) -> Iterator[tuple[str, CodeType]]:
    """Return every function and method of a module that takes a connection."""
    owners = [module, *(found for _, found in inspect.getmembers(module, inspect.isclass))]
    for owner in owners:
        if getattr(owner, "__module__", module.__name__) != module.__name__:
            continue
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if function.__module__ == module.__name__ and "connection" in inspect.signature(function).parameters:
                yield f"{module.__name__.rpartition('.')[2]}.{name}", function.__code__


@pytest.fixture(scope="module")
def issued() -> tuple[list[ClauseElement], set[CodeType]]:
    """Return the statements, and the functions that issued them."""
    engine: Engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    statements: list[ClauseElement] = []
    called: set[CodeType] = set()

    def note(_connection: Any, statement: Any, *_: Any) -> None:
        statements.append(statement)

    def profile(frame: FrameType, kind: str, _argument: Any) -> None:
        if kind == "call":
            called.add(frame.f_code)

    with engine.begin() as connection:
        event.listen(connection, "before_execute", note)
        sys.setprofile(profile)
        try:
            call_every_function(connection)
        finally:
            sys.setprofile(None)
    return statements, called


def test_every_function_of_every_repository_was_called(issued: tuple[list[ClauseElement], set[CodeType]]) -> None:
    _, called = issued
    missed = [name for module in REPOSITORIES for name, code in functions_of(module) if code not in called]
    assert missed == []


def for_sql_server(statement: ClauseElement) -> str:
    make: Callable[..., Any] = mssql.dialect
    dialect = make(deprecate_large_types=True)
    return str(statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))


REFUSED = re.compile(
    r"\bMERGE\b|\bWAITFOR\b|\bLIMIT\b|\bRETURNING\b|UPDLOCK|READPAST|HOLDLOCK|DATETIMEOFFSET|\bPRAGMA\b|\|\|"
)
"""Syntax that some T-SQL server refuses or silently ignores (SQL-SERVER-FACTS), or that only SQLite has."""


def test_every_statement_is_t_sql_that_every_server_takes(issued: tuple[list[ClauseElement], set[CodeType]]) -> None:
    statements, _ = issued
    checked = set()
    for statement in statements:
        if "PRAGMA" in str(statement):
            continue  # for SQLite only: inspection.find_faults checks the dialect first
        rendered = for_sql_server(statement)
        assert not REFUSED.search(rendered), rendered
        parsed = sqlglot.parse_one(re.sub(r":\w+", "?", rendered), dialect="tsql")
        assert isinstance(parsed, exp.Select | exp.Insert | exp.Update | exp.Delete), rendered
        checked.add(rendered)
    assert len(checked) > 60


def test_nothing_is_written_without_a_condition(issued: tuple[list[ClauseElement], set[CodeType]]) -> None:
    for statement in issued[0]:
        parsed = sqlglot.parse_one(re.sub(r":\w+", "?", for_sql_server(statement)), dialect="tsql")
        if isinstance(parsed, exp.Update | exp.Delete):
            assert parsed.args.get("where") is not None, parsed.sql()
