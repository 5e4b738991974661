"""What only the bot's owner, or a developer of its team, may do: ``@bot reload`` and ``@bot sync``."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Literal

from discord.ext import commands

if TYPE_CHECKING:
    from nodekit import HandshakeBot


class Owner(commands.Cog, command_attrs={"hidden": True}):
    """Commands as text, so that nobody else is shown them; a mention as the prefix needs no privileged intent."""

    def __init__(self, bot: HandshakeBot) -> None:
        self.bot = bot

    async def cog_check(self, context: commands.Context[Any]) -> bool:
        """Refuse everybody but the owner; discord.py asks Discord who that is."""
        if not await self.bot.is_owner(context.author):
            raise commands.NotOwner
        return True

    @commands.command()
    async def reload(self, context: commands.Context[Any], *cogs: str) -> None:
        """Load the cogs that changed, or those named, without a new connection to Discord."""
        changes = await self.bot.load_cogs(cogs or None)
        told = [f"Loaded: {', '.join(changes.loaded)}."] if changes.loaded else []
        told += [f"Unloaded: {', '.join(changes.removed)}."] if changes.removed else []
        for name, error in changes.failed.items():
            reason = "".join(traceback.format_exception_only(error)).strip()[-600:].replace("`", "'")
            kept = "its old code stays" if name not in self.bot.failed_cogs else "it is not there"
            told.append(f"{name} could not be loaded, {kept}:\n```\n{reason}\n```")
        await context.reply("\n".join(told)[:2000] or "Nothing has changed.", mention_author=False)

    @commands.command()
    async def sync(
        self, context: commands.Context[Any], where: Literal["everywhere", "here", "nowhere"] = "everywhere"
    ) -> None:
        """Register the slash commands anew; ``here``: also for this server alone, ``nowhere``: not for it any more."""
        tree, guild = self.bot.tree, context.guild
        if where == "everywhere" or guild is None:
            error = await self.bot.register_commands(always=True)
            told = f"Discord refuses the commands: {error}" if error else "Registered everywhere."
        else:
            tree.clear_commands(guild=guild)
            if where == "here":
                tree.copy_global_to(guild=guild)
            told = f"{len(await tree.sync(guild=guild))} commands are registered for this server alone."
        await context.reply(told[:2000], mention_author=False)


async def setup(bot: HandshakeBot) -> None:
    """Load the cog."""
    await bot.add_cog(Owner(bot))
