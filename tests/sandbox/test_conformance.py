"""Conformance to Discord's published document, if available."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox, SandboxError
from sandbox.conformance import VARIABLE, Conformance
from tests.sandbox.conftest import World

needs_document = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"{VARIABLE} does not name Discord's OpenAPI document"
)


@needs_document
async def test_a_request_that_violates_the_document_is_refused_and_recorded(world: World) -> None:
    status, body = await world.rest("POST", f"/channels/{world.channel.id}/messages", {"content": ["no text"]})
    assert (status, body["code"]) == (400, 50035)
    conformance = world.sandbox.conformance
    assert conformance is not None
    assert any("content" in violation for violation in conformance.violations)
    conformance.violations.clear()


@needs_document
async def test_a_response_that_violates_the_document_is_an_error(world: World) -> None:
    world.bot.account.username = 5  # type: ignore[assignment]
    status, body = await world.rest("GET", "/users/@me")
    assert status == 500
    assert "username" in body["message"]
    conformance = world.sandbox.conformance
    assert conformance is not None
    assert len(conformance.violations) == 1
    conformance.violations.clear()


@needs_document
@pytest.mark.parametrize(
    ("method", "route", "status", "body", "conforms"),
    [
        ("GET", "/gateway", 200, {"url": "wss://gateway.discord.gg"}, True),
        ("GET", "/gateway", 200, {}, False),
        ("GET", "/users/@me", 404, {"message": "x", "code": 0}, True),
        ("GET", "/users/@me", 404, {"message": 5, "code": 0}, False),
        ("DELETE", "/channels/{channel_id}/messages/{message_id}", 204, None, True),
        ("DELETE", "/channels/{channel_id}/messages/{message_id}", 201, None, False),
    ],
)
def test_responses_are_validated(method: str, route: str, status: int, body: Any, conforms: bool) -> None:
    conformance = Conformance.from_environment()
    assert conformance is not None
    assert (conformance.check_answer(method, route, route, status, body) is None) is conforms


def test_an_unreadable_document_is_reported(tmp_path: Path) -> None:
    for content in (None, "not json", "{}"):
        path = tmp_path / "openapi.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(SandboxError, match=VARIABLE):
            Conformance(path)


def test_without_the_variable_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Sandbox().conformance is None


def test_what_validates_is_asked_for_before_any_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As on a machine on which only what runs is installed.
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    (tmp_path / "openapi.json").write_text('{"paths": {}}')
    with pytest.raises(SandboxError, match="jsonschema is not installed"):
        Conformance(tmp_path / "openapi.json")
