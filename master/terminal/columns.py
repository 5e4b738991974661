"""Tables whose columns are chosen by the width: what matters most stays whole, the least important goes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

from master.terminal.output import console

_SHORTEST_FIRST, _SHORTEST_NOTE, _ROOMY = 8, 8, 100
_INDENT = 4
_EVERY_ROW = slice(None)


@dataclass(frozen=True, slots=True)
class Column:
    """One column before the note.

    Parameters
    ----------
    header
        Its heading.
    importance
        0: it is always shown. Of the others the highest number goes first.
    note_keeps
        It is shown only while the note keeps so many columns, unless no note is that long.
    align
        Where its cells stand.
    """

    header: str
    importance: int = 0
    note_keeps: int = 0
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, each a line that is visible already.

    Parameters
    ----------
    cells
        Plain, or in colour.
    note
        The last cell, which gives way first.
    whole
        The note is not cut: one that does not fit stands on lines of its own below the row.
    """

    cells: Sequence[str | Text]
    note: Text = field(default_factory=Text)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Laid:
    """A table that was laid out."""

    header: Text
    rows: tuple[tuple[Text, ...], ...]
    """The lines of each row: one, and more where its note stands below."""
    hidden: tuple[str, ...] = ()
    """Headings of the columns for which there was no room."""

    @property
    def lines(self) -> list[Text]:
        """The header and every row."""
        return [self.header, *(line for row in self.rows for line in row)]


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    width: int | None,
    note: str = "NOTE",
    window: slice = _EVERY_ROW,
) -> Laid:
    """Choose the columns that fit, and lay the rows out.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit: then nothing is left out or cut.
    note
        The heading of the note.
    window
        The rows that are wanted; widths are chosen for all of them, so that scrolling moves nothing sideways.
    """
    widths = [
        max([cell_len(column.header), *(cell_len(str(row.cells[at])) for row in rows)])
        for at, column in enumerate(columns)
    ]
    longest = max([cell_len(note), *(cell_len(row.note.plain) for row in rows)])
    gap = 2 if width is None or width >= _ROOMY else 1
    if width is None:
        shown, room = list(range(len(columns))), longest
    else:
        shown = _choose(columns, widths, longest, width=width, gap=gap)
        others = sum(widths[at] + gap for at in shown)
        if others - gap > width:
            widths[shown[0]] = max(widths[shown[0]] - (others - gap - width), _SHORTEST_FIRST)
            others = sum(widths[at] + gap for at in shown)
        room = max(width - others, 0)
    hidden = tuple(column.header for at, column in enumerate(columns) if at not in shown)
    if room < min(longest, _SHORTEST_NOTE):
        hidden, room = (*hidden, note), 0
    chosen = [(at, columns[at], widths[at]) for at in shown]
    header = _line(chosen, [column.header for column in columns], Text(note), room, gap)
    header.stylize("bold")
    made = [_row(row, chosen, room, gap, width) for row in rows[window]]
    if width is not None:
        for line in (header, *(line for lines in made for line in lines)):
            line.truncate(width)
    return Laid(header, tuple(made), hidden)


def _choose(columns: Sequence[Column], widths: Sequence[int], longest: int, *, width: int, gap: int) -> list[int]:
    """Return the columns that are shown, in their order: those that always are, then by importance while they fit."""
    shown = [at for at, column in enumerate(columns) if not column.importance]
    used = sum(widths[at] + gap for at in shown)
    for at in sorted((at for at in range(len(columns)) if at not in shown), key=lambda at: columns[at].importance):
        used += widths[at] + gap
        if used + min(longest, columns[at].note_keeps) > width:
            break
        shown.append(at)
    return sorted(shown)


def beside_or_below(head: Text, rest: Text, *, width: int | None) -> list[Text]:
    """Return a line of both, or, where that is too long, the head and the rest on lines of its own below it."""
    whole = Text.assemble(head, rest)
    if width is None or cell_len(whole.plain) <= width:
        return [whole]
    below = rest.wrap(console, max(width - _INDENT, _SHORTEST_FIRST), overflow="fold")
    return [head, *(_indented(line) for line in below)]


def _row(
    row: Row, chosen: Sequence[tuple[int, Column, int]], room: int, gap: int, width: int | None
) -> tuple[Text, ...]:
    if not row.whole or cell_len(row.note.plain) <= room or width is None:
        return (_line(chosen, row.cells, row.note, room, gap),)
    below = row.note.wrap(console, max(width - _INDENT, _SHORTEST_FIRST), overflow="fold")
    return (
        _line(chosen, row.cells, Text(), 0, gap),
        *(_indented(line) for line in below),
    )


def _indented(line: Text) -> Text:
    line.rstrip()
    return Text.assemble(" " * _INDENT, line)


def _line(
    chosen: Sequence[tuple[int, Column, int]], cells: Sequence[str | Text], note: Text, room: int, gap: int
) -> Text:
    line = Text(no_wrap=True)
    for at, column, cells_wide in chosen:
        cell = cells[at]
        if cell_len(str(cell)) > cells_wide:
            cell = cell.copy() if isinstance(cell, Text) else Text(cell)
            cell.truncate(cells_wide, overflow="ellipsis")
        padding = " " * (cells_wide - cell_len(str(cell)))
        if column.align == "right":
            line.append(padding)
        line.append(cell)
        line.append(padding + " " * gap if column.align == "left" else " " * gap)
    if room:
        cell = note.copy()
        cell.truncate(room, overflow="ellipsis")
        line.append_text(cell)
    line.rstrip()
    return line


def flow(items: Sequence[Text], *, width: int | None) -> list[Text]:
    """Put short texts on as few lines as fit, two spaces apart; none is broken unless it is longer than a line."""
    lines: list[Text] = []
    for item in items:
        if lines and (width is None or cell_len(lines[-1].plain) + 2 + cell_len(item.plain) <= width):
            lines[-1].append("  ").append_text(item)
        elif width is None:
            lines.append(item.copy())
        else:
            lines.extend(item.wrap(console, width, overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines
