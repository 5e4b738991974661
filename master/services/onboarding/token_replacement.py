"""Giving a node another token: one that was reset in Discord's developer portal, or another bot's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import Conflict
from master.ledger.rows import nodes, tokens
from master.ledger.rows.records import DesiredState, Node, ReadinessKind
from master.security.errors import TokenFormatError
from master.security.tokens import check_token_text
from master.security.vault import TokenVault
from master.services.core.auditing import AuditEntry
from master.services.core.directory import NodeDirectory
from master.services.core.errors import OtherBot, TokenInUse, TokenRefused
from master.services.core.ledger_cache import LedgerCache
from master.services.core.views import TokenView
from master.services.fleet.fleet import Fleet
from master.services.onboarding.identity import BotIdentity, TokenInspector, invite_url
from master.services.onboarding.node_locks import NodeLocks
from master.services.trust.revocation import Revocation
from master.supervision.clock import Clock
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)


class TokenReplacement:
    """Replace the tokens of nodes."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Ledger,
        ledger_cache: LedgerCache,
        vault: TokenVault,
        inspector: TokenInspector,
        directory: NodeDirectory,
        fleet: Fleet,
        supervisor: Supervisor,
        revocation: Revocation,
        locks: NodeLocks,
        clock: Clock,
        master_user_id: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._ledger_cache = ledger_cache
        self._vault = vault
        self._inspector = inspector
        self._directory = directory
        self._fleet = fleet
        self._supervisor = supervisor
        self._revocation = revocation
        self._locks = locks
        self._clock = clock
        self._master_user_id = master_user_id

    async def replace(self, entry: AuditEntry, node: Node, token: Secret[str], *, new_bot: bool) -> TokenView:
        """Seal a token for a node, once Discord has accepted it; a node that should run is started with it.

        Parameters
        ----------
        new_bot
            Whether it may be another bot's token than before.

        Raises
        ------
        TokenRefused, DiscordUnavailable, LedgerError
            Nothing was changed.
        OtherBot
            It is another bot's, which is not wanted.
        """
        bot = await self._identify(node, token)
        async with self._locks.holding(node) as current:
            self._check_bot(current, bot, new_bot=new_bot)
            changed = replace(current, bot_user_id=bot.user_id, updated_at=self._clock.now())
            entry.detail = f"{current.name}: bot {bot.user_id}"
            # To its end also when the caller is cut off: what is committed is in memory, too.
            await asyncio.shield(asyncio.ensure_future(self._commit(entry, changed, token)))
            notes, restarted = await self._start_anew(changed)
        return TokenView(
            node=current.name,
            bot_user_id=str(bot.user_id),
            bot_name=bot.username,
            other_bot=bot.user_id != current.bot_user_id,
            restarted=restarted,
            state=self._fleet.state_of(current.id),
            invite_url=invite_url(bot.user_id),
            notes=notes,
        )

    async def _identify(self, node: Node, token: Secret[str]) -> BotIdentity:
        """Return the token's bot.

        Raises
        ------
        TokenRefused, DiscordUnavailable
        """
        if not node.bot_user_id:
            raise TokenRefused(
                f"{node.name} was registered without a token", hint="what its program needs goes into its ENV_FILE"
            )
        try:
            check_token_text(token.reveal())
        except TokenFormatError as error:
            raise TokenRefused(error.message, hint=error.hint) from error
        return await self._inspector.inspect(token)

    def _check_bot(self, node: Node, bot: BotIdentity, *, new_bot: bool) -> None:
        """Check that the node may have this bot.

        Raises
        ------
        TokenInUse, OtherBot
        """
        holder = self._directory.by_user(bot.user_id)
        if holder is not None and holder.id != node.id:
            raise TokenInUse(
                f"this is the token of the node {holder.name!r}", hint=f"`fleet set-token {holder.name}` sets it there"
            )
        if bot.user_id == self._master_user_id():
            raise TokenInUse("this is the master's own token", hint="MASTER_TOKEN in .env is its place")
        if bot.user_id != node.bot_user_id and not new_bot:
            raise OtherBot(
                f"this is the token of another bot, {bot.username} ({bot.user_id}); {node.name} is {node.bot_user_id}",
                hint="--new-bot gives the node that bot",
            )

    async def _commit(self, entry: AuditEntry, changed: Node, token: Secret[str]) -> None:
        sealed = self._vault.seal(changed.id, token)

        def write(connection: Connection) -> None:
            nodes.change(connection, changed)
            tokens.store(connection, changed.id, sealed, at=changed.updated_at)
            entry.append(connection)

        try:
            await self._ledger.write(write)
        except Conflict as error:
            raise TokenInUse("this bot became another node a moment ago", hint="`fleet status` lists them") from error
        entry.written = True
        self._ledger_cache.keep_token(changed.id, sealed)
        self._directory.update(
            changed.id, lambda known: replace(known, bot_user_id=changed.bot_user_id, updated_at=changed.updated_at)
        )

    async def _start_anew(self, node: Node) -> tuple[tuple[str, ...], bool]:
        """Start a node that should run with its new token; returns what the operator has to know, and whether it was.

        It is stopped and started, not replaced: Discord ended the sessions of the token that was reset, and another bot
        must not resume them.
        """
        if node.readiness is ReadinessKind.PROCESS:
            read_by_itself = f"{node.name} reads its token itself: change it there too (its .env, say), and restart it"
            return (read_by_itself,), False
        if node.desired_state is not DesiredState.RUNNING:
            return (f"it is stopped: `fleet start {node.name}` starts it",), False
        try:
            await self._supervisor.stop(node.id)
            await asyncio.to_thread((self._settings().sessions_dir / node.id).unlink, missing_ok=True)
            current = self._directory.get(node.id)
            if current is None or current.desired_state is not DesiredState.RUNNING:
                return ("it was stopped meanwhile",), False
            await self._revocation.require_licence(node)
            await self._supervisor.start(node.id)
        except FleetError as error:
            log.warning("a node did not start with its new token", extra={"node": node.name, "why": error.message})
            return (f"it did not start: {error.message}" + (f" ({error.hint})" if error.hint else ""),), False
        return (), True
