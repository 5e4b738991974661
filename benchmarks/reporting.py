"""What every benchmark prints: a table, or with ``--json`` one object of machine, rows, ratios and reach."""

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
    """What was measured.

    Parameters
    ----------
    rows
        By contender; a row with the key ``missing`` says why it could not be measured.
    ratios
        Ours as a share of a peer's.
    reach
        What was to be reached: value, bound, and whether it holds.
    """

    title: str
    rows: dict[str, Row] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    reach: dict[str, dict[str, Any]] = field(default_factory=dict)

    def at_most(self, name: str, value: float | None, bound: float) -> None:
        """Note a figure that should be at most ``bound``; None when it could not be had."""
        self.reach[name] = {"value": value, "bound": bound, "holds": value is not None and value <= bound}

    def at_least(self, name: str, value: float, bound: float) -> None:
        """Note a figure that should be at least ``bound``."""
        self.reach[name] = {"value": value, "bound": bound, "holds": value >= bound}

    def ratio(self, name: str, ours: Any, peer: Any) -> float | None:
        """Note ours as a share of a peer's; None when either is missing."""
        if not isinstance(ours, int | float) or not isinstance(peer, int | float) or not peer:
            return None
        self.ratios[name] = round(ours / peer, 4)
        return self.ratios[name]


MB = 2**20
"""What a megabyte is here: as `fleet status` and most tools count, and as the bounds were measured."""


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return an argument parser that knows ``--json``."""
    made = argparse.ArgumentParser(description=doc)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print what was measured."""
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
