"""Whatever stands in a file's place: it is opened, or refused at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from handshake.errors import ManifestError
from handshake.files import open_regular, read_regular
from handshake.manifest import MANIFEST_NAME, NodeManifest, read_manifest, write_manifest

# A mistake waits for good in an open(): the time-out of the test is what ends it.
pytestmark = pytest.mark.timeout(20)


def fifo_with_both_ends(path: Path) -> None:
    os.mkfifo(path)
    os.open(path, os.O_RDWR)  # as a node that holds its own pipe open; the test's process ends it


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


IMPOSTORS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a pipe with both ends": fifo_with_both_ends,
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to a file": lambda path: path.symlink_to("/etc/hostname"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a socket": listening,
    "a folder": os.mkdir,
}


@pytest.fixture(params=IMPOSTORS, ids=lambda name: str(name).replace(" ", "-"))
def impostor(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "it"
    IMPOSTORS[request.param](path)
    return path


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_APPEND | os.O_CREAT]
)
def test_what_is_no_file_is_refused_at_once(impostor: Path, flags: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r".+"):
        open_regular(impostor, flags)
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_more_of_a_file_is_read_than_was_asked_for(tmp_path: Path) -> None:
    sparse(tmp_path / "huge")
    assert len(read_regular(tmp_path / "huge", 1000)) == 1000


def test_a_file_is_opened_as_any_other(tmp_path: Path) -> None:
    descriptor = open_regular(tmp_path / "new", os.O_WRONLY | os.O_CREAT)
    assert os.get_blocking(descriptor)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_manifest_that_is_no_file_is_an_error_and_is_replaced(impostor: Path) -> None:
    folder = impostor.parent
    if impostor.is_dir() and not impostor.is_symlink():
        pytest.skip("a folder is in the way of any file")
    impostor.rename(folder / MANIFEST_NAME)
    with pytest.raises(ManifestError):
        read_manifest(folder)
    os.mkfifo(folder / f".{MANIFEST_NAME}.new")
    write_manifest(folder, NodeManifest(node_id="A", name="a", licence="L"))
    assert read_manifest(folder).node_id == "A"
