"""Texts that a server keeps, such as its rules: an example of subcommands, permissions, suggestions and the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from nodekit import open_store

if TYPE_CHECKING:
    from nodekit import HandshakeBot

MOST_TAGS = 200


class Tags(commands.Cog):
    """Shows, sets, removes and lists tags."""

    def __init__(self) -> None:
        # In data/tags.json: {server: {name: text}}.
        self.store = open_store("tags.json")

    def tags_of(self, guild: discord.Guild | None) -> dict[str, str]:
        """Return the tags of a server, to look at or to change."""
        tags: dict[str, str] = self.store.setdefault(str(guild.id if guild else 0), {})
        return tags

    @commands.hybrid_group(fallback="show", description="Show a tag")
    @commands.guild_only()
    @app_commands.describe(name="Its name")
    async def tag(self, context: commands.Context[HandshakeBot], name: str) -> None:
        """Show a tag."""
        text = self.tags_of(context.guild).get(name.casefold())
        await context.send(text or f"There is no tag {name[:50]!r}.", ephemeral=text is None)

    @tag.command(description="Set a tag")
    @commands.has_permissions(manage_messages=True)
    @app_commands.describe(name="Its name", text="What it shows")
    async def set(
        self,
        context: commands.Context[HandshakeBot],
        name: commands.Range[str, 1, 50],
        *,
        text: commands.Range[str, 1, 1500],
    ) -> None:
        """Set a tag."""
        tags = self.tags_of(context.guild)
        if name.casefold() not in tags and len(tags) >= MOST_TAGS:
            raise commands.UserInputError(f"A server has up to {MOST_TAGS} tags: remove one first.")
        tags[name.casefold()] = text
        # Answered when it is on disk.
        await self.store.save()
        await context.send(f"The tag {name!r} is set.", ephemeral=True)

    @tag.command(description="Remove a tag")
    @commands.has_permissions(manage_messages=True)
    @app_commands.describe(name="Its name")
    async def remove(self, context: commands.Context[HandshakeBot], name: str) -> None:
        """Remove a tag."""
        if self.tags_of(context.guild).pop(name.casefold(), None) is None:
            raise commands.UserInputError(f"There is no tag {name[:50]!r}.")
        await self.store.save()
        await context.send(f"The tag {name!r} is removed.", ephemeral=True)

    @tag.command(name="list", description="List the tags")
    async def list_tags(self, context: commands.Context[HandshakeBot]) -> None:
        """List the tags."""
        names = ", ".join(f"`{name}`" for name in sorted(self.tags_of(context.guild)))
        await context.send(names[:1900] or "There are none.", ephemeral=True)

    @tag.autocomplete("name")
    @remove.autocomplete("name")
    async def suggest(
        self, interaction: discord.Interaction[HandshakeBot], current: str
    ) -> list[app_commands.Choice[str]]:
        """Suggest the names that contain what was typed."""
        fitting = [name for name in sorted(self.tags_of(interaction.guild)) if current.casefold() in name]
        return [app_commands.Choice(name=name, value=name) for name in fitting[:25]]


async def setup(bot: HandshakeBot) -> None:
    """Load the cog."""
    await bot.add_cog(Tags())
