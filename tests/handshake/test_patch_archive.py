"""The zip of a bundle: what Python's own makes is read, and one that is odd in any way is refused."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping

import pytest

from handshake.errors import BundleError
from handshake.patch_archive import read_archive
from handshake.patch_document import PatchedFile

FILES = {"bot.py": b"x = 1\n" * 1_000, "assets/été.txt": b"", "cogs/ranks.py": b"RANKS = 2\n"}


def signed_for(files: Mapping[str, bytes]) -> dict[str, PatchedFile]:
    return {
        path: PatchedFile(path=path, sha256=hashlib.sha256(content).hexdigest(), length=len(content))
        for path, content in files.items()
    }


def zipped(
    files: Mapping[str, bytes] = FILES,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    change: Callable[[zipfile.ZipInfo], None] = lambda _entry: None,
    comment: bytes = b"",
) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.comment = comment
        for path, text in files.items():
            entry = zipfile.ZipInfo(path)
            entry.compress_type, entry.external_attr = method, 0o100644 << 16
            change(entry)
            archive.writestr(entry, text)
    return content.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("files", [{}, FILES, {f"{number}.py": b"%d" % number for number in range(500)}])
def test_what_zipfile_writes_is_read(files: dict[str, bytes], method: int) -> None:
    assert read_archive(zipped(files, method=method), signed_for(files)) == files


def refused(archive: bytes, told: str, files: Mapping[str, bytes] = FILES) -> None:
    with pytest.raises(BundleError, match=told):
        read_archive(archive, signed_for(files))


def mode(kind: int) -> Callable[[zipfile.ZipInfo], None]:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = kind << 16

    return change


def test_more_fewer_and_other_files_are_refused() -> None:
    not_exactly = "not hold exactly the files"
    refused(zipped({**FILES, "more.py": b""}), not_exactly)
    refused(zipped({"bot.py": FILES["bot.py"]}), not_exactly)
    refused(zipped({**FILES, "cogs/ranks.py": b"other"}), "length is not the one that was signed")
    refused(zipped({**FILES, "cogs/ranks.py": b"RANKS = 3\n"}), "content is not the one that was signed")
    others = {"bot.py": FILES["bot.py"], "assets/été.txt": b"", "cogs/Ranks.py": b"RANKS = 2\n"}
    refused(zipped(others), not_exactly)
    refused(zipped({"../../../x": b""}), not_exactly, {"assets/x.p": b""})


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.py", b"good")
        archive.writestr("a.py", b"evil")
    refused(content.getvalue(), "not hold exactly the files", {"a.py": b"good"})
    refused(content.getvalue(), "not hold exactly the files", {"a.py": b"good", "b.py": b"evil"})


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_devices_and_folders_are_refused(kind: int) -> None:
    refused(zipped(change=mode(kind | 0o644)), "a link, a device or a folder")


def test_a_file_that_would_run_as_its_owner_is_refused() -> None:
    refused(zipped(change=mode(stat.S_IFREG | 0o4755)), "a link, a device or a folder")
    read_archive(zipped(change=mode(stat.S_IFREG | 0o755)), signed_for(FILES))
    read_archive(zipped(change=mode(0)), signed_for(FILES))


def set_bits(archive: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    at = archive.index(signature) + offset
    return archive[:at] + value + archive[at + len(value) :]


def test_encryption_other_packings_comments_and_extra_fields_are_refused() -> None:
    for flag in (0x1, 0x8, 0x40, 0x2000):
        odd = set_bits(zipped(), b"PK\1\2", 8, struct.pack("<H", flag))
        refused(set_bits(odd, b"PK\3\4", 6, struct.pack("<H", flag)), "is encrypted")
    refused(zipped(method=zipfile.ZIP_BZIP2), "packed in a way")
    refused(zipped(method=zipfile.ZIP_LZMA), "packed in a way|is encrypted")
    refused(zipped(comment=b"hello"), "no zip, or one with a comment")

    def with_comment(entry: zipfile.ZipInfo) -> None:
        entry.comment = b"x"

    def with_extra(entry: zipfile.ZipInfo) -> None:
        entry.extra = b"\x99\x99\x01\x00x"

    refused(zipped(change=with_comment), "more in it than names")
    refused(zipped(change=with_extra), "more in it than names")


def test_a_zip_that_says_it_needs_more_than_version_2_is_refused() -> None:
    odd = set_bits(zipped(), b"PK\1\2", 6, struct.pack("<H", 148))
    refused(set_bits(odd, b"PK\3\4", 4, struct.pack("<H", 148)), "is encrypted, or packed in a way")
    refused(odd, "is encrypted, or packed in a way")
    refused(set_bits(zipped(), b"PK\3\4", 4, struct.pack("<H", 148)), "says different things")


def test_zip64_is_refused() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, archive.open("a.py", "w", force_zip64=True) as stream:
        stream.write(b"good")
    refused(content.getvalue(), "says different things|more in it than names|packed in a way", {"a.py": b"good"})


def test_something_before_between_and_after_the_files_is_refused() -> None:
    archive = zipped({"a.py": b"good"})
    files = {"a.py": b"good"}
    refused(b"#!/bin/sh\n" + archive, "not at its end", files)
    refused(archive + b"\0", "no zip", files)
    directory = archive.index(b"PK\1\2")
    end = archive.rindex(b"PK\5\6")
    gap = archive[:directory] + b"gap!" + archive[directory:end]
    moved = archive[end : end + 16] + struct.pack("<LH", directory + 4, 0)
    refused(gap + moved, "something after its last file", files)
    refused(archive[:end] + b"four" + archive[end:], "not at its end", files)


def test_files_that_overlap_are_refused() -> None:
    files = {"a.py": b"good", "b.py": b"good"}
    archive = zipped(files)
    second = archive.index(b"PK\1\2", archive.index(b"PK\1\2") + 1)
    # Both names lead to the first file's content.
    refused(archive[: second + 42] + b"\0\0\0\0" + archive[second + 46 :], "something before 'b.py'", files)


def test_a_name_beside_the_content_that_is_another_is_refused() -> None:
    archive = zipped({"a.py": b"good"})
    refused(archive.replace(b"a.py", b"b.py", 1), "another name beside its content", {"a.py": b"good"})
    refused(set_bits(archive, b"PK\3\4", 14, b"\0\0\0\0"), "says different things", {"a.py": b"good"})


def test_a_bomb_is_never_unpacked_beyond_what_was_signed_for() -> None:
    archive = set_length(zipped({"a.py": b"\0" * 20_000_000}), 10)
    tracemalloc.start()
    try:
        refused(archive, "longer than it says", {"a.py": b"\0" * 10})
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def set_length(archive: bytes, length: int) -> bytes:
    """Have both headers of a file say another length than it will have."""
    said = struct.pack("<L", length)
    return set_bits(set_bits(archive, b"PK\3\4", 22, said), b"PK\1\2", 24, said)


def test_a_tail_behind_the_packed_content_is_refused() -> None:
    archive = zipped({"a.py": b"good"})
    packed = struct.unpack_from("<L", archive, 18)[0]
    at = 30 + len("a.py") + packed
    longer = struct.pack("<L", packed + 4)
    odd = archive[:at] + b"tail" + archive[at:]
    odd = set_bits(set_bits(odd, b"PK\3\4", 18, longer), b"PK\1\2", 20, longer)
    end = odd.rindex(b"PK\5\6")
    odd = odd[: end + 16] + struct.pack("<L", at + 4) + odd[end + 20 :]
    refused(odd, "has a tail", {"a.py": b"good"})


def test_a_directory_of_a_hundred_thousand_names_is_not_read() -> None:
    many = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65_535, 65_535, 46, 0, 0)
    refused(b"PK\1\2" + b"\0" * 42 + many, "not hold exactly the files", {"a.py": b""})


def test_reading_does_not_load_zipfile() -> None:
    script = "import sys, handshake.patch_bundle; print('zipfile' in sys.modules, 'unicodedata' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert told.stdout.split() == ["False", "False"]
