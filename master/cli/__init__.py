"""``fleet ...``, the operator's command line. Heavy imports are inside the commands that need them."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from master.cli.app import run

    sys.exit(run())
