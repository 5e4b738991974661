"""Memory and CPU limits: cgroup v2 where the master may write one, rlimits otherwise; and who ran out of memory."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

log = logging.getLogger(__name__)

CGROUP_ROOT = Path("/sys/fs/cgroup")
_WANTED = ("memory", "cpu")


class Cgroups:
    """One cgroup for each node, below the master's own.

    systemd hands a unit its cgroup when it says ``Delegate=yes``, which the unit of ``fleet install-service`` does.

    Parameters
    ----------
    base
        The folder of the cgroup that is ours to divide.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._oom_kills: dict[str, int] = {}

    def place(self, node_id: str, *, memory_bytes: int, cpu_weight: int) -> Path | None:
        """Make a node's cgroup with its limits; returns its ``cgroup.procs``, or None when that cannot be.

        Parameters
        ----------
        memory_bytes
            ``memory.max``, 0 for none: the kernel ends what goes above it.
        cpu_weight
            ``cpu.weight``, 1 to 10,000; 100 is everybody's.
        """
        folder = self._base / f"node-{node_id}"
        try:
            folder.mkdir(exist_ok=True)
            (folder / "memory.max").write_text(str(memory_bytes) if memory_bytes else "max")
            (folder / "cpu.weight").write_text(str(cpu_weight))
        except OSError as error:
            log.warning("no cgroup for a node", extra={"node": node_id, "why": error.strerror})
            return None
        self._oom_kills[node_id] = self._count(node_id)
        return folder / "cgroup.procs"

    def was_oom_killed(self, node_id: str) -> bool:
        """Tell whether the kernel ended a process of the node for its memory since it was placed."""
        return node_id in self._oom_kills and self._count(node_id) > self._oom_kills[node_id]

    def _count(self, node_id: str) -> int:
        try:
            events = (self._base / f"node-{node_id}" / "memory.events").read_text()
        except OSError:
            return 0
        found = re.search(r"^oom_kill (\d+)$", events, re.MULTILINE)
        return int(found[1]) if found else 0


def find_cgroups(root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup")) -> Cgroups | None:
    """Return the cgroup that the master may divide among its nodes; None without one (version 1, no delegation)."""
    try:
        lines = own.read_text().splitlines()
        path = next(line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::"))
        base = root / path
        offered = (base / "cgroup.controllers").read_text().split()
        if not all(name in offered for name in _WANTED) or not os.access(base / "cgroup.procs", os.W_OK):
            return None
        # A cgroup either holds processes or divides itself: the master moves into a leaf of its own first.
        leaf = base / "master"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _WANTED))
    except (OSError, StopIteration) as error:
        log.debug("no cgroup to divide", extra={"why": str(error)})
        return None
    return Cgroups(base)


def niceness_of(cpu_weight: int) -> int:
    """Translate a CPU weight into a niceness, for where there is no cgroup; only ever downwards (0 to 19)."""
    niceness = 0
    # Each step of niceness is a factor of about 1.25 in the scheduler (kernel/sched/core.c, sched_prio_to_weight).
    while niceness < 19 and cpu_weight < 100 / 1.25 ** (niceness + 0.5):
        niceness += 1
    return niceness


class OomWitness:
    """Tell an OOM kill from any other SIGKILL.

    Parameters
    ----------
    cgroups
        None without them: then the kernel's own count, of the whole box, has to do.
    """

    def __init__(self, cgroups: Cgroups | None, vmstat: Path = Path("/proc/vmstat")) -> None:
        self._cgroups = cgroups
        self._vmstat = vmstat
        self._descriptor = -1
        self._seen = self._count()

    def note(self) -> None:
        """Take the count as it is: what was killed before is not news."""
        self._seen = self._count()

    def explain(self, node_id: str) -> str:
        """Say what a SIGKILL that we did not send was; empty when memory has nothing to do with it."""
        if self._cgroups is not None and self._cgroups.was_oom_killed(node_id):
            return "out of memory: it went above its hard limit"
        if self._count() > self._seen:
            return "out of memory: the kernel ended it, the box has too little"
        return ""

    def _count(self) -> int:
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._vmstat, os.O_RDONLY | os.O_CLOEXEC)
            counts = os.pread(self._descriptor, 65_536, 0)
        except OSError:
            return 0
        # Between a node's end and its successor: no pattern to match against 200 lines.
        _, found, rest = counts.partition(b"\noom_kill ")
        return int(rest[: rest.index(b"\n")]) if found else 0
