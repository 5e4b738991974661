"""Says how long a fuzzer runs: a bounded number of rounds in the suite, as many as asked for by hand."""

import os

VARIABLE = "FLEET_FUZZ"


def rounds(default: int) -> int:
    """Return how many rounds a fuzzer makes.

    Parameters
    ----------
    default:
        What the suite affords. ``FLEET_FUZZ=100000`` in the environment asks for that many instead.

    Raises
    ------
    ValueError
        ``FLEET_FUZZ`` holds no positive whole number.
    """
    asked = os.environ.get(VARIABLE, "")
    if not asked:
        return default
    count = int(asked)
    if count < 1:
        raise ValueError(f"{VARIABLE} must be a positive whole number, not {asked!r}")
    return count
