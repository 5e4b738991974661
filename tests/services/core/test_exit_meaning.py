"""What exits mean: by code, by signal, by the supervisor's reason, by a program's last words."""

from __future__ import annotations

import pytest

from master.services.core.exit_meaning import explain_exit, last_words, reason_in
from master.supervision.process import ExitReport

PYTHON = """\
2026-11-22 12:00:00 INFO     bot: hello
2026-11-22 12:00:01 Traceback (most recent call last):
2026-11-22 12:00:01   File "bot.py", line 3, in <module>
2026-11-22 12:00:01     raise ValueError("boom")
2026-11-22 12:00:01 ValueError: boom
2026-11-22 12:00:01 sys:1: RuntimeWarning: something was never awaited""".splitlines()
NODE = """\
/srv/bot/index.js:4
    throw new Error('boom');
    ^

Error: boom
    at Client.<anonymous> (/srv/bot/index.js:4:11)
    at node:internal/main/run_main_module:28:49

Node.js v20.1.0""".splitlines()


def test_the_last_words_are_the_error_not_what_comes_after_it() -> None:
    assert last_words(PYTHON) == "ValueError: boom"
    assert last_words(NODE) == "Error: boom"
    assert last_words(["usage: bot", "", "  "]) == "usage: bot"
    assert last_words([]) == ""


@pytest.mark.parametrize(
    ("report", "detail", "lines", "speaks", "text", "todo"),
    [
        (ExitReport(1), "", PYTHON, False, "exited with code 1: ValueError: boom", "fleet logs atlas"),
        (ExitReport(0), "", [], False, "ended by itself, without an error", "see why its program ends"),
        (ExitReport(65), "", ["x"], True, "had its token refused by Discord", "fleet set-token atlas"),
        (ExitReport(65), "", [], False, "exited with code 65", ""),
        (ExitReport(66), "", [], True, "privileged intents refused", "Privileged Gateway Intents"),
        (
            ExitReport(1),
            "",
            ["discord.errors.LoginFailure: Improper token has been passed."],
            False,
            "had its token refused by Discord",
            "fleet set-token atlas",
        ),
        (ExitReport(1), "", ["Error: Used disallowed intents"], False, "intents refused", "developers/applications"),
        (ExitReport(1), "", ["ModuleNotFoundError: No module named 'x'"], False, "'x'", "install the module"),
        (ExitReport(78), "", ["bad config"], False, "configuration wrong (exit code 78): bad config", ""),
        (ExitReport(126), "", [], False, "could not be executed", "chmod +x"),
        (ExitReport(127), "", [], False, "did not find its program", "fleet describe atlas"),
        (ExitReport(143), "", [], False, "ended by SIGTERM", ""),
        (ExitReport(137), "", [], False, "killed by SIGKILL", ""),
        (ExitReport(signal=9), "killed by SIGKILL", [], False, "by somebody outside of the fleet (kill -9)", ""),
        (
            ExitReport(signal=9),
            "out of memory: the kernel ended it, the box has too little: killed by SIGKILL",
            [],
            False,
            "killed by the kernel, out of memory: the kernel ended it, the box has too little",
            "memory limit",
        ),
        (ExitReport(signal=11), "", [], False, "crashed in native code (SIGSEGV)", "update its libraries"),
        (ExitReport(signal=9), "no pulse for 27 s: killed by SIGKILL; used 1 s", [], True, "hung and was replaced", ""),
        (ExitReport(0), "a reason of tomorrow: exited with code 0", [], True, "was replaced: a reason of tomorrow", ""),
        (ExitReport(0), "over its memory limit (90 of 80 MB): exited with code 0", [], True, "memory limit (90", ""),
        (ExitReport(), "exited", [], False, "how is not known, since an earlier master", ""),
    ],
)
def test_an_exit_says_what_happened_and_what_to_do(
    report: ExitReport, detail: str, lines: list[str], speaks: bool, text: str, todo: str
) -> None:
    found = explain_exit("atlas", report, detail=detail, lines=lines, speaks=speaks)
    assert text in found.text
    assert todo in found.todo
    assert "{" not in found.text + found.todo


def test_what_an_operator_asked_for_is_no_failure() -> None:
    for kind in ("stopped", "killed"):
        assert not explain_exit("atlas", ExitReport(signal=15), kind=kind).is_failure
    deaf = explain_exit("atlas", ExitReport(signal=9), kind="stopped")
    assert "did not end within GRACE_S" in deaf.text


def test_the_supervisors_reason_is_read_back_from_what_is_on_record() -> None:
    report = ExitReport(exit_code=1)
    assert reason_in("not ready within 90 s: exited with code 1; used 2 CPU-s", report) == "not ready within 90 s"
    assert reason_in("exited with code 1", report) == ""
