"""An author of patches for tests: a bot's folder, a changed copy of it, and ``fleet patch``, typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from master.cli import app

ROOT = Path(__file__).resolve().parents[2]
RANKS = '''\
from discord.ext import commands


class Ranks(commands.Cog):
    """Ranks."""


async def setup(bot):
    await bot.add_cog(Ranks())
'''


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Author:
    """Types commands in a folder; in this process, which is what makes a test quick."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._patching, self._capfd = monkeypatch, capfd
        self.old, self.new = folder / "old", folder / "new"
        for side in (self.old, self.new):
            shutil.copytree(ROOT / "child_template", side, ignore=shutil.ignore_patterns("__pycache__"))
            (side / "cogs" / "ranks.py").write_text(RANKS)
        monkeypatch.chdir(folder)

    def patch(self, *typed: str, within: str = ".") -> Said:
        """Type ``fleet patch ...``."""
        self._capfd.readouterr()
        self._patching.chdir(self.folder / within)
        self._patching.setattr(sys, "argv", ["fleet", "patch", *typed])
        code = app.run()
        self._patching.chdir(self.folder)
        out, err = self._capfd.readouterr()
        return Said(code, out, err)

    def change(self, path: str, text: str) -> None:
        """Write a file of the changed bot."""
        (self.new / path).parent.mkdir(parents=True, exist_ok=True)
        (self.new / path).write_text(text)

    def build(self, *options: str) -> Path:
        """Build a patch of what has changed, and return its file."""
        said = self.patch("build", "--base", "old", "--folder", "new", *options, "--json")
        assert said.code == 0, said
        return self.folder / str(said.json["file"])

    def git(self, *arguments: str, folder: Path | None = None) -> None:
        """Run git, as somebody whose configuration is empty."""
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        names = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
        command = ["git", *names, *arguments]
        subprocess.run(command, cwd=folder or self.folder, env=environment, check=True, capture_output=True, timeout=60)  # noqa: S603
