"""What the end of a process means, in the operator's words, and what to do about it. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

import msgspec

from master.supervision.process import ExitReport
from nodekit.exit_codes import NodeExit

_PORTAL = "discord.com/developers/applications"
_WORDS_CHARACTERS = 200
_STAMP = re.compile(r"^\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S* ")
"""nodekit writes the time before each line that has none."""
_TOKEN = (
    "had its token refused by Discord: it was reset, or the bot was deleted",
    f"make a new token at {_PORTAL} (Bot, Reset Token), then `fleet set-token {{name}}`",
)
_INTENTS = (
    "had its privileged intents refused by Discord",
    f"switch them on at {_PORTAL} (Bot, Privileged Gateway Intents), then `fleet start {{name}}`",
)
_OF_NODES: dict[int, tuple[str, str]] = {
    NodeExit.CONFIGURATION: ("found no token, or a damaged boot document", "`fleet logs {name}` says which"),
    NodeExit.TOKEN: _TOKEN,
    NodeExit.INTENTS: _INTENTS,
    NodeExit.LICENCE: ("was not accepted by the master: licence or key", "`fleet why {name}` shows the refusal"),
    NodeExit.IDENTIFIES: (
        "has used up the logins (IDENTIFY) that Discord allows in a day",
        "find out why it restarts so often: `fleet why {name}`",
    ),
    NodeExit.UNREACHABLE: ("could not reach Discord in its setup_hook", "`fleet doctor` looks at the connection"),
    NodeExit.UNEXPECTED: ("had its connection closed by Discord", "`fleet logs {name}` has the close code"),
}
"""Exit codes of programs that use nodekit, with what to do."""
_BY_CODE: dict[int, tuple[str, str]] = {
    0: ("ended by itself, without an error (exit code 0)", "a bot runs until it is stopped: see why its program ends"),
    78: ("found its configuration wrong (exit code 78)", "`fleet logs {name}` says what"),
    126: ("could not be executed (exit code 126)", "chmod +x its program, and check its first line (#!)"),
    127: ("did not find its program (exit code 127)", "check its command: `fleet describe {name}` shows it"),
}
_BY_WORDS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"LoginFailure|Improper token|TokenInvalid|invalid token was provided|\b4004\b"), *_TOKEN),
    (re.compile(r"PrivilegedIntentsRequired|privileged intents|[Dd]isallowed intents|\b4014\b"), *_INTENTS),
    (re.compile(r"ModuleNotFoundError|No module named"), "", "install the module for the Python that runs it"),
    (re.compile(r"Cannot find module|ERR_MODULE_NOT_FOUND"), "", "run `npm install` in its folder"),
    (re.compile(r"SyntaxError|IndentationError|TabError"), "", "mend the line; `fleet logs {name}` shows which"),
    (
        re.compile(r"PermissionError|Permission denied|EACCES"),
        "",
        "if it is isolated, name the path in READABLE or WRITABLE of NODES",
    ),
    (re.compile(r"[Aa]ddress already in use|EADDRINUSE"), "", "another program has its port: `ss -ltnp` shows which"),
    (re.compile(r"MemoryError|Cannot allocate memory"), "", "raise its MEMORY_HARD_LIMIT_BYTES, or find the leak"),
)
"""Signs in a program's last words: what happened (empty: the words say it), and what to do."""
_IN_NATIVE_CODE = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE})
_LIMIT_ADVICE = "raise its memory limit, or find the leak: `fleet history {name}`"


class ExitMeaning(msgspec.Struct, frozen=True, kw_only=True):
    """What an exit means."""

    text: str
    """What follows the node's name: ``exited with code 1: ValueError: boom``."""
    todo: str = ""
    """What to do; empty if there is nothing to do."""
    words: str = ""
    """The line in which the program said why; empty if it did not."""
    is_failure: bool = True
    """Whether something went wrong; not so when it ended as it was asked to."""


def explain_exit(
    name: str,
    report: ExitReport,
    *,
    detail: str = "",
    kind: str = "exited",
    lines: Sequence[str] = (),
    speaks: bool = False,
) -> ExitMeaning:
    """Explain the end of a process.

    Parameters
    ----------
    name
        The node's name, for the commands that are advised.
    detail
        The event's, which begins with the supervisor's own reason.
    kind
        The event's: ``exited``, ``stopped`` or ``killed``.
    lines
        The last that the process wrote.
    speaks
        Whether it uses nodekit, whose exit codes have meanings of their own.
    """
    words = last_words(lines)
    text, todo, said = _explain(report, reason_in(detail, report), kind, words, speaks)
    if words and not said:
        text = f"{text}: {words}"
    return ExitMeaning(text=text, todo=todo.format(name=name), words=words, is_failure=kind == "exited")


def reason_in(detail: str, report: ExitReport) -> str:
    """Return why the supervisor ended a process, or why the kernel did, from the detail of its event."""
    before, found, _ = detail.partition(str(report))
    return before.removesuffix(": ") if found else ""


def without_stamp(line: str) -> str:
    """Return a line of a log without the time at its beginning."""
    return _STAMP.sub("", line)


def last_words(lines: Sequence[str]) -> str:
    """Return the line in which a program says why it ended: of Python's traceback, Node's, or else the last."""
    shown = [without_stamp(line.rstrip()) for line in lines if line.strip()]
    for at in range(len(shown) - 1, -1, -1):
        if shown[at].startswith("Traceback (most recent call last)"):
            ending = next((line for line in shown[at + 1 :] if not line.startswith((" ", "\t"))), "")
            return ending[:_WORDS_CHARACTERS]
        if re.match(r"\s+at .+", shown[at]) and at and not re.match(r"\s+at .+", shown[at - 1]):
            return shown[at - 1].strip()[:_WORDS_CHARACTERS]
    return shown[-1].strip()[:_WORDS_CHARACTERS] if shown else ""


def _explain(report: ExitReport, reason: str, kind: str, words: str, speaks: bool) -> tuple[str, str, bool]:
    """Return what happened, what to do, and whether the last words add nothing to it."""
    if kind == "killed":
        return "was killed by an operator (SIGKILL)", "", True
    if kind == "stopped":
        grace = "was killed: it did not end within GRACE_S after SIGTERM"
        return (grace, "", True) if report.signal == signal.SIGKILL else ("ended as it was asked to", "", True)
    if reason:
        return *_explain_reason(reason), True
    if report.signal is not None:
        return *_explain_signal(report.signal), report.signal not in _IN_NATIVE_CODE
    if report.exit_code is None:
        return "ended; how is not known, since an earlier master had started it", "`fleet logs {name}`", not words
    return _explain_code(report.exit_code, words, speaks)


def _explain_reason(reason: str) -> tuple[str, str]:
    if reason.startswith("out of memory"):
        return f"was killed by the kernel, {reason}", _LIMIT_ADVICE
    if reason.startswith("over its memory limit"):
        return f"was replaced: {reason}", _LIMIT_ADVICE
    if reason.startswith("not ready within"):
        return f"was replaced: {reason}", "`fleet logs {name}` shows how far it came"
    if not reason.startswith(("no pulse", "stopped by a signal")):
        return f"was replaced: {reason}", ""
    return (
        f"hung and was replaced: {reason}",
        "look for calls that block its event loop, such as time.sleep: `fleet logs {name}`",
    )


def _explain_signal(number: int) -> tuple[str, str]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL:
        return "was killed by SIGKILL, by somebody outside of the fleet (kill -9)", ""
    if number in _IN_NATIVE_CODE:
        return f"crashed in native code ({name})", "update its libraries, or the one that is written in C"
    return f"was ended by {name}, by somebody outside of the fleet", ""


def _explain_code(code: int, words: str, speaks: bool) -> tuple[str, str, bool]:
    if speaks and code in _OF_NODES:
        return *_OF_NODES[code], True
    for pattern, text, todo in _BY_WORDS:
        if code and pattern.search(words):
            return text or f"exited with code {code}", todo, bool(text)
    if code in _BY_CODE:
        return *_BY_CODE[code], code == 0
    if code > 128 and code - 128 in {int(one) for one in signal.Signals}:
        text, todo = _explain_signal(code - 128)
        return f"{text}, says its shell (exit code {code})", todo, True
    return f"exited with code {code}", "mend it: `fleet logs {name}` has all that it wrote", False
