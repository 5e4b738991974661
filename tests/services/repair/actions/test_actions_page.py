"""docs/solution-actions.md has each action as the registry has it."""

from __future__ import annotations

from pathlib import Path

from msgspec.inspect import StructType, type_info

from master.services.repair.actions.registry import ACTIONS

PAGE = Path(__file__).parents[4] / "docs" / "solution-actions.md"


def parameters_of(name: str) -> str:
    described = type_info(ACTIONS[name].parameters)
    assert isinstance(described, StructType)
    return ", ".join(
        f"`{field.name}`" + ("" if field.required else f" = {field.default:g}") for field in described.fields
    )


def test_the_table_is_the_registry() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    wanted = {
        f"| `{name}` | {parameters_of(name)} | `{action.least_risk.value}` | {action.summary} |".replace("|  |", "| |")
        for name, action in ACTIONS.items()
    }
    assert set(rows) == wanted
