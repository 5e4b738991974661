"""The limit of descriptors that a master begins with, and what its sockets may take of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from master.descriptors import share_descriptors
print(share_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def shared(soft: int, hard: int) -> tuple[str, str]:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603 - our own
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("soft", "hard", "nodes", "control"), [(256, 4096, 1024, 64), (64, 64, 16, 8), (1024, 1024, 256, 64)]
)
def test_the_soft_limit_is_raised_and_connections_stay_well_below_it(
    soft: int, hard: int, nodes: int, control: int
) -> None:
    said, logged = shared(soft, hard)
    assert said == f"DescriptorShares(limit={hard}, nodes={nodes}, control={control}) ({hard}, {hard})"
    assert ("few descriptors" in logged) is (hard < 1024)
