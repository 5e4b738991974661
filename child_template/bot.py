"""HandshakeBot: the bot that every node begins as. Add what yours does as files in ``cogs/``; this file rarely changes.

Started by a Fleetmaster, it gets its token and its key through an inherited descriptor. Started by hand, it reads
DISCORD_TOKEN from the ``.env`` beside it, and runs unsupervised.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import config
import discord
from discord import app_commands
from discord.ext import commands

from handshake.boot import BootDocument, read_boot
from handshake.errors import HandshakeError, TransportError
from handshake.manifest import NodeManifest, read_manifest
from handshake.messages import Heartbeat
from nodekit.endpoints import apply_endpoints
from nodekit.gateway_session import inherited_session
from nodekit.identify_budget import IdentifyBudgetSpent, inherited_budget
from nodekit.link import NodeFacts, NodeLink
from nodekit.reports import describe_error
from nodekit.resumption import Resumption

log = logging.getLogger("node")

FOLDER = Path(__file__).resolve().parent
CLOSE_TIMEOUT_S = 2.0
EXIT_CONFIGURATION, EXIT_TOKEN, EXIT_INTENTS, EXIT_LICENCE, EXIT_IDENTIFIES, EXIT_UNEXPECTED = 64, 65, 66, 67, 68, 70


class HandshakeBot(commands.Bot):
    """A bot that proves itself to its master, pulses, and reports what goes wrong.

    Parameters
    ----------
    boot, manifest
        Both None when the bot was started by hand.
    """

    def __init__(self, boot: BootDocument | None, manifest: NodeManifest | None) -> None:
        intents = discord.Intents.default()
        intents.members = config.MEMBERS_INTENT
        intents.message_content = config.MESSAGE_CONTENT_INTENT
        super().__init__(
            command_prefix=commands.when_mentioned,
            description=config.DESCRIPTION,
            intents=intents,
            activity=discord.CustomActivity(config.ACTIVITY),
            allowed_mentions=discord.AllowedMentions.none(),
            # A node on a small box keeps no history that nobody asks for.
            max_messages=None,
            chunk_guilds_at_startup=False,
            # READY is believed once guilds stop coming for this long; the library would wait two seconds.
            guild_ready_timeout=0.1,
            member_cache_flags=discord.MemberCacheFlags.none(),
            # Shows each gateway payload to dispatch(), which keeps what a successor needs to resume.
            enable_debug_events=True,
        )
        self.started_at = time.time()
        self.version = (FOLDER / "VERSION").read_text("utf-8").strip()
        self.failed_cogs: list[str] = []
        self.exit_code = 0
        self.link: NodeLink | None = None
        self._boot = boot
        self._manifest = manifest
        session = inherited_session(os.environ)
        self._resumption = None if session is None else Resumption(session)
        self._identifies = inherited_budget(os.environ)
        self._connected = asyncio.Event()
        self._linking: asyncio.Task[None] | None = None
        self._reporting: set[asyncio.Task[None]] = set()
        self.tree.error(self._on_command_error)

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Tell listeners of an event, unless the predecessor has told its own already."""
        if event == "socket_raw_receive":
            if self._resumption is not None:
                self._resumption.take(args[0])
            return
        if event == "socket_raw_send" or (self._resumption is not None and self._resumption.replaying):
            return
        if event in ("connect", "resumed"):
            self._connected.set()
        super().dispatch(event, *args, **kwargs)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Keep to the IDENTIFYs that Discord allows a token."""
        if self._identifies is not None:
            self._identifies.spend()
        await super().before_identify_hook(shard_id, initial=initial)

    async def login(self, token: str) -> None:
        """Log in; what the predecessor asked Discord already is not asked again."""
        if self._resumption is None:
            await super().login(token)
            return
        with self._resumption.answering(self):
            await super().login(token)

    async def connect(self, *, reconnect: bool = True) -> None:
        """Connect: where the predecessor's session can be resumed, with its cache and without an IDENTIFY."""
        if self._resumption is not None:
            self._resumption.begin(self)
        await super().connect(reconnect=reconnect)

    async def setup_hook(self) -> None:
        """Load the cogs, bring Discord's commands up to date, and begin the handshake."""
        if self._boot is not None and self._manifest is not None:
            self.link = self._make_link(self._boot, self._manifest)
        for path in sorted((FOLDER / "cogs").glob("[!_]*.py")):
            try:
                await self.load_extension(f"cogs.{path.stem}")
            except commands.ExtensionError as error:
                # One broken cog must not take the others down: the bot goes on without it, and says so.
                self.failed_cogs.append(path.stem)
                log.exception("cog %s could not be loaded", path.stem)
                self.report(error.__cause__ or error, "startup", f"cogs/{path.name}")
        await self._sync_commands()
        if self.link is not None:
            self._linking = asyncio.create_task(self._run_link(self.link), name="handshake")

    async def _sync_commands(self) -> None:
        """Register the slash commands if they changed: each registration is a write that Discord counts."""
        payload = [command.to_dict(self.tree) for command in self.tree.get_commands()]
        fingerprint = hashlib.sha256(json.dumps([self.application_id, payload], sort_keys=True).encode()).hexdigest()
        noted = FOLDER / ".commands"
        if noted.exists() and noted.read_text("utf-8") == fingerprint:
            return
        try:
            await self.tree.sync()
        except discord.HTTPException as error:
            log.warning("slash commands could not be registered: %s", error)
            self.report(error, "startup", "registering the slash commands")
            return
        noted.write_text(fingerprint, "utf-8")

    def _make_link(self, boot: BootDocument, manifest: NodeManifest) -> NodeLink:
        return NodeLink(
            boot,
            NodeFacts(
                licence=manifest.licence,
                version=self.version,
                bot_user_id=self.user.id if self.user else 0,
                library=f"discord.py {discord.__version__}",
            ),
            describe=self.describe,
            post_to_channel=self._post_to_verify_channel,
            on_refused=self._on_refused,
        )

    async def _run_link(self, link: NodeLink) -> None:
        # "Ready" is said once Discord's READY (or RESUMED) was seen, not when the process happens to run.
        await self._connected.wait()
        await self.wait_until_ready()
        await link.run()

    def describe(self) -> Heartbeat:
        """Return the pulse of this moment."""
        if self._resumption is not None:
            self._resumption.touch()
        latency = self.latency * 1000
        return Heartbeat(
            uptime_s=round(time.time() - self.started_at, 1),
            latency_ms=round(latency, 1) if 0 <= latency < 1e6 else None,
            guilds=len(self.guilds),
            state="degraded" if self.failed_cogs or self.is_closed() else "ready",
            cogs_failed=tuple(name[:100] for name in self.failed_cogs[:20]),
        )

    async def _post_to_verify_channel(self, content: str) -> None:
        if self._boot is None:
            raise TransportError("no VERIFY_CHANNEL")
        try:
            await self.get_partial_messageable(self._boot.verify_channel_id).send(content)
        except (discord.HTTPException, OSError) as error:
            raise TransportError(f"VERIFY_CHANNEL: {error}") from error

    def _on_refused(self, reason: str) -> None:
        log.error("the master does not accept this node: %s", reason)
        self.exit_code = EXIT_LICENCE
        self.stop_soon()

    async def on_ready(self) -> None:
        """Say so."""
        log.info("logged in as %s (%s), in %d guilds", self.user, self.user and self.user.id, len(self.guilds))

    async def on_message(self, message: discord.Message) -> None:
        """Hand messages of VERIFY_CHANNEL to the handshake, all others to commands."""
        if self._boot is not None and message.channel.id == self._boot.verify_channel_id:
            if self.link is not None:
                self.link.receive_from_channel(message.author.id, message.content)
            return
        await self.process_commands(message)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Report an error in an event listener."""
        log.exception("error in %s", event_method)
        error = sys.exc_info()[1]
        if error is not None:
            self.report(error, "event", event_method)

    async def on_command_error(self, context: commands.Context[Any], exception: commands.CommandError, /) -> None:
        """Report an error in a text command."""
        if isinstance(exception, commands.CommandNotFound):
            return
        cause = exception.__cause__ or exception
        log.error("error in %s", context.command, exc_info=cause)
        self.report(cause, "command", str(context.command))

    async def _on_command_error(
        self, interaction: discord.Interaction[HandshakeBot], error: app_commands.AppCommandError
    ) -> None:
        """Report an error in a slash command, and tell its user without any detail."""
        cause = error.__cause__ or error
        name = interaction.command.qualified_name if interaction.command else "an unknown command"
        log.error("error in /%s", name, exc_info=cause)
        self.report(cause, "command", f"/{name}")
        embed = discord.Embed(
            title="That did not work", description="The error was reported.", colour=config.COLOUR_ERROR
        )
        try:
            if interaction.response.is_done():
                await interaction.followup.send(embed=embed, ephemeral=True)
            else:
                await interaction.response.send_message(embed=embed, ephemeral=True)
        except discord.HTTPException:
            log.warning("the user of /%s could not be told", name)

    def report(self, error: BaseException, source: Any, where: str) -> None:
        """Report an unhandled error to the master; the log has it already."""
        if self.link is None:
            return
        task = asyncio.create_task(self.link.report(describe_error(error, source=source, where=where)))
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)

    def stop_soon(self) -> None:
        """Begin a graceful end."""
        asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        """Say goodbye, and leave Discord."""
        if self._linking is not None and not self.is_closed():
            linking, self._linking = self._linking, None
            if self.link is not None:
                await self.link.say_goodbye("asked to stop")
            linking.cancel()
            # Bounded: whatever holds one of them up, the bot leaves Discord in time.
            await asyncio.wait({linking, *self._reporting}, timeout=CLOSE_TIMEOUT_S)
            self._leave_session()
        await super().close()

    def _leave_session(self) -> None:
        """Leave the gateway session to the successor; without one, let Discord show the bot as offline at once."""
        if self._resumption is None:
            return
        if not self._resumption.successor_expected:
            self._resumption.forget()
        elif self.ws is not None:
            # Closing with 1000, as the library does, would end the session: docs/events/gateway#disconnecting.
            close = self.ws.close
            self.ws.close = lambda code=4000: close(code=4000)  # type: ignore[method-assign]


def load_identity() -> tuple[str, BootDocument | None, NodeManifest | None]:
    """Return token, boot document and manifest: from the master, or from ``.env``."""
    boot = read_boot(os.environ)
    if boot is not None:
        apply_endpoints(boot.api_base, boot.gateway_url)
        return boot.token, boot, read_manifest(FOLDER)
    from dotenv import dotenv_values

    values = dotenv_values(FOLDER / ".env")
    apply_endpoints(values.get("DISCORD_API_BASE"), values.get("DISCORD_GATEWAY_URL"))
    token = values.get("DISCORD_TOKEN")
    if not token:
        raise HandshakeError(
            f"no token: start this node with `fleet start`, or put DISCORD_TOKEN into {FOLDER / '.env'}"
        )
    log.warning("started by hand: unsupervised, without a handshake")
    return token, None, None


async def run(token: str, boot: BootDocument | None, manifest: NodeManifest | None) -> int:
    """Run the bot until it is asked to stop; returns the exit code."""
    loop = asyncio.get_running_loop()
    async with HandshakeBot(boot, manifest) as bot:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, bot.stop_soon)
        try:
            await bot.start(token)
        except discord.LoginFailure:
            log.error("Discord refuses the token: it was reset, or the bot was deleted")
            return EXIT_TOKEN
        except discord.PrivilegedIntentsRequired:
            log.error("Discord refuses the intents of config.py: switch them on in the developer portal")
            return EXIT_INTENTS
        except discord.ConnectionClosed as error:
            log.error("Discord closed the connection: %s", error)
            return EXIT_TOKEN if error.code == 4004 else EXIT_UNEXPECTED
        except IdentifyBudgetSpent as error:
            log.error("%s", error)
            return EXIT_IDENTIFIES
    return bot.exit_code


def main() -> int:
    """Run the node; returns its exit code (docs/writing-a-node.md lists them)."""
    line = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
    # A bot without voice needs no warning that it has none; set both to True if yours has a voice.
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    discord.utils.setup_logging(level=logging.INFO, formatter=line, root=True)
    try:
        token, boot, manifest = load_identity()
    except HandshakeError as error:
        log.error("%s", error)
        return EXIT_CONFIGURATION
    return asyncio.run(run(token, boot, manifest))


if __name__ == "__main__":
    sys.exit(main())
