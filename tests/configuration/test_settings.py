"""The tree of settings: each is in the example, each number has bounds that hold, each says when it takes effect."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from master.configuration.changes import changes
from master.configuration.checks import unknown_node_names
from master.configuration.loading import ConfigError, load_settings
from master.configuration.settings import Settings
from master.configuration.tree import Effect, SettingField, fields_of, is_section, section_by_name
from master.security.derivation import new_master_secret

ROOT = Path(__file__).resolve().parents[2]
COMMENTED_OUT = ("DATABASE", "NODES")
NAMED = {"NODES": "welcome", "CATEGORIES": "support", "MAILBOXES": "inbox", "RULES": "billing", "ANNOUNCE": "news"}
"""What the example has one of, by name."""
REQUIRED: dict[tuple[str, ...], str] = {("MAILBOXES", "inbox"): "'HOST': 'h', 'USER': 'u', "}
"""What has to be said beside any other setting, by the path of the dict that it is in."""
MINIMAL = 'import os\nIDENTITY = {"MASTER_SECRET": os.environ["MASTER_SECRET"]}\n'


class Leaf(NamedTuple):
    """One setting, and where it is in config.py."""

    field: SettingField
    path: tuple[str, ...]

    @property
    def key(self) -> str:
        first, *others = self.path
        return first + "".join(f"[{key!r}]" for key in others)


def leaves(struct: Any = Settings, inherited: Effect = "restart", above: tuple[str, ...] = ()) -> Iterator[Leaf]:
    for field in fields_of(struct, inherited):
        path = (*above, field.key)
        if not field.key:
            continue
        if is_section(field.shape):
            yield from leaves(field.shape.kind, field.effect, path)
        elif (entry := section_by_name(field.shape)) is not None:
            yield from leaves(entry, field.effect, (*path, NAMED[field.key]))
        else:
            yield Leaf(field, path)


ALL = list(leaves())
NUMBERS = [leaf for leaf in ALL if leaf.field.shape.kind in (int, float)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    with open(os.open(folder / ".env", os.O_WRONLY | os.O_CREAT, 0o600), "w") as env:
        env.write(f"MASTER_SECRET={new_master_secret()}\nSTRIPE_WEBHOOK_SECRET=whsec_x\n")
    return folder


def config_with(leaf: Leaf, value: Any) -> str:
    """Return a config in which one setting has a value."""
    text = MINIMAL + 'inf, nan = map(float, ("inf", "nan"))\n'
    section, *inner = leaf.path
    entry = repr(value)
    for depth, key in reversed(list(enumerate(inner))):
        beside = REQUIRED.get((section, *inner[:depth]), "")
        entry = "{" + beside + f"{key!r}: {entry}" + "}"
    return text + (f"IDENTITY.update({entry})\n" if section == "IDENTITY" else f"{section} = {entry}\n")


def read(home: Path, leaf: Leaf, value: Any) -> Any:
    """Return a setting as it is read from a config that has ``value`` for it."""
    (home / "config.py").write_text(config_with(leaf, value))
    found: Any = load_settings(home, {})
    for field in path_of_names(leaf):
        found = found[field] if isinstance(found, dict) else getattr(found, field)
    return found


def path_of_names(leaf: Leaf) -> list[str]:
    struct: Any = Settings
    names: list[str] = []
    for key in leaf.path:
        field = next((field for field in fields_of(struct) if field.key == key), None)
        if field is None:
            names.append(key)
            continue
        names.append(field.name)
        struct = section_by_name(field.shape) or field.shape.kind
    return names


@pytest.mark.parametrize("leaf", NUMBERS, ids=lambda leaf: leaf.key)
@given(data=st.data())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_number_has_bounds_and_is_held_to_them(home: Path, leaf: Leaf, data: st.DataObject) -> None:
    shape = leaf.field.shape
    assert shape.least is not None
    assert shape.most is not None
    least, most = shape.least, shape.most
    if shape.kind is int:
        inside: Any = st.integers(int(least), int(most))
        outside: Any = st.integers(max_value=int(least) - 1) | st.integers(min_value=int(most) + 1)
    else:
        inside = st.floats(least, most)
        outside = st.floats(allow_infinity=True, allow_nan=True).filter(lambda number: not least <= number <= most)
    # 0 means no id, and None is where it may be left open: neither is a mistake.
    harmless = (0, "", None) if shape.form == "id" else (None,) if shape.optional else ()
    wrong = outside | st.sampled_from([True, "9", None, [1]])
    bad = data.draw(wrong.filter(lambda value: value is True or value not in harmless))
    good = data.draw(inside)
    assert read(home, leaf, good) == good
    with pytest.raises(ConfigError) as error:
        read(home, leaf, bad)
    (problem,) = error.value.problems
    assert problem.key == leaf.key
    assert problem.fix.startswith(shape.wording or f"a {'whole ' if shape.kind is int else ''}number from {least:,}")


def example() -> dict[str, Any]:
    """Return what the example says, with what is commented out in it."""
    text = (ROOT / "config.example.py").read_text("utf-8")
    text = re.sub(
        r'^(\s*)# ( *)(?="[A-Z_]+":|"welcome":|"support":|"pro":|"inbox":|"billing":|"news":|\},)',
        r"\1\2",
        text,
        flags=re.MULTILINE,
    )
    found: dict[str, Any] = {}
    os.environ["LEDGER_PASSWORD"] = "hunter2"
    try:
        exec(text, found)  # noqa: S102 - our own example
    finally:
        del os.environ["LEDGER_PASSWORD"]
    return found


@pytest.mark.parametrize("leaf", ALL, ids=lambda leaf: leaf.key)
def test_each_setting_is_in_the_example_with_its_default(leaf: Leaf) -> None:
    found: Any = example()
    for key in leaf.path:
        assert key in found, f"{leaf.key} is missing in config.example.py"
        found = found[key]
    if (
        leaf.path[0] in COMMENTED_OUT
        and leaf.field.left_out is UNSET
        and leaf.field.default not in (UNSET, None, (), {})
    ):
        assert found == leaf.field.default


def test_the_example_says_what_holds_without_it(home: Path) -> None:
    (home / "config.py").write_text((ROOT / "config.example.py").read_text("utf-8"))
    shown = load_settings(home, {})
    (home / "config.py").write_text(MINIMAL)
    # It shows a second tier.
    assert [change.key for change in changes(load_settings(home, {}), shown)] == ["LICENCES"]


def test_the_example_has_nothing_that_is_no_setting() -> None:
    known = {leaf.path for leaf in ALL}
    for section, entries in example().items():
        if section.isupper():
            for key in entries if isinstance(entries, dict) else ():
                assert any(path[:2] == (section, key) or path == (section,) for path in known), f"{section}[{key!r}]"


@pytest.mark.parametrize("effect", ["now", "node start", "restart"])
def test_the_handbook_says_when_each_setting_takes_effect(effect: Effect) -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert effect_row(effect) in handbook, "write this line into docs/operations.md"


TITLES: dict[Effect, str] = {
    "now": "at once",
    "node start": "when a node starts next",
    "restart": "when the master starts next",
}


def effect_row(effect: Effect) -> str:
    """Return the handbook's row: whole sections by their name, parts of them by their keys."""
    sections: dict[str, list[Leaf]] = {}
    for leaf in ALL:
        sections.setdefault(leaf.path[0], []).append(leaf)
    parts = []
    for section, found in sections.items():
        keys = [leaf.path[-1] for leaf in found if leaf.field.effect == effect]
        others = [leaf.path[-1] for leaf in found if leaf.field.effect != effect]
        if keys and len(others) > len(keys):
            parts.append(f"{', '.join(f'`{key}`' for key in keys)} of `{section}`")
        elif keys:
            parts.append(f"`{section}`" + (f" but {', '.join(f'`{key}`' for key in others)}" if others else ""))
    return f"| {TITLES[effect]} | {'; '.join(parts)} |"


def test_a_change_is_named_by_its_key_and_shows_no_secret(home: Path) -> None:
    def with_password(password: str) -> Settings:
        text = f'DATABASE = {{"SERVER": "db", "USER": "sa", "PASSWORD": {password!r}}}\n'
        (home / "config.py").write_text(MINIMAL + text)
        return load_settings(home, {})

    found = changes(with_password("hunter2"), with_password("hunter3"))
    assert [change.key for change in found] == ["DATABASE['URL']", "DATABASE['PASSWORD']"]
    assert "hunter" not in str(found)
    assert changes(with_password("hunter2"), with_password("hunter2")) == []


def test_a_wrong_secret_is_not_shown(home: Path) -> None:
    leaf = next(leaf for leaf in ALL if leaf.path == ("DATABASE", "PASSWORD"))
    for value in (["hunter2"], {"hunter2": 1}, b"hunter2"):
        with pytest.raises(ConfigError) as error:
            read(home, leaf, value)
        assert "hunter" not in str(error.value.problems)


def test_names_that_no_node_has_get_the_nearest_that_one_has(home: Path) -> None:
    nodes = 'NODES = {"ATLAS": {"AFTER": ["data-bse", "Atlas2"]}, "zzz": {}, "Data-Base": {}}\n'
    (home / "config.py").write_text(MINIMAL + nodes)
    found = unknown_node_names(load_settings(home, {}), ["Atlas", "data-Base"])
    assert [(problem.key, problem.fix) for problem in found] == [
        ("NODES['zzz']", "`fleet status` lists the nodes"),
        ("NODES['atlas']['AFTER']", "did you mean 'data-Base'?"),
        ("NODES['atlas']['AFTER']", "did you mean 'Atlas'?"),
    ]
