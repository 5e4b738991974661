"""``fleet``, the operator's command line. Commands import heavy modules only when they run."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks, and halves of characters in a file's name, are shown as escapes.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from master.cli.app import run

    sys.exit(run())
