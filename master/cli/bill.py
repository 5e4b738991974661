"""``fleet --version --sbom``: what is installed, as a software bill of materials in CycloneDX JSON.

It lists what this Python really loads from, not what the lock says. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from master import __version__

_ROOT = "fleetmaster-bots"
_FORMER_ROOT = "fleetmaster"
"""The name in environments that were made before it changed."""
_NAME = re.compile(r"^([A-Za-z0-9._-]+)")
_HAS_EXTRA = re.compile(r";.*\bextra\b")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")
_PREFIX = "License :: OSI Approved :: "


def bill_of_materials() -> dict[str, Any]:
    """Return the CycloneDX document of everything that is installed beside this program."""
    found = {_normal(item.metadata["Name"]): item for item in metadata.distributions() if item.metadata["Name"]}
    former = found.pop(_FORMER_ROOT, None)
    root = found.pop(_ROOT, former)
    needed = _reachable(found, [] if root is None else _needs(root))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "component": {
                "type": "application",
                "bom-ref": _ROOT,
                "name": _ROOT,
                "version": __version__,
                "licenses": [{"license": {"id": "MIT"}}],
            },
            "properties": [{"name": "fleetmaster:python", "value": sys.version.split()[0]}],
        },
        "components": [_component(name, item, name in needed) for name, item in sorted(found.items())],
        "dependencies": [
            {"ref": _ROOT, "dependsOn": _references(found, [] if root is None else _needs(root, extras=True))},
            *({"ref": _purl(item), "dependsOn": _references(found, _needs(item))} for _, item in sorted(found.items())),
        ],
    }


def _normal(name: str) -> str:
    """Return a project's name as purl and pip compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(item: metadata.Distribution, *, extras: bool = False) -> list[str]:
    """Return the names of what a distribution needs; with ``extras`` what its extras need too."""
    lines = (line for line in item.requires or [] if extras or not _HAS_EXTRA.search(line))
    return [_normal(match[1]) for line in lines if (match := _NAME.match(line))]


def _reachable(found: dict[str, metadata.Distribution], names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found and name not in seen:
            seen.add(name)
            waiting += _needs(found[name])
    return seen


def _references(found: dict[str, metadata.Distribution], names: Iterable[str]) -> list[str]:
    return sorted({_purl(found[name]) for name in names if name in found})


def _purl(item: metadata.Distribution) -> str:
    return f"pkg:pypi/{_normal(item.metadata['Name'])}@{item.version}"


def _component(name: str, item: metadata.Distribution, is_needed: bool) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(item),
        "name": name,
        "version": item.version,
        # Optional is what only an extra brings, such as the tools of the tests.
        "scope": "required" if is_needed else "optional",
        "purl": _purl(item),
    }
    summary = _field(item, "Summary")
    if summary:
        component["description"] = summary
    licences = _licences(item)
    if licences:
        component["licenses"] = licences
    return component


def _field(item: metadata.Distribution, name: str) -> str:
    """Return the first value of a field; empty if there is none, or if the package says UNKNOWN."""
    values = item.metadata.get_all(name) or [""]
    return "" if values[0] == "UNKNOWN" else str(values[0]).strip()


def _licences(item: metadata.Distribution) -> list[dict[str, Any]]:
    """Return the licence as an SPDX expression where the package has one, else in its own words."""
    expression = _field(item, "License-Expression")
    if expression and _SPDX.fullmatch(expression):
        return [{"expression": expression}]
    named = [line.removeprefix(_PREFIX) for line in item.metadata.get_all("Classifier") or [] if _PREFIX in line]
    text = _field(item, "License")
    if not named and text and "\n" not in text:
        named = [text]
    return [{"license": {"name": name}} for name in named or ([expression] if expression else [])]
