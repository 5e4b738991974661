"""A master whose nodes live by the same faked clock as it does: what fakes it is passed on to them."""

import sys

from master.__main__ import main
from master.services.fleet import launching

FAKING = ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_CACHE_DURATION", "FAKETIME_DONT_FAKE_MONOTONIC")

if __name__ == "__main__":
    launching._INHERITED = (*launching._INHERITED, *FAKING)  # type: ignore[assignment]
    sys.exit(main())
