"""Output of the command line: tables, colours, errors, JSON."""

from __future__ import annotations

from master.terminal.columns import Column, Laid, Row, flow, lay_out
from master.terminal.figures import history_text, reload_text, sparkline
from master.terminal.fleet import (
    STATE_STYLES,
    fleet_table,
    is_troubled,
    lay_out_fleet,
    megabytes,
    state_text,
    summary_line,
    summary_lines,
    troubled_first,
)
from master.terminal.output import (
    FleetConsole,
    confirm,
    console,
    discard_output,
    errors,
    fail,
    is_terminal,
    json_text,
    local_time,
    one_line,
    print_json,
    print_lines,
    terminal_height,
    terminal_width,
    write_out,
)

__all__ = [
    "STATE_STYLES",
    "Column",
    "FleetConsole",
    "Laid",
    "Row",
    "confirm",
    "console",
    "discard_output",
    "errors",
    "fail",
    "fleet_table",
    "flow",
    "history_text",
    "is_terminal",
    "is_troubled",
    "json_text",
    "lay_out",
    "lay_out_fleet",
    "local_time",
    "megabytes",
    "one_line",
    "print_json",
    "print_lines",
    "reload_text",
    "sparkline",
    "state_text",
    "summary_line",
    "summary_lines",
    "terminal_height",
    "terminal_width",
    "troubled_first",
    "write_out",
]
