"""Output of all benchmarks: a table, or with ``--json`` one object of machine, rows, ratios and reach."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """The results of a benchmark.

    Parameters
    ----------
    rows
        By contender; the key ``missing`` in a row contains the reason why it was not measured.
    ratios
        Our value divided by a peer's.
    reach
        Goals: value, bound, and whether the bound holds.
    """

    title: str
    rows: dict[str, Row] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    reach: dict[str, dict[str, Any]] = field(default_factory=dict)

    def at_most(self, name: str, value: float | None, bound: float) -> None:
        """Record a figure that should be at most ``bound``; None when it was not measured."""
        self.reach[name] = {"value": value, "bound": bound, "holds": value is not None and value <= bound}

    def at_least(self, name: str, value: float, bound: float) -> None:
        """Record a figure that should be at least ``bound``."""
        self.reach[name] = {"value": value, "bound": bound, "holds": value >= bound}

    def ratio(self, name: str, ours: Any, peer: Any) -> float | None:
        """Record our value divided by a peer's; returns None when either is missing."""
        if not isinstance(ours, int | float) or not isinstance(peer, int | float) or not peer:
            return None
        self.ratios[name] = round(ours / peer, 4)
        return self.ratios[name]


MB = 2**20
"""Bytes in a megabyte, as in `fleet status`, in most tools, and in the bounds."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return an argument parser with ``--json``."""
    made = argparse.ArgumentParser(description=doc)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print the results."""
    if as_json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "kernel": platform.release()}
        body = {"machine": machine, "rows": outcome.rows, "ratios": outcome.ratios, "reach": outcome.reach}
        print(json.dumps(body))
        return
    print(outcome.title)
    columns = list(dict.fromkeys(key for row in outcome.rows.values() if "missing" not in row for key in row))
    width = max([len(name) for name in outcome.rows] + [20])
    print(" " * width + "".join(f"{column.replace('_', ' '):>{max(len(column) + 2, 10)}}" for column in columns))
    for name, row in outcome.rows.items():
        if "missing" in row:
            print(f"{name:<{width}}  not measured: {row['missing']}")
            continue
        cells = (f"{_text(row.get(column)):>{max(len(column) + 2, 10)}}" for column in columns)
        print(f"{name:<{width}}" + "".join(cells))
    for name, ratio in outcome.ratios.items():
        print(f"ours to {name}: {ratio:.4g}")
    for name, reached in outcome.reach.items():
        holds = "holds" if reached["holds"] else "MISSED"
        print(f"{name}: {_text(reached['value'])} (bound {_text(reached['bound'])}) {holds}")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
