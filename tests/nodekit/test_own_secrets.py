"""Secrets of a node: from its environment or its own .env."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodekit import read_secret
from nodekit.own_secrets import SecretMissing


def test_a_secret_comes_from_the_environment_then_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodekit.own_secrets.program_folder", lambda: tmp_path)
    with pytest.raises(SecretMissing, match=r"put WEATHER_KEY=\.\.\. into .*\.env") as caught:
        read_secret("WEATHER_KEY")
    assert caught.value.name == "WEATHER_KEY"
    (tmp_path / ".env").write_text("WEATHER_KEY='$a-b#c'\n")
    assert read_secret("WEATHER_KEY") == "$a-b#c"
    monkeypatch.setenv("WEATHER_KEY", "from-the-environment")
    assert read_secret("WEATHER_KEY") == "from-the-environment"
