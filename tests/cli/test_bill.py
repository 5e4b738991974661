"""``fleet --version --sbom``: valid by CycloneDX's own schema, and true."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata, resources
from typing import Any
from urllib.parse import urljoin

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from master.cli.bill import bill_of_materials


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "master.cli", "--version", "--sbom"], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_bill_is_valid_by_cyclonedx_own_schema(bill: dict[str, Any]) -> None:
    package = pytest.importorskip("cyclonedx.schema._res", reason="cyclonedx-python-lib brings the schema")
    folder = resources.files(package)

    def schema(name: str) -> Any:
        return json.loads(folder.joinpath(name).read_text("utf-8"))

    whole = schema("bom-1.6.SNAPSHOT.schema.json")
    parts = ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    registry: Registry[Any] = Registry().with_resources(
        (urljoin(whole["$id"], part), Resource.from_contents(schema(part), default_specification=DRAFT7))
        for part in parts
    )
    validator = jsonschema.Draft7Validator(whole, registry=registry, format_checker=jsonschema.FormatChecker())
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(bill)] == []
    # It would see a mistake.
    assert not validator.is_valid({**bill, "components": [{"name": "no type"}]})


def test_the_bill_lists_what_is_installed_and_tells_what_only_an_extra_brings(bill: dict[str, Any]) -> None:
    components = {component["name"]: component for component in bill["components"]}
    for name in ("discord-py", "aiohttp", "sqlalchemy", "pytest"):
        assert components[name]["version"] == metadata.version(name)
        assert components[name]["purl"] == f"pkg:pypi/{name}@{metadata.version(name)}"
    assert {name: components[name]["scope"] for name in ("discord-py", "aiohttp", "pytest")} == {
        "discord-py": "required",
        "aiohttp": "required",  # only discord.py needs it
        "pytest": "optional",
    }


def test_every_reference_of_the_bill_leads_somewhere() -> None:
    bill = bill_of_materials()
    known = {"fleetmaster-bots", *(component["bom-ref"] for component in bill["components"])}
    assert len(known) == len(bill["components"]) + 1
    edges = {entry["ref"]: set(entry["dependsOn"]) for entry in bill["dependencies"]}
    assert set(edges) == known
    assert set().union(*edges.values()) <= known
    assert (
        f"pkg:pypi/aiohttp@{metadata.version('aiohttp')}"
        in edges[f"pkg:pypi/discord-py@{metadata.version('discord.py')}"]
    )
