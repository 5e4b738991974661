"""Parameters of operations: one Struct each, decoded strictly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from handshake.manifest import DEFAULT_TOKEN_VARIABLE


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class CogParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cog of the master."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class EventsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the event stream."""

    stderr: bool = False
    """Include the lines that nodes write to standard error; they are read only on request."""


class StatusParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the status."""

    strays: bool = False
    """Scan the process table for strays too (takes milliseconds)."""


class NamesParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nodes by name, or all."""

    names: tuple[str, ...] = ()
    all: bool = False


class RollParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rolling restart."""

    names: tuple[str, ...] = ()
    all: bool = False
    width: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    """Nodes replaced at the same time."""


class NodeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node."""

    name: str


class LineageRestoreParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which generation of a node."""

    name: str
    generation: Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class WhyParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happened to a node."""

    name: str
    since: Annotated[float, msgspec.Meta(ge=0, le=1e11)] = 0.0
    """Unix time in seconds; 0: a day ago."""


class ErrorsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filter for groups of errors."""

    node: str = ""
    state: Literal["", "new", "known", "regressed", "resolved", "muted"] = ""
    since: Annotated[float, msgspec.Meta(ge=0, le=1e11)] = 0.0
    """Only what was seen since then; Unix time in seconds."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 100


class ErrorParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One group of errors."""

    fingerprint: Annotated[str, msgspec.Meta(max_length=100)]
    """As much of it as no other begins with."""


class ErrorMuteParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One group of errors that is to be silent."""

    fingerprint: Annotated[str, msgspec.Meta(max_length=100)]
    for_s: Annotated[float, msgspec.Meta(ge=0, le=315_360_000)] = 0.0
    """0: for good."""


class AuditParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filter for rows of the audit log."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    node: str = ""
    action: str = ""


class LedgerParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the ledger's rows are counted."""

    exact: bool = False
    """Count every row; reads the whole ledger."""


class BackupParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Target of a backup."""

    path: str = ""
    """Absolute path of a new file; empty: one in the state folder."""
    part_of: str = ""
    """The larger backup that the file becomes a part of, for the audit log."""


class RegisterParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bot to add to the fleet."""

    name: str
    token: str = ""
    no_token: bool = False
    """It is no Discord bot; ``token`` is empty, and Discord is not asked."""
    folder: str = ""
    """An existing folder: its name below BOTS_BASE_PATH, or an absolute path. Empty: cloned from the template."""
    entry: str = "bot.py"
    """The file that starts it; of no importance where ``options`` have a COMMAND."""
    readiness: Literal["handshake", "process", "auto"] = "auto"
    """``auto``: handshake when the folder holds a node of ours, process otherwise."""
    link: bool = False
    """Link its program, which does not use nodekit, to the fleet; only with ``folder``."""
    token_env: str = DEFAULT_TOKEN_VARIABLE
    """The environment variable from which a linked program reads its token."""
    options: dict[str, Any] = {}
    """What is special about it, by the keys of NODES; config.py overrides it."""
    environment: dict[str, str] = {}
    """Variables that are kept in a file of their own (ENV_FILE), readable by its owner only."""
    tier: str = ""
    tags: tuple[str, ...] = ()
    start: bool = True

    def __repr__(self) -> str:
        return f"RegisterParams(name={self.name!r}, folder={self.folder!r}, token=...)"


class DuplicateParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new node."""

    name: str
    token: str
    source: str = ""
    """Name of the node to clone; empty: the template."""
    tier: str = ""
    tags: tuple[str, ...] = ()
    start: bool = True

    def __repr__(self) -> str:
        return f"DuplicateParams(name={self.name!r}, source={self.source!r}, token=...)"


Fate = Literal["keep", "archive", "purge"]
FATES: tuple[Fate, ...] = ("keep", "archive", "purge")


class RemoveParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Nodes to remove, and what becomes of their files."""

    names: tuple[str, ...] = ()
    fate: Fate = "keep"
    """Of the folder and the logs; ``purge`` takes all else that was the node's, too."""
    foreign_folder: bool = False
    """With ``purge``: also a folder that is not below BOTS_BASE_PATH, or that other nodes use."""


class SetTokenParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another token for a node."""

    name: str
    token: str
    new_bot: bool = False
    """Whether it may be another bot's."""

    def __repr__(self) -> str:
        return f"SetTokenParams(name={self.name!r}, token=...)"


class EditParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change of a node; None leaves it as it is."""

    name: str
    entry: str | None = None
    folder: str | None = None
    tags: tuple[str, ...] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    options: dict[str, str | None] = {}
    """By the keys of NODES, as text; None takes one away."""
    restart: bool = False
    """Restart the node if it runs and something takes effect only then."""


class RenameParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another name for a node."""

    name: str
    new_name: str


class ShutdownParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the master stops."""

    stop_nodes: bool = True


class ArchiveParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that ``fleet backup`` made."""

    path: str


class MigrateParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Target of a migration."""

    to: str = ""
    """A revision; empty: the newest."""


Why = Annotated[str, msgspec.Meta(max_length=400)]


class SolutionParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One solution."""

    id: str


class SolutionTestParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A solution to test: one that there is, or a text."""

    id: str = ""
    text: Annotated[str, msgspec.Meta(max_length=65_536)] = ""


class SolutionEnableParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A solution to switch on."""

    id: str
    now: bool = False
    """It acts at once, and does not only detect at first."""
    why: Why = ""


class SolutionChangeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A change of a solution, and why it is made."""

    id: str
    why: Why = ""


class SolutionDraftParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of errors to draft a solution for."""

    fingerprint: str


class SolutionSaveParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text to save under the id that it has."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
    why: Why = ""


class SolutionVersionParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An earlier text of a solution."""

    id: str
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
    why: Why = ""


class PatchKeyAddParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public key of an author."""

    line: Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]
    """As in a ``.pub`` file, authorized_keys or allowed_signers."""
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """Whose it is; empty: as the line says."""


class PatchKeyRevokeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that is not to be trusted any more."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """Its name, its id, or how that begins."""
    why: Why = ""


class RepairsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which repairs are listed."""

    node: str = ""
    solution: str = ""
    since: Annotated[float, msgspec.Meta(ge=0, le=1e11)] = 0.0
    """Unix time in seconds; 0: all that are on record."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 30


class RepairDecideParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's answer to a repair that asks."""

    run: Annotated[str, msgspec.Meta(min_length=1, max_length=26)]
    """The run's id, or how it begins."""
    do: bool


PatchWord = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
"""A patch's id or how it begins, ``ranks 4``, or ``ranks`` for the newest of that name."""


class PatchParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One patch."""

    patch: PatchWord


class PatchesParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many patches are listed."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 30


class PatchReceiveParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle to accept, and to roll out at once if that is wanted."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
    """Absolute; of a file that the master can read."""
    deploy: bool = False
    canary: Annotated[int, msgspec.Meta(ge=0, le=1_000)] | None = None
    soak_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] | None = None
    urgent: bool = False
    nodes: tuple[str, ...] = ()
    """Only these; empty: all that it is for."""


class PatchDeployParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A patch to roll out."""

    patch: PatchWord
    canary: Annotated[int, msgspec.Meta(ge=0, le=1_000)] | None = None
    soak_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] | None = None
    urgent: bool = False
    nodes: tuple[str, ...] = ()
    """Only these; empty: all that it is for."""


class PatchStopParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A roll-out to pause, abort or roll back, and why."""

    patch: PatchWord
    why: Why = ""


_LicenceId = Annotated[str, msgspec.Meta(max_length=40)]
_Snowflake = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]


class LicenceIssueParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new licence."""

    tier: Annotated[str, msgspec.Meta(max_length=40)] = ""
    """Empty: the first one of the config."""
    holder_id: _Snowflake = 0
    """The only person who may redeem it; 0: whoever has the code."""
    days: _Days | None = None
    """None: as the tier says; 0: for ever."""
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""


class LicenceParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One licence."""

    licence: _LicenceId
    """Its id, or how that begins."""


class LicencesParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filter for licences."""

    state: Literal["", "issued", "active", "suspended", "revoked", "expired"] = ""
    tier: Annotated[str, msgspec.Meta(max_length=40)] = ""
    holder_id: _Snowflake = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 100
    offset: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    """How many are left out before."""


class LicenceImportParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of licences."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]
    """Absolute; of a CSV that the master can read."""


class LicenceRedeemParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A licence code."""

    code: Annotated[str, msgspec.Meta(max_length=200)]
    user_id: _Snowflake = 0
    """For whom; 0: for the caller, who is on Discord."""
    guild_id: _Snowflake = 0

    def __repr__(self) -> str:
        return f"LicenceRedeemParams(code=..., user_id={self.user_id})"


class LicenceChangeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A change of a licence."""

    licence: _LicenceId
    why: Annotated[str, msgspec.Meta(max_length=300)] = ""


class LicenceRenewParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A renewal."""

    licence: _LicenceId
    days: _Days | None = None
    """None: as the tier says; 0: for ever."""
    why: Annotated[str, msgspec.Meta(max_length=300)] = ""


class LicenceTransferParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """To whom a licence is passed on."""

    licence: _LicenceId
    user_id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


TicketWord = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
"""A ticket's number (12, #12, ticket-0012), its channel as a mention, or its id."""
TicketPermissionId = Annotated[str, msgspec.Meta(min_length=4, max_length=26)]
"""A permission's id, or how it begins."""


class TicketsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tickets."""

    node: str = ""
    all: bool = False
    """Also those whose channel is gone."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class TicketParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ticket."""

    ticket: TicketWord


class TicketCloseParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ticket, and why it ends."""

    ticket: TicketWord
    reason: Annotated[str, msgspec.Meta(max_length=400)] = ""


class TicketPermissionsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which permissions in tickets."""

    all: bool = False
    """Also those that are over."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class TicketPermissionParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One permission in a ticket."""

    permission: TicketPermissionId


class TicketDecideParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to a node that asks to let somebody into a ticket."""

    permission: TicketPermissionId
    grant: bool


MailboxName = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
"""As in MAILBOXES."""
MailId = Annotated[str, msgspec.Meta(min_length=4, max_length=26)]
"""A mail's id, or how it begins."""


class MailboxParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One mailbox."""

    mailbox: MailboxName


class MailboxPasswordParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a mailbox is opened with: a password, or for XOAUTH2 a client and its refresh token."""

    mailbox: MailboxName
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=6_000)]

    def __repr__(self) -> str:
        return f"MailboxPasswordParams(mailbox={self.mailbox!r}, secret=...)"


class MailsParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which mails."""

    mailbox: Annotated[str, msgspec.Meta(max_length=40)] = ""
    """Empty: of all."""
    failed: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class MailParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One mail."""

    mail: MailId


class MailAnswerParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is answered to the person whose mail opened a ticket."""

    ticket: TicketWord
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]


class MailTicketParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ticket that came by mail."""

    ticket: TicketWord


class ChannelsRepairParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which channels to put right."""

    keys: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=500)] = ()
    """None: all that differ, but for those that are left as they are."""
    asked: Annotated[str, msgspec.Meta(max_length=53)] = ""
    """Those of a question: the first and the last id of its repairs, with a colon."""


class ChannelsLeaveParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which question is answered."""

    asked: Annotated[str, msgspec.Meta(max_length=53)]
    mute_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.0
    """How long nothing is done or asked about these channels; 0: they are left as they are."""


class ChannelsHistoryParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which repairs."""

    key: Annotated[str, msgspec.Meta(max_length=100)] = ""
    by: int | None = None
    """The user whose doing it was."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


class ChannelsUndoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to take back: a repair; or what somebody did to channels lately."""

    repair: Annotated[str, msgspec.Meta(max_length=53)] = ""
    by: int | None = None
    minutes: Annotated[float, msgspec.Meta(gt=0, le=1_440)] = 10.0


class ChannelsCaptureParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which categories to capture."""

    categories: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=50)] = ()
