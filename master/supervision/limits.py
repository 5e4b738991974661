"""Memory and CPU limits (cgroup v2 where the master may write one, rlimits otherwise), and detection of OOM kills."""

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

    systemd delegates a unit's cgroup with ``Delegate=yes``, which the unit of ``fleet install-service`` sets.

    Parameters
    ----------
    base
        The folder of the delegated cgroup.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._oom_kills: dict[str, int] = {}

    def create(self, node_id: str, *, memory_bytes: int, cpu_weight: int) -> Path | None:
        """Create a node's cgroup with its limits; returns its ``cgroup.procs``, or None on failure.

        Parameters
        ----------
        memory_bytes
            ``memory.max``, 0 for no limit: the kernel kills what exceeds it.
        cpu_weight
            ``cpu.weight``, 1 to 10,000; 100 is the default.
        """
        folder = self._base / f"node-{node_id}"
        try:
            folder.mkdir(exist_ok=True)
            (folder / "memory.max").write_text(str(memory_bytes) if memory_bytes else "max")
            (folder / "cpu.weight").write_text(str(cpu_weight))
        except OSError as error:
            log.warning("a node's cgroup could not be created", extra={"node": node_id, "why": error.strerror})
            return None
        self._oom_kills[node_id] = self._count(node_id)
        return folder / "cgroup.procs"

    def was_oom_killed(self, node_id: str) -> bool:
        """Tell whether the kernel OOM-killed a process of the node since its cgroup was created."""
        return node_id in self._oom_kills and self._count(node_id) > self._oom_kills[node_id]

    def _count(self, node_id: str) -> int:
        try:
            events = (self._base / f"node-{node_id}" / "memory.events").read_text()
        except OSError:
            return 0
        found = re.search(r"^oom_kill (\d+)$", events, re.MULTILINE)
        return int(found[1]) if found else 0


def find_cgroups(root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup")) -> Cgroups | None:
    """Return the cgroup delegated to the master; None without one (version 1, no delegation)."""
    try:
        lines = own.read_text().splitlines()
        path = next(line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::"))
        base = root / path
        offered = (base / "cgroup.controllers").read_text().split()
        if not all(name in offered for name in _WANTED) or not os.access(base / "cgroup.procs", os.W_OK):
            return None
        # A cgroup has either processes or child cgroups: the master moves into a leaf of its own first.
        leaf = base / "master"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _WANTED))
    except (OSError, StopIteration) as error:
        log.debug("no delegated cgroup", extra={"why": str(error)})
        return None
    return Cgroups(base)


def niceness_of(cpu_weight: int) -> int:
    """Convert a CPU weight to a niceness (0 to 19), for use without a cgroup; a high weight never lowers it below 0."""
    niceness = 0
    # Each step of niceness is a factor of about 1.25 in the scheduler (kernel/sched/core.c, sched_prio_to_weight).
    while niceness < 19 and cpu_weight < 100 / 1.25 ** (niceness + 0.5):
        niceness += 1
    return niceness


class OomDetector:
    """Distinguish an OOM kill from any other SIGKILL.

    Parameters
    ----------
    cgroups
        None without them: then the kernel's counter for the whole box is used.
    """

    def __init__(self, cgroups: Cgroups | None, vmstat: Path = Path("/proc/vmstat")) -> None:
        self._cgroups = cgroups
        self._vmstat = vmstat
        self._descriptor = -1
        self._seen = self._count()

    def reset(self) -> None:
        """Read the counter as the new baseline: earlier kills no longer count."""
        self._seen = self._count()

    def explain(self, node_id: str) -> str:
        """Explain a SIGKILL that we did not send; empty when it was not an OOM kill."""
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
        # On the restart path: no regular expression over 200 lines.
        _, found, rest = counts.partition(b"\noom_kill ")
        return int(rest[: rest.index(b"\n")]) if found else 0
