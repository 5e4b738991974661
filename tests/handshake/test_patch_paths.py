"""Which paths a patch may touch."""

from __future__ import annotations

import unicodedata

import pytest

from handshake.errors import BundleError
from handshake.patch_paths import MAX_PART_BYTES, check_path, check_together

BIDI = "\u202e"


@pytest.mark.parametrize(
    "path",
    ["bot.py", "cogs/ranks.py", "assets/été/字.png", "a/" * 15 + "b", "x" * MAX_PART_BYTES, "environment.py",
     "requirements.txt", "my.env", "data/.keep", "con", "aux.py", "-rf", "~/x", "fleet.py", "releases/x",
     "emoji 🎉.txt"],
)  # fmt: skip
def test_a_plain_path_is_allowed(path: str) -> None:
    check_path(path)
    check_together([path])


@pytest.mark.parametrize(
    ("path", "told"),
    [
        *((path, "not a plain path") for path in (
            "/etc/passwd", "//x", "../x", "a/../b", "..", ".", "./x", "a/", "a//b", "a/./b", "a\\b", "..\\x",
        )),
        *((path, "cannot be shown") for path in (
            "a\0b", "a\nb", "\x1b[2J", "a\x7f", f"a{BIDI}b", "\u200bx", "a\u2028b", "a\ufeff", "\ue000", "a\xa0b",
        )),
        *((path, "too deep, or a name in it too long") for path in (
            "a/" * 16 + "b", "x" * (MAX_PART_BYTES + 1), "字" * 67,
        )),
        *((path, "begins or ends with a space") for path in (" a", "a ", "a /b", "a.", "cogs./x", "a/ b", "...")),
        *((path, "usual form") for path in (unicodedata.normalize("NFD", "é.py"), "\u212bngstrom")),
        *((path, "secrets or the node's identity") for path in (
            ".env", "cogs/.env", ".ENV", ".env.local", "node.json", "Node.JSON", "a/node.json", ".env/x",
            "\uff0eenv", "node.j\u017fon", "\uff4eode.json",
        )),
        *((path, "no patch reaches into") for path in (
            ".releases/1/x", ".RELEASES", "a/.releases/x", ".git/hooks/x", "a/.Git/config", "__pycache__/x.pyc",
            ".fleet-0123.tmp", ".fleet/x", ".\uff47it/config",
        )),
    ],
)  # fmt: skip
def test_a_path_that_climbs_hides_or_is_not_the_patchs_to_touch_is_refused(path: str, told: str) -> None:
    with pytest.raises(BundleError, match=told):
        check_path(path)


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (("a.py", "a.py"), "have the same name"),
        (("cogs/Ranks.py", "cogs/ranks.py"), "have the same name"),
        (("Cogs/a.py", "cogs/b.py"), "are the same, but for"),
        (("straße.py", "STRASSE.py"), "have the same name"),
        (("ﬁ.py", "fi.py"), "have the same name"),  # Python imports both as `fi`
        (("cogs", "cogs/a.py"), "is a file, and a folder of"),
        (("cogs/a.py", "cogs"), "is a file, and a folder of"),
        (("a/b/c", "a/b", "x"), "is a file, and a folder of"),
    ],
)
def test_two_paths_that_are_one_somewhere_are_refused(paths: tuple[str, ...], told: str) -> None:
    with pytest.raises(BundleError, match=told):
        check_together(paths)


def test_paths_that_are_different_are_allowed_together() -> None:
    check_together(["a/b", "a/c", "ab", "b/a", "cogs.py", "cogs/a.py", "cogs/a/b.py"])
