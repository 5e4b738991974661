"""The settings that are in force for a node, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from master.configuration.node_options import decode_options
from master.configuration.settings import NodeLimits, NodeSettings, Settings, SupervisionSettings
from master.configuration.tree import fields_of
from master.ledger.rows.records import Node
from master.services.core.telling_views import SettingView
from master.wording import encodable

_OF_THE_FLEET = (*NodeLimits.__struct_fields__, "isolated")
"""What a node has from SUPERVISION where it has none of its own."""


def settings_in_force(settings: Settings, node: Node) -> tuple[SettingView, ...]:
    """Return a node's settings: what NODES or its registration says, and what it has from the fleet."""
    configured, registered = settings.node(node.name), decode_options(node.options)
    found = []
    for field in fields_of(NodeSettings):
        value, default = getattr(configured, field.name), field.default
        if value != default:
            found.append(SettingView(key=field.key, value=_shown(field.name, value), source="config.py"))
        elif registered.get(field.key) is not None:
            shown = _shown(field.name, registered[field.key])
            found.append(SettingView(key=field.key, value=shown, source="registration"))
        elif field.name in _OF_THE_FLEET:
            value = getattr(settings.supervision, field.name)
            source = "default" if value == getattr(SupervisionSettings(), field.name) else "fleet"
            found.append(SettingView(key=field.key, value=_shown(field.name, value), source=source))
    return tuple(found)


def _shown(name: str, value: Any) -> str:
    """Return a value in words; of environment variables the names alone, since their values may be secrets."""
    if isinstance(value, Mapping):
        return encodable(", ".join(sorted(value)))
    if isinstance(value, list | tuple | frozenset):
        return encodable(", ".join(map(str, value)))
    if name.endswith("_bytes"):
        return f"{int(value) / 2**20:g} MB" if value else "none"
    return encodable(str(value))
