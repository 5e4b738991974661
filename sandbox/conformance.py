"""Validation of every request and response against Discord's published OpenAPI document, if available.

``DISCORD_OPENAPI`` names the document. Routes missing in the document are listed here with the reason.
"""

from __future__ import annotations

import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

VARIABLE = "DISCORD_OPENAPI"

_NOT_IN_DOCUMENT = {
    "/gateway": "the route is documented on a page, but not in every edition of the document",
}

_BITS = ("allow", "deny")
"""Fields with permissions: text in Discord's reference and in discord.py, numbers in the document."""

_PARAMETER = re.compile(r"\{[^}]+\}")


class Conformance:
    """Validates against the document; violations are collected in :attr:`violations`.

    Parameters
    ----------
    path
        Discord's OpenAPI document.

    Raises
    ------
    SandboxError
        It cannot be read, or what validates is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import jsonschema  # noqa: F401 - known now, and not by each request
        except ImportError as error:
            raise SandboxError(
                f"{VARIABLE} is set, and jsonschema is not installed: `./fleet test` installs it, or unset {VARIABLE}"
            ) from error
        try:
            self._document = json.loads(path.read_bytes())
            paths = self._document["paths"]
        except (OSError, ValueError, KeyError) as error:
            raise SandboxError(f"{VARIABLE} names {path}, which cannot be read: {error}") from error
        self.violations: list[str] = []
        self.checked = 0
        """Number of requests and responses checked."""
        self._operations = {
            (method.upper(), _shape(route)): operation
            for route, operations in paths.items()
            for method, operation in operations.items()
            if isinstance(operation, dict)
        }
        # In the document @me and @original are fixed parts of paths; our parameters match those too.
        self._validators: dict[str, Validator] = {}

    @classmethod
    def from_environment(cls) -> Conformance | None:
        """Read the document that the environment names; None when it names none."""
        name = os.environ.get(VARIABLE)
        return cls(Path(name)) if name else None

    @cached_property
    def _registry(self) -> Any:
        from referencing import Registry, Resource
        from referencing.jsonschema import DRAFT202012

        resource = Resource.from_contents(self._document, default_specification=DRAFT202012)
        return Registry().with_resource("discord:openapi", resource)

    def _validator(self, key: str, schema: dict[str, Any]) -> Validator:
        validator = self._validators.get(key)
        if validator is None:
            from jsonschema import Draft202012Validator

            absolute = json.loads(json.dumps(schema).replace('"#/components', '"discord:openapi#/components'))
            validator = Draft202012Validator(absolute, registry=self._registry)
            self._validators[key] = validator
        return validator

    def _operation(self, method: str, route: str, path: str) -> dict[str, Any] | None:
        exact = self._operations.get((method, _shape(route)))
        if exact is not None:
            return exact
        # /messages/@original is a separate path in the document, and a parameter in ours.
        return self._operations.get((method, _shape(_with_fixed_parts(route, path))))

    def check_request(self, method: str, route: str, path: str, body: Any) -> str | None:
        """Check a request's JSON body; returns the first violation."""
        operation = self._operation(method, route, path)
        if operation is None:
            return None if route in _NOT_IN_DOCUMENT else self._note(f"{method} {route}: not in the document")
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        self.checked += 1
        if schema is None or body is None:
            return None
        return self._check(f"request {method} {route}", schema, _as_in_document(body))

    def check_answer(self, method: str, route: str, path: str, status: int, body: Any) -> str | None:
        """Check a response's status and JSON body; returns the first violation."""
        operation = self._operation(method, route, path)
        if operation is None:
            return None
        self.checked += 1
        responses = operation["responses"]
        response = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        if response is None:
            return None if status >= 500 else self._note(f"answer {method} {route}: status {status} is not documented")
        if "$ref" in response:
            response = self._document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if schema is None or body is None:
            return None
        if status == 400:
            # In the document the inner error codes are numbers; in Discord's reference and real responses they are
            # strings (BASE_TYPE_REQUIRED). We follow the reference.
            body = {name: value for name, value in body.items() if name != "errors"}
        return self._check(f"answer {method} {route} {status}", schema, body)

    def _check(self, what: str, schema: dict[str, Any], body: Any) -> str | None:
        from jsonschema.exceptions import best_match

        error = best_match(self._validator(what, schema).iter_errors(body))
        if error is None:
            return None
        where = "/".join(str(part) for part in error.absolute_path)
        return self._note(f"{what}: {where or 'body'}: {error.message[:300]}")

    def _note(self, violation: str) -> str:
        if violation not in self.violations:
            self.violations.append(violation)
        return violation


def _as_in_document(body: Any) -> Any:
    """Write snowflakes as text and permissions as numbers: Discord takes both as either, the document does not."""
    if isinstance(body, dict):
        return {name: _as_bits(value) if name in _BITS else _as_in_document(value) for name, value in body.items()}
    if isinstance(body, list):
        return [_as_in_document(value) for value in body]
    return str(body) if isinstance(body, int) and body > 1 << 53 else body


def _as_bits(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _shape(route: str) -> str:
    """Return a route with unnamed parameters."""
    return _PARAMETER.sub("{}", route)


def _with_fixed_parts(route: str, path: str) -> str:
    parts = [
        actual if actual.startswith("@") else pattern
        for pattern, actual in zip(route.split("/"), path.split("/"), strict=False)
    ]
    return "/".join(parts)
