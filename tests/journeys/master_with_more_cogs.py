"""A master, unchanged, whose cogs have another folder beside their own: a defect there is as one of its own."""

from __future__ import annotations

import os
import sys

import master.cogs
from master.__main__ import main

if __name__ == "__main__":
    master.cogs.__path__.append(os.environ["FLEET_TEST_COGS"])
    sys.exit(main())
