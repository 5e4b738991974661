"""What a patch changes, on the terminal: a table as git's diffstat, and the lines. All of its text is foreign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from master.services.patches.differences import FileDifference
from master.terminal.output import one_line
from master.terminal.patch_files import SIGNS, size_text
from master.wording import visible

_STYLES = {"added": "green", "removed": "red", "place": "cyan", "context": ""}
_MARKS = {"added": "+", "removed": "-", "context": " ", "place": ""}
_MOST_BAR, _PIPE_BAR, _SHORTEST_NAME = 40, 20, 16


def stat_lines(found: Sequence[FileDifference], *, width: int | None) -> Iterator[Text]:
    """Yield a line for each file, with a bar of its added and removed lines, and one for all."""
    counts = [_count(one) for one in found]
    longest = max((cell_len(visible(one.path)) for one in found), default=0)
    figures = max(map(len, counts), default=0)
    bar = _PIPE_BAR
    if width is not None:
        longest = min(longest, max(width - figures - 16, _SHORTEST_NAME))
        bar = min(max(width - longest - figures - 8, 0), _MOST_BAR)
    most = max(((one.added or 0) + (one.removed or 0) for one in found), default=0)
    for one, count in zip(found, counts, strict=True):
        name = Text(_shortened(visible(one.path), longest))
        name.append(" " * (longest - cell_len(name.plain)))
        line = Text.assemble((f" {one.sign} ", SIGNS[one.sign]), name, " | ", f"{count:>{figures}} ")
        yield line.append_text(_bar(one, most, bar))
    yield summary_line(found)


def _count(one: FileDifference) -> str:
    if one.added is not None and one.removed is not None:
        return str(one.added + one.removed)
    if one.before is not None and one.after is not None:
        return f"{size_text(one.before)} -> {size_text(one.after)}"
    return size_text(one.after or one.before or 0)


def _shortened(path: str, most: int) -> str:
    """Return a path whose end fits, as git shortens it."""
    while cell_len(path) > most:
        path = f"…{path[2:]}" if path.startswith("…") else f"…{path[1:]}"
    return path


def _bar(one: FileDifference, most: int, width: int) -> Text:
    added, removed = one.added or 0, one.removed or 0
    if most > width:
        # What is there at all is shown.
        added, removed = (max(round(number * width / most), 1) if number else 0 for number in (added, removed))
    bar = Text.assemble(("+" * added, "green"), ("-" * removed, "red"))
    if one.base_differs:
        bar.append(" not its base", "yellow")
    elif one.mode_changed and not added + removed:
        bar.append("executable or not", "bright_black")
    return bar


def summary_line(found: Iterable[FileDifference]) -> Text:
    """Say how many files and lines that is."""
    listed = list(found)
    added, removed = (
        sum(number) for number in zip(*((one.added or 0, one.removed or 0) for one in listed), strict=True)
    )
    files = "1 file" if len(listed) == 1 else f"{len(listed)} files"
    return one_line(f" {files}, ", (f"+{added}", "green"), " ", (f"-{removed}", "red"))


def diff_lines(one: FileDifference) -> Iterator[Text]:
    """Yield the difference of one file, as git shows it."""
    yield one_line((f"--- {_name('a', one.path) if one.before is not None else '/dev/null'}", "bold"))
    yield one_line((f"+++ {_name('b', one.path) if one.after is not None else '/dev/null'}", "bold"))
    if one.base_differs:
        yield one_line(("! the patch was made for another content of this file", "yellow"))
    if one.mode_changed:
        yield one_line(("the permission to execute it changes", "cyan"))
    if one.added is None:
        yield one_line((f"not shown: it is binary or too long ({_count(one)})", "cyan"))
    for line in one.lines:
        yield one_line(
            (f"{_MARKS[line.kind]}{line.text.expandtabs() if line.kind != 'place' else line.text}", _STYLES[line.kind])
        )


def _name(side: str, path: str) -> str:
    return f"{side}/{path}"
