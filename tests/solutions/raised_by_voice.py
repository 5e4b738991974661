"""Errors of voice, made to happen."""

from __future__ import annotations

from unittest.mock import patch

import discord
import discord.gateway
import discord.http

from tests.solutions.raising import Place, raises


@raises("pynacl_missing")
async def pynacl_missing(place: Place) -> None:
    with patch("discord.voice_client.has_nacl", False):
        discord.VoiceClient(None, None)  # type: ignore[arg-type]


@raises("davey_missing")
async def davey_missing(place: Place) -> None:
    with patch("discord.voice_client.has_nacl", True), patch("discord.voice_client.has_dave", False):
        discord.VoiceClient(None, None)  # type: ignore[arg-type]


@raises("ffmpeg_missing")
async def ffmpeg_missing(place: Place) -> None:
    discord.FFmpegPCMAudio("song.mp3", executable="ffmpeg-of-nobody")


@raises("opus_missing")
async def opus_missing(place: Place) -> None:
    with patch("discord.opus._lib", None), patch("discord.opus._load_default", lambda: False):
        discord.opus.Encoder()
