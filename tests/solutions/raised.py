"""The real errors of the shipped solutions, each made to happen: their samples are what is printed there."""

from __future__ import annotations

from tests.solutions import (
    raised_at_ends,  # noqa: F401 - registers its cases
    raised_by_box,  # noqa: F401 - registers its cases
    raised_by_commands,  # noqa: F401 - registers its cases
    raised_by_databases,  # noqa: F401 - registers its cases
    raised_by_discord,  # noqa: F401 - registers its cases
    raised_by_gateway,  # noqa: F401 - registers its cases
    raised_by_modules,  # noqa: F401 - registers its cases
    raised_by_network,  # noqa: F401 - registers its cases
    raised_by_voice,  # noqa: F401 - registers its cases
)
from tests.solutions.raising import CASES

__all__ = ["CASES"]
