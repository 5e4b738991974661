"""Root operates a user's fleet: what it writes belongs to the user, whose master has to read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.durable import replace_file
from master.services.upkeep import permissions_check

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@as_root
@pytest.mark.parametrize("existing", [False, True])
def test_what_root_writes_belongs_to_the_fleets_user(tmp_path: Path, existing: bool) -> None:
    path = tmp_path / ".env"
    if existing:
        path.write_text("MASTER_SECRET=old\n")
        os.chown(path, NOBODY, NOBODY)
    else:
        os.chown(tmp_path, NOBODY, NOBODY)
    replace_file(path, b"MASTER_SECRET=new\n")
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (NOBODY, NOBODY, 0o600)
    assert path.read_bytes() == b"MASTER_SECRET=new\n"


def test_a_user_without_a_name_is_a_number() -> None:
    # As in a container that runs with ``--user 1500``.
    assert permissions_check.name_of_user(123_456_789) == "user 123456789"
