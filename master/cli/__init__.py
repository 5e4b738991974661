"""``fleet``, the operator's command line. Commands import heavy modules only when they run."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from master.cli.app import run

    sys.exit(run())
