"""The rule of a draw: fair, the same for everybody who recomputes it, and no file that was changed fits."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from master.services.people.giveaway_draw import Draw, NotADraw, check, document, entries_hash, pick, seed_hash
from tests.hostile.effort import rounds

SEED = bytes(range(32))
DOCS = Path(__file__).parents[3] / "docs" / "giveaways.md"


def drawn(entries: list[tuple[int, int]], *places: int, seed: bytes = SEED, giveaway: str = "01W") -> str:
    """Return the file of a giveaway with so many winners in each of its draws."""
    hashed, draws, former = entries_hash(giveaway, entries), list[Draw](), tuple[int, ...]()
    for number, count in enumerate(places):
        won = tuple(pick(seed, hashed, number, entries, count, without=former))
        draws.append(Draw(former, won))
        former += won
    return document(giveaway, "a mug", seed, entries, draws)


def test_the_order_of_entries_does_not_matter() -> None:
    entries = [(user_id, user_id % 3 + 1) for user_id in range(1, 200)]
    shuffled = sorted(entries, key=lambda entry: entry[0] * 7_919 % 199)
    assert entries_hash("01W", entries) == entries_hash("01W", shuffled)
    hashed = entries_hash("01W", entries)
    assert pick(SEED, hashed, 0, entries, 5) == pick(SEED, hashed, 0, shuffled, 5)


def test_another_giveaway_with_the_same_seed_and_entries_has_other_winners() -> None:
    entries = [(user_id, 1) for user_id in range(1_000)]
    assert pick(SEED, entries_hash("01W", entries), 0, entries, 5) != pick(
        SEED, entries_hash("01X", entries), 0, entries, 5
    )


def test_nobody_wins_twice_and_all_win_when_there_are_prizes_for_all() -> None:
    entries = [(user_id, 1 + 99 * (user_id == 3)) for user_id in range(20)]
    won = pick(SEED, b"h" * 32, 0, entries, 50)
    assert sorted(won) == list(range(20))


def test_former_winners_are_left_out() -> None:
    entries = [(user_id, 1) for user_id in range(10)]
    first = pick(SEED, b"h" * 32, 0, entries, 8)
    assert set(pick(SEED, b"h" * 32, 1, entries, 8, without=first)) == set(range(10)) - set(first)


def test_who_has_more_entries_wins_as_much_more_often() -> None:
    entries, wins = [(1, 1), (2, 2), (3, 5)], Counter[int]()
    for number in range(8_000):
        wins[pick(number.to_bytes(32, "big"), b"h" * 32, 0, entries, 1)[0]] += 1
    # Three standard deviations around 1,000, 2,000 and 5,000.
    for user_id, expected, deviation in ((1, 1_000, 30), (2, 2_000, 39), (3, 5_000, 44)):
        assert abs(wins[user_id] - expected) < 3.5 * deviation


def test_a_hundred_thousand_entries_are_drawn() -> None:
    entries = [(10**17 + 7_919 * number, 1 + number % 5) for number in range(100_000)]
    won = pick(SEED, entries_hash("01W", entries), 0, entries, 10)
    assert len(set(won) & {user_id for user_id, _ in entries}) == 10


def test_a_file_that_was_not_touched_fits() -> None:
    checked = check(drawn([(user_id, 1) for user_id in range(100)], 3, 1, 2))
    assert checked.problems == ()
    assert [len(draw.winners) for draw in checked.draws] == [3, 1, 2]


def _add_a_friend(file: dict[str, Any]) -> None:
    file["entries"].append(["777", 1])


def _add_a_friend_and_hash_anew(file: dict[str, Any]) -> None:
    file["entries"].append(["777", 1])
    file["entries_hash"] = entries_hash("01W", [(int(u), w) for u, w in file["entries"]]).hex()


def _name_another_winner(file: dict[str, Any]) -> None:
    file["draws"][0]["winners"][0] = "5" if file["draws"][0]["winners"][0] != "5" else "6"


def _draw_until_it_suits(file: dict[str, Any]) -> None:
    file["draws"] = file["draws"][1:]


def _leave_somebody_out(file: dict[str, Any]) -> None:
    file["draws"][0]["without"] = file["draws"][0]["winners"][:1]


def _take_another_seed(file: dict[str, Any]) -> None:
    file["seed"] = bytes(32).hex()


def _count_a_friend_more(file: dict[str, Any]) -> None:
    file["entries"][7][1] = 100


@pytest.mark.parametrize(
    "tamper",
    [
        _add_a_friend,
        _add_a_friend_and_hash_anew,
        _name_another_winner,
        _draw_until_it_suits,
        _leave_somebody_out,
        _take_another_seed,
        _count_a_friend_more,
    ],
)
def test_a_file_that_was_changed_does_not_fit(tamper: Any) -> None:
    file = json.loads(drawn([(user_id, 1) for user_id in range(100)], 3, 1))
    tamper(file)
    assert check(json.dumps(file)).problems


def test_nonsense_is_no_draw_and_nothing_else() -> None:
    rng = random.Random(7)  # noqa: S311 - not for secrets
    whole = drawn([(user_id, 1) for user_id in range(8)], 2)
    refused = fitting = 0
    count = rounds(300)
    for _ in range(count):
        text = bytearray(whole.encode())
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.choice(b'0123456789{}[]",:- \\ntf')
        try:
            checked = check(text.decode("utf-8", "replace"))
        except NotADraw:
            refused += 1
            continue
        said = json.loads(text.decode("utf-8", "replace"))
        if not checked.problems:
            fitting += 1
            # Only the words of the prize, or keys that nobody reads, can differ.
            same = ("seed", "entries", "giveaway")
            assert all(said[key] == json.loads(whole)[key] for key in same)
    print(f"draw files: {count} mutated, {refused} refused as no draw, {fitting} harmless, the rest do not fit")
    assert refused


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"rule": "other", "version": 1}', "[" * 100_000])
def test_what_is_no_file_of_a_draw_is_refused(text: str) -> None:
    with pytest.raises(NotADraw):
        check(text)


def test_the_script_in_the_docs_finds_the_same_winners(tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    entries = [(10**17 + number * 999_983, number % 7 + 1) for number in range(500)]
    file = tmp_path / "draw.json"
    (tmp_path / "check.py").write_text(script)
    assert len([line for line in script.splitlines() if line.strip()]) <= 22

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(tmp_path / "check.py"), str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603

    file.write_text(drawn(entries, 5, 2, 1))
    done = run()
    assert done.returncode == 0, done.stderr
    for draw in check(file.read_text()).draws:
        assert ", ".join(map(str, draw.winners)) in done.stdout
    changed = json.loads(file.read_text())
    changed["draws"][1]["winners"].reverse()
    file.write_text(json.dumps(changed))
    assert run().returncode != 0


def test_the_seed_hash_is_plain_sha256() -> None:
    assert seed_hash(SEED) == hashlib.sha256(SEED).digest()
