"""The power is cut while a patch is put in force: what was synced is enough to be wholly old or wholly new."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from tests.hostile.effort import rounds
from tests.hostile.power_cuts import PowerCuts
from tests.nodekit.releases.cuts import SCENES

_MEMORY = Path("/dev/shm")  # noqa: S108 - what a disk would have lost is worked out, not tried


@pytest.mark.timeout(3_600)
@pytest.mark.slow
def test_after_a_power_cut_a_folder_is_old_or_new() -> None:
    each = rounds(120) // len(SCENES)
    seed = random.randrange(1 << 32)  # noqa: S311  # noqa: S311
    rng = random.Random(seed)  # noqa: S311 - chance, not secrets  # noqa: S311 - chance, not secrets
    cuts = 0
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as memory:
        for at, name in enumerate(SCENES):
            scene = PowerCuts(Path(memory, str(at)), name)
            for _ in range(each):
                scene.cut_somewhere(rng)
            assert scene.wrong == [], f"seed {seed}"
            cuts += scene.kills
    print(f"{cuts} power cuts in {len(SCENES)} scenes, seed {seed}: each folder old or new")
