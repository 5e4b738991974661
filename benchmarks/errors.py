"""A thousand patterns of solutions over what bots write to standard error, a line in a thousand matching, on one core.

The contenders find the same lines: the master's Matcher with all that it does (lines, literals, RE2, groups, tokens
hidden), ``re`` and RE2 one pattern after the other, one alternation of all, ``re2.Set``, ``re2.Filter`` (over chunks,
and RE2 where it says so), and hyperscan where it is installed. Each is measured in a process of its own, for memory's
sake, over as much of the text as it gets through in its time. The CPU time of the thread counts, not the wall's.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from benchmarks.reporting import MB, Outcome, parser, show

SPEED_MB_S = 50.0
MEMORY_MB = 8.0
CHUNK_BYTES = 65_536
_A_MATCH_IN = 1_000
_MEASURED_S = 3.0
_LAG_S = 0.01
_SET_MEMORY = 64 * MB
"""With its default, 8 MB, a set of a thousand does not compile."""
_WORDS = """
voice guild member gateway shard webhook channel message interaction thread presence cache token session http rate limit
socket timeout connection refused invalid missing permission intent module database cursor pool locked encode decode
json payload handler command cog extension loop task cancelled future stream buffer overflow disk quota memory kill
signal clock skew address bind listen accept tls certificate verify dns lookup resolve proxy
""".split()  # noqa: SIM905 - to be read as a text
CONTENDERS = (
    "fleetmaster",
    "re, one by one",
    "re, one alternation",
    "re2, one by one",
    "re2.Set, lines",
    "re2.Set, chunks",
    "re2.Filter, chunks",
    "hyperscan, chunks",
)


def make_patterns(count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Return patterns as people write them, of several kinds, each with a line that it matches."""
    made = dict[str, str]()
    while len(made) < count:
        one, two, three, four = rng.sample(_WORDS, 4)
        kind = f"{one.capitalize()}{rng.choice(('Error', 'Exception', 'Failure', 'Timeout'))}"
        number = rng.randrange(1_000, 99_999)
        pattern, line = rng.choice(
            (
                (rf"^{kind}: {two} {three} (?P<name>[A-Za-z0-9_.]{{1,80}})$", f"{kind}: {two} {three} atlas.bot"),
                (
                    rf"^(?:discord\.errors\.)?{kind}: .*\(error code: {number}\)",
                    f"{kind}: no (error code: {number}): x",
                ),
                (rf"\b{kind}: (?:{two}|{three}) {four}\b", f"{kind}: {three} {four}"),
                (rf"(?i){one} {two} (?:was|is) {three}", f"The {one.upper()} {two} was {three}"),
                (rf"{kind}.*{two} {three}.*{four}", f"{kind} in {two} {three} of {four}"),
                (
                    rf"^{kind}: \[Errno {number % 130}\] {two} .{{0,40}}{three}",
                    f"{kind}: [Errno {number % 130}] {two} - {three}",
                ),
                (rf"{one}_{two}\.py.*{three}(?:ed|ing) by \d+ s", f"{one}_{two}.py: {three}ed by 17 s"),
            )
        )
        made.setdefault(pattern, line)
    return list(made.items())


def make_text(lines: int, matching: Sequence[str], rng: random.Random) -> bytes:
    """Return what a busy bot writes: logs, tracebacks, chatter, near misses; nodekit's time before each line."""

    def words(most: int) -> str:
        return " ".join(rng.choices(_WORDS, k=rng.randint(3, most)))

    def line() -> str:
        dice = rng.random()
        if dice < 0.4:
            level, source = rng.choice(("INFO", "DEBUG", "WARNING")), rng.choice(("client", "gateway", "http", "state"))
            return f"[{level:<8}] discord.{source}: {words(16)} {rng.getrandbits(60)}"
        if dice < 0.65:
            one, two = rng.choice(_WORDS), rng.choice(_WORDS)
            return f'  File "/srv/bots/{one}/cogs/{two}.py", line {rng.randint(1, 900)}, in {one}_{two}'
        if dice < 0.8:
            return f"    await self.{rng.choice(_WORDS)}.{rng.choice(_WORDS)}(interaction, {rng.choice(_WORDS)}=None)"
        if dice < 0.85:
            return "Traceback (most recent call last):"
        if dice < 0.9:
            return f"{rng.choice(_WORDS).capitalize()}Error: {words(8)}"
        return words(18)

    written = list[str]()
    for number in range(lines):
        stamp = f"2026-11-22 10:{number // 6_000 % 60:02}:{number // 100 % 60:02}.{number % 1_000:03} "
        written.append(stamp + (rng.choice(matching) if number % _A_MATCH_IN == 500 else line()))
    return ("\n".join(written) + "\n").encode()


def chunks_of(text: bytes) -> list[bytes]:
    """Return a text in chunks of whole lines."""
    made, begin = list[bytes](), 0
    while begin < len(text):
        end = text.rfind(b"\n", begin, begin + CHUNK_BYTES) + 1
        made.append(text[begin:end])
        begin = end
    return made


def _ours(patterns: Sequence[str]) -> Callable[[bytes], int]:
    from master.services.healing.matching import Matcher
    from master.services.healing.sighting import SeenIn
    from master.services.healing.solution import Samples, Solution

    matcher = Matcher(
        Solution(
            id=f"s{number}",
            title="one of many",
            applies_to=(SeenIn.STDERR,),
            patterns=(pattern,),
            action={"name": "restart"},
            samples=Samples(match=("x",)),
        )
        for number, pattern in enumerate(patterns)
    )
    return lambda chunk: len({match.line for match in matcher.scan(SeenIn.STDERR, chunk)})


def _lines_of(chunk: bytes) -> list[bytes]:
    return [line.partition(b" ")[2].partition(b" ")[2] for line in chunk.split(b"\n")]


def _one_by_one(library: Any) -> Callable[[Sequence[str]], Callable[[bytes], int]]:
    def make(patterns: Sequence[str]) -> Callable[[bytes], int]:
        search = [library.compile(pattern.encode()).search for pattern in patterns]
        return lambda chunk: sum(any(one(line) for one in search) for line in _lines_of(chunk))

    return make


def _re_alternation(patterns: Sequence[str]) -> Callable[[bytes], int]:
    # Groups may have a name once, and flags stand at the beginning of a pattern or hold for a group.
    parts = [re.sub(r"^\(\?i\)(.*)", r"(?i:\1)", re.sub(r"\(\?P<\w+>", "(?:", pattern)) for pattern in patterns]
    search = re.compile("|".join(f"(?:{part})" for part in parts).encode()).search
    return lambda chunk: sum(search(line) is not None for line in _lines_of(chunk))


def _re2_set(patterns: Sequence[str]) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = _SET_MEMORY
    options.log_errors = False
    known = re2.Set.SearchSet(options)
    for pattern in patterns:
        known.Add(pattern)
    known.Compile()
    return known


def _set_lines(patterns: Sequence[str]) -> Callable[[bytes], int]:
    known = _re2_set(patterns)
    return lambda chunk: sum(bool(known.Match(line)) for line in _lines_of(chunk))


def _in_several_lines(patterns: Sequence[str]) -> list[str]:
    return [f"(?m){pattern.replace('^', '(?:^|^[0-9-]+ [0-9:.]+ )')}" for pattern in patterns]


def _confirming(patterns: Sequence[str]) -> Callable[[bytes, set[int]], int]:
    import re2

    compiled = [re2.compile(pattern.encode()) for pattern in patterns]
    return lambda chunk, hit: (
        sum(any(compiled[one].search(line) for one in hit) for line in _lines_of(chunk)) if hit else 0
    )


def _set_chunks(patterns: Sequence[str]) -> Callable[[bytes], int]:
    known, confirm = _re2_set(_in_several_lines(patterns)), _confirming(patterns)
    return lambda chunk: confirm(chunk, set(known.Match(chunk) or ()))


def _filter_chunks(patterns: Sequence[str]) -> Callable[[bytes], int]:
    import re2

    known, confirm = re2.Filter(), _confirming(patterns)
    for pattern in _in_several_lines(patterns):
        known.Add(pattern)
    known.Compile()
    return lambda chunk: confirm(chunk, set(known.Match(chunk, True) or ()))


def _hyperscan(patterns: Sequence[str]) -> Callable[[bytes], int]:
    import hyperscan

    database = hyperscan.Database()
    expressions = [re.sub(r"\(\?P<\w+>", "(?:", pattern).encode() for pattern in _in_several_lines(patterns)]
    count = len(expressions)
    flags = [hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_SINGLEMATCH] * count
    database.compile(expressions=expressions, ids=list(range(count)), elements=count, flags=flags)
    confirm = _confirming(patterns)

    def scan(chunk: bytes) -> int:
        hit = set[int]()
        database.scan(chunk, match_event_handler=lambda number, *_: hit.add(number))
        return confirm(chunk, hit)

    return scan


def _makers() -> dict[str, Callable[[Sequence[str]], Callable[[bytes], int]]]:
    import re2

    making = (
        _ours,
        _one_by_one(re),
        _re_alternation,
        _one_by_one(re2),
        _set_lines,
        _set_chunks,
        _filter_chunks,
        _hyperscan,
    )
    return dict(zip(CONTENDERS, making, strict=True))


def measure(contender: str, patterns: int, megabytes: int, seed: int) -> dict[str, Any]:
    """Measure one contender, in this process."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    known = make_patterns(patterns, rng)
    text = make_text(megabytes * 9_000, [line for _, line in known], rng)
    chunks = chunks_of(text)
    make = _makers()[contender]
    process = psutil.Process()
    before, began = process.memory_full_info().uss, time.process_time()
    try:
        scan = make([pattern for pattern, _ in known])
    except ImportError as error:
        return {"missing": f"{error.name} is not installed"}
    compiled_s = time.process_time() - began
    # All that is compiled when it is needed first: nothing of it is in the time, and all of it in the memory.
    scan("\n".join(f"2026-11-22 10:00:00.000 {line}" for _, line in known).encode())
    scan(chunks[0])
    done = found = 0
    began = time.process_time()
    for chunk in chunks:
        found += scan(chunk)
        done += len(chunk)
        if time.process_time() - began > _MEASURED_S:
            break
    spent = time.process_time() - began
    return {
        "mb_a_second": round(done / 1e6 / spent, 2),
        "lines_found": found,
        "of_lines": text[:done].count(b"\n"),
        "compiled_s": round(compiled_s, 3),
        "memory_mb": round((process.memory_full_info().uss - before) / MB, 1),
    }


async def lag(patterns: int, megabytes: int, seed: int) -> dict[str, float]:
    """Return how late an event loop wakes while a thread beside it scans without a pause, and while none does."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    known = make_patterns(patterns, rng)
    chunks = chunks_of(make_text(megabytes * 9_000, [line for _, line in known], rng))
    scan = _ours([pattern for pattern, _ in known])
    scan(chunks[0])

    async def wakes(until: Callable[[], bool]) -> list[float]:
        late = list[float]()
        while not until():
            due = time.perf_counter() + _LAG_S
            await asyncio.sleep(_LAG_S)
            late.append((time.perf_counter() - due) * 1_000)
        return sorted(late)

    end = time.monotonic() + _MEASURED_S
    quiet = await wakes(lambda: time.monotonic() > end)
    ended = threading.Event()

    def work() -> None:
        end = time.monotonic() + _MEASURED_S
        while time.monotonic() < end:
            for chunk in chunks:
                scan(chunk)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    busy = await wakes(ended.is_set)
    thread.join()
    return {
        "quiet_p95_ms": round(quiet[int(len(quiet) * 0.95)], 2),
        "scanning_p95_ms": round(busy[int(len(busy) * 0.95)], 2),
        "scanning_worst_ms": round(busy[-1], 2),
    }


def _apart(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a part of this benchmark in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.errors", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        return {"missing": f"it ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--patterns", type=int, default=1_000)
    arguments.add_argument("--megabytes", type=int, default=16, help="of text")
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--no-peer", action="store_true", help="measure ours alone")
    arguments.add_argument("--only", choices=(*CONTENDERS, "lag"), help="measure one, and print it as JSON")
    options = arguments.parse_args()
    if options.only == "lag":
        print(json.dumps(asyncio.run(lag(options.patterns, options.megabytes, options.seed))))
        return
    if options.only:
        print(json.dumps(measure(options.only, options.patterns, options.megabytes, options.seed)))
        return
    outcome = Outcome(f"{options.patterns} patterns over {options.megabytes} MB, a line in {_A_MATCH_IN:,} matching")
    size = ["--patterns", str(options.patterns), "--megabytes", str(options.megabytes), "--seed", str(options.seed)]
    for contender in CONTENDERS[:1] if options.no_peer else CONTENDERS:
        outcome.rows[contender] = _apart(["--only", contender, *size])
    ours = outcome.rows["fleetmaster"]
    for contender, row in outcome.rows.items():
        if contender != "fleetmaster":
            outcome.ratio(contender, ours["mb_a_second"], row.get("mb_a_second"))
    lags = _apart(["--only", "lag", *size])
    outcome.rows["event loop beside a scan"] = lags
    outcome.at_least("mb_a_second", ours["mb_a_second"], SPEED_MB_S)
    outcome.at_most("memory_mb", ours["memory_mb"], MEMORY_MB)
    show(outcome, as_json=options.json)


if __name__ == "__main__":
    main()
