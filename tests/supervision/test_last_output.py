"""What a process wrote last: neither its predecessor's words nor its successor's."""

from __future__ import annotations

from pathlib import Path

from master.supervision.last_output import LastOutput
from master.supervision.logs import NodeLogs


def test_between_two_marks_are_the_words_of_one_process(tmp_path: Path) -> None:
    logs = NodeLogs(tmp_path, max_bytes=1000, files=2)
    out, err = logs.paths("atlas")
    output = LastOutput(logs)
    before = output.mark("atlas")
    assert output.read("atlas", None, before) == []
    err.write_text("of the first\n")
    first = output.mark("atlas")
    with err.open("a") as stream:
        stream.write("of the second\n")
    out.write_text("printed by the second\n")
    second = output.mark("atlas")
    with err.open("a") as stream:
        stream.write("of the third\n")
    assert output.read("atlas", before, first) == ["of the first"]
    assert output.read("atlas", first, second) == ["of the second"]
    # One that says nothing on standard error may have said it on the other.
    assert output.read("atlas", second._replace(stdout_bytes=0), second) == ["printed by the second"]


def test_a_rotation_in_between_takes_nothing_away(tmp_path: Path) -> None:
    logs = NodeLogs(tmp_path, max_bytes=100, files=2)
    _, err = logs.paths("atlas")
    err.write_text("x" * 200 + "\nthe last words\n")
    output = LastOutput(logs)
    end = output.mark("atlas")
    logs.rotate(["atlas"])
    assert output.read("atlas", None, end)[-1] == "the last words"
