"""The sections SUPERVISION and NODES of config.py."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from master.configuration.reading import Reader, nearest, shown
from master.configuration.settings import NodeSettings, SupervisionSettings

# Key of SUPERVISION -> field, least, most.
_SUPERVISION: dict[str, tuple[str, float, float]] = {
    "PULSE_INTERVAL_S": ("pulse_interval_s", 0.1, 3600),
    "MISSED_PULSES": ("missed_pulses", 1, 100),
    "READY_TIMEOUT_S": ("ready_timeout_s", 0.5, 3600),
    "GRACE_S": ("grace_s", 0.1, 300),
    "BACKOFF_INITIAL_S": ("backoff_initial_s", 0.01, 3600),
    "BACKOFF_FACTOR": ("backoff_factor", 1, 10),
    "BACKOFF_CAP_S": ("backoff_cap_s", 0.01, 86_400),
    "BACKOFF_JITTER": ("backoff_jitter", 0, 0.9),
    "STEADY_AFTER_S": ("steady_after_s", 0.1, 86_400),
    "HEALTHY_AFTER_S": ("healthy_after_s", 0.1, 86_400),
    "QUARANTINE_EXITS": ("quarantine_exits", 1, 1000),
    "QUARANTINE_WINDOW_S": ("quarantine_window_s", 1, 86_400),
    "QUARANTINE_RETRY_S": ("quarantine_retry_s", 1, 86_400),
    "CONCURRENT_STARTS": ("concurrent_starts", 1, 64),
    "LOG_MAX_BYTES": ("log_max_bytes", 10_000, 10**9),
    "LOG_FILES": ("log_files", 1, 50),
    "MEMORY_LIMIT_BYTES": ("memory_limit_bytes", 0, 2**40),
    "MEMORY_HARD_LIMIT_BYTES": ("memory_hard_limit_bytes", 0, 2**40),
    "OPEN_FILES_LIMIT": ("open_files_limit", 64, 10**6),
    "CPU_WEIGHT": ("cpu_weight", 1, 10_000),
    "LOG_RATE_BYTES_S": ("log_rate_bytes_s", 0, 10**9),
}

# Key of SUPERVISION -> field, of those that are True or False.
_FLAGS = {"MERGE_MEMORY": "merge_memory"}

# Key of an entry of NODES -> field, least, most.
_NODE_NUMBERS: dict[str, tuple[str, int, int]] = {
    "PRIORITY": ("priority", 0, 1_000_000),
    "MEMORY_LIMIT_BYTES": ("memory_limit_bytes", 0, 2**40),
    "MEMORY_HARD_LIMIT_BYTES": ("memory_hard_limit_bytes", 0, 2**40),
    "OPEN_FILES_LIMIT": ("open_files_limit", 64, 10**6),
    "CPU_WEIGHT": ("cpu_weight", 1, 10_000),
}
_NODE_KEYS = (*_NODE_NUMBERS, "AFTER", "PLAIN")


def read_supervision(values: dict[str, Any], read: Reader) -> SupervisionSettings:
    """Take SUPERVISION out of what config.py holds; mistakes go to ``read``."""
    section = read.section(values, "SUPERVISION", (*_SUPERVISION, *_FLAGS))
    defaults = {field.name: field.default for field in fields(SupervisionSettings) if field.default is not MISSING}
    found: dict[str, Any] = {}
    for key, value in section.items():
        if key in _FLAGS:
            name = _FLAGS[key]
            found[name] = read.flag(f"SUPERVISION[{key!r}]", value, defaults[name])
            continue
        name, least, most = _SUPERVISION[key]
        default = defaults[name]
        found[name] = read.number(f"SUPERVISION[{key!r}]", value, type(default), least, most, default)
    soft, hard = found.get("memory_limit_bytes", 0), found.get("memory_hard_limit_bytes", 0)
    if soft and hard and soft >= hard:
        problem = f"is {hard}, not above MEMORY_LIMIT_BYTES"
        read.report("SUPERVISION['MEMORY_HARD_LIMIT_BYTES']", problem, "leave room for the graceful restart")
    return SupervisionSettings(**found)


def read_nodes(values: dict[str, Any], read: Reader) -> dict[str, NodeSettings]:
    """Take NODES out of what config.py holds: by name in lower case; mistakes go to ``read``."""
    section = values.pop("NODES", {})
    if not isinstance(section, dict) or not all(isinstance(name, str) for name in section):
        read.report("NODES", f"is {shown(section)}", "a dict of node names, as in config.example.py")
        return {}
    found = {name.casefold(): _read_node(f"NODES[{name!r}]", entry, read) for name, entry in section.items()}
    circle = _find_circle({name: settings.after for name, settings in found.items()})
    if circle:
        read.report("NODES", f"wait for each other: {' -> '.join(circle)}", "take one AFTER out")
    return found


def _read_node(key: str, entry: Any, read: Reader) -> NodeSettings:
    if not isinstance(entry, dict):
        read.report(key, f"is {shown(entry)}", f"a dict with any of {', '.join(_NODE_KEYS)}")
        return NodeSettings()
    found: dict[str, Any] = {}
    for name, value in entry.items():
        at = f"{key}[{name!r}]"
        if name in _NODE_NUMBERS:
            field, least, most = _NODE_NUMBERS[name]
            found[field] = read.number(at, value, int, least, most, None)
        elif name == "AFTER":
            if isinstance(value, list | tuple) and all(isinstance(other, str) and other for other in value):
                found["after"] = tuple(other.casefold() for other in value)
            else:
                read.report(at, f"is {shown(value)}", "a list of node names")
        elif name == "PLAIN":
            found["plain"] = read.flag(at, value, False)
        else:
            read.report(at, "is not known", nearest(str(name), _NODE_KEYS))
    return NodeSettings(**found)


def _find_circle(after: dict[str, tuple[str, ...]]) -> list[str]:
    """Return names that wait for each other, the first one again at the end; empty when there are none."""
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in after.get(name, ()):
            circle = follow(other, [*path, name])
            if circle:
                return circle
        done.add(name)
        return []

    return next((circle for name in after if (circle := follow(name, []))), [])
