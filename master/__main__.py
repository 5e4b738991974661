"""``python -m master``: the master alone, without the command line's libraries; what ``fleet run`` becomes."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

from handshake.memory import hide_memory
from master.configuration.home import find_home
from master.configuration.loading import load_settings
from master.errors import ExitCode, FleetError
from master.journal import set_up_logging
from master.main import run_master
from master.wording import visible, visible_lines

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005


def main() -> int:
    """Run the master; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m master", description="Run the master in the foreground.")
    parser.add_argument(
        "--home", type=Path, help="the fleet's folder; default: FLEET_HOME, this folder, or what `fleet home` says"
    )
    parser.add_argument("--verbose", action="store_true", help="log details")
    parser.add_argument("--log-file", type=Path, help="the file that standard error is; keep it small")
    options = parser.parse_args()
    # The ledger's threads must not hold the interpreter for long while the event loop has something to do.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # What importing left behind is reused, and what is there to stay is not looked through again and again.
    gc.collect()
    gc.freeze()
    # Before it reads the secret: no other process of this user may read it out of this one.
    hide_memory()
    try:
        settings = load_settings(find_home(options.home, os.environ).path, os.environ)
        set_up_logging(logging.DEBUG if options.verbose else logging.INFO, sys.stderr, options.log_file)
        again = asyncio.run(run_master(settings, own_process=True))
    except FleetError as error:
        print(f"error: {visible(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"  {visible_lines(error.hint)}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # A state folder that became read-only, a full disk: what was refused is all that an operator needs.
        log.debug("the master ended", exc_info=error)
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return ExitCode.FAILED
    if again:
        # The nodes live on, and the same process takes them back with what it reads anew.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very program
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
