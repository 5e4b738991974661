"""The rule of a draw, by which anybody can check it; docs/giveaways.md has the same rule as a script.

Imports the standard library only: ``fleet giveaway verify`` needs no fleet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

RULE, VERSION = "fleetmaster-draw", 1
SEED_BYTES = 32
_NUMBERS = 1 << 256
"""How many values an HMAC-SHA256 has."""

Entries = Sequence[tuple[int, int]]
"""Who is in with how many entries, by user id."""


def seed_hash(seed: bytes) -> bytes:
    """Return what is published of a seed before the draw."""
    return hashlib.sha256(seed).digest()


def entries_hash(giveaway_id: str, entries: Entries) -> bytes:
    """Return the SHA-256 of the giveaway's id and all entries, a line each, by user id."""
    lines = "".join(f"{user_id} {weight}\n" for user_id, weight in sorted(entries))
    return hashlib.sha256(f"{giveaway_id}\n{lines}".encode()).digest()


def pick(
    seed: bytes, hash_of_entries: bytes, draw: int, entries: Entries, places: int, *, without: Collection[int] = ()
) -> list[int]:
    """Return the winners of one draw, the first place first.

    A number is HMAC-SHA256(seed, hash of the entries, draw, counter). One beyond the largest multiple of all weights is
    rejected, so that none is likelier than it ought to be; the remainder is a position among the weights. Who has won
    is left out for the places after it.

    Parameters
    ----------
    draw
        0 for the first, then one more for each that draws again.
    without
        Who cannot win: the winners of earlier draws.
    """
    left_out = frozenset(without)
    left = [entry for entry in sorted(entries) if entry[0] not in left_out]
    won: list[int] = []
    counter = 0
    while left and len(won) < places:
        ends = list(accumulate(weight for _, weight in left))
        total = ends[-1]
        while True:
            message = hash_of_entries + draw.to_bytes(8, "big") + counter.to_bytes(8, "big")
            number = int.from_bytes(hmac.digest(seed, message, "sha256"), "big")
            counter += 1
            if number < _NUMBERS - _NUMBERS % total:
                break
        won.append(left.pop(bisect_right(ends, number % total))[0])
    return won


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: who could not win, and who won."""

    without: tuple[int, ...]
    winners: tuple[int, ...]


def document(giveaway_id: str, prize: str, seed: bytes, entries: Entries, draws: Sequence[Draw]) -> str:
    """Return the file from which a draw can be recomputed; ids are texts, for readers with 53-bit numbers."""
    return json.dumps(
        {
            "rule": RULE,
            "version": VERSION,
            "giveaway": giveaway_id,
            "prize": prize,
            "seed": seed.hex(),
            "seed_hash": seed_hash(seed).hex(),
            "entries_hash": entries_hash(giveaway_id, entries).hex(),
            "draws": [
                # Without those who are left out, whom the draws before it name: of a thousand draws they are megabytes.
                {"draw": number, "winners": [str(user_id) for user_id in draw.winners]}
                for number, draw in enumerate(draws)
            ],
            "entries": [[str(user_id), weight] for user_id, weight in sorted(entries)],
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a draw's file found."""

    giveaway_id: str
    prize: str
    seed_hash: str
    entries_hash: str
    entries: int
    draws: tuple[Draw, ...]
    problems: tuple[str, ...]


class NotADraw(ValueError):
    """The text is no file of a draw."""


def check(text: str) -> Checked:
    """Recompute the draws of a file.

    Raises
    ------
    NotADraw
        It cannot be read as one.
    """
    try:
        said = json.loads(text)
        return _check(said)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, NotADraw):
            raise
        raise NotADraw(f"{type(error).__name__}: {error}"[:200]) from error


def _check(said: dict[str, Any]) -> Checked:
    if said["rule"] != RULE or said["version"] != VERSION:
        raise NotADraw(f"the rule {said['rule']!r} version {said['version']!r} is not known here".replace("\n", " "))
    giveaway_id, seed = str(said["giveaway"]), bytes.fromhex(said["seed"])
    entries = [(int(user_id), _weight(weight)) for user_id, weight in said["entries"]]
    draws = list(_draws_of(said["draws"]))
    computed = entries_hash(giveaway_id, entries)
    problems = []
    if not draws:
        problems.append("there is no draw in it")
    if len({user_id for user_id, _ in entries}) != len(entries):
        problems.append("somebody is in it twice")
    if len(seed) != SEED_BYTES:
        problems.append(f"the seed has {len(seed)} bytes, and not {SEED_BYTES}")
    if seed_hash(seed).hex() != said["seed_hash"]:
        problems.append("the seed is not the one whose hash is in it")
    if computed.hex() != said["entries_hash"]:
        problems.append("the entries are not those whose hash is in it")
    former: list[int] = []
    for number, draw in enumerate(draws):
        if sorted(draw.without) != sorted(former):
            problems.append(f"draw {number} leaves out others than the winners before it")
        won = pick(seed, computed, number, entries, len(draw.winners), without=draw.without)
        if won != list(draw.winners):
            problems.append(f"draw {number} has other winners than the rule: {', '.join(map(str, won)) or 'none'}")
        former += draw.winners
    return Checked(
        giveaway_id=giveaway_id,
        prize=str(said.get("prize", "")),
        seed_hash=str(said["seed_hash"]),
        entries_hash=computed.hex(),
        entries=len(entries),
        draws=tuple(draws),
        problems=tuple(problems),
    )


def _draws_of(said: Sequence[dict[str, Any]]) -> Iterator[Draw]:
    """Yield the draws of a file; each leaves out the winners before it, or those whom an older file names."""
    former = tuple[int, ...]()
    for draw in said:
        won = _ids(draw["winners"])
        yield Draw(_ids(draw["without"]) if "without" in draw else former, won)
        former += won


def _ids(said: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(user_id) for user_id in said)


def _weight(said: Any) -> int:
    if type(said) is not int or not 1 <= said <= 1_000_000:
        raise NotADraw(f"{said!r} is no number of entries"[:100])
    return said
