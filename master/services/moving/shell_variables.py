"""Variables that belong to a shell, a session or another supervisor, and not to the program that was started there."""

from __future__ import annotations

import re
from collections.abc import Mapping

_OF_THE_SHELL = re.compile(
    # The session: who, where, and with which terminal.
    r"PATH|HOME|SHELL|USER|LOGNAME|USERNAME|MAIL|PWD|OLDPWD|SHLVL|_|INIT_CWD|HOSTNAME|HOSTTYPE|MACHTYPE|OSTYPE|MOTD_SHOWN|"
    r"TERM|COLORTERM|COLOR|COLUMNS|LINES|TMUX|TMUX_PANE|STY|WINDOW|DISPLAY|WAYLAND_DISPLAY|LANG|LANGUAGE|LC_\w+|"
    r"EDITOR|VISUAL|PAGER|LESS\w*|LS_COLORS|LS_OPTIONS|PS[1-4]|PROMPT_COMMAND|HIST\w+|BASH_FUNC_.*|DEBIAN_FRONTEND|"
    r"(?:SSH|SUDO|XDG|DBUS|GPG|VSCODE|TERM_PROGRAM|WSL|WT|KONSOLE|GNOME|KDE|QT|GTK|HOMEBREW)_?\w*|"
    # What chose the interpreter, which is carried over by its path.
    r"(?:NVM|FNM|VOLTA|PYENV|_?CONDA|CARGO|RUSTUP|PIP|_OLD_VIRTUAL|npm)_\w*|VIRTUAL_ENV\w*|PYTHONHOME|PYTHONUNBUFFERED|"
    # The supervisor itself.
    r"(?:PM2|pm|axm|SUPERVISOR|SYSTEMD|FLEET)_\w*|unique_id|NODE_APP_INSTANCE|windowsHide|"
    r"INVOCATION_ID|JOURNAL_STREAM|MANAGERPID|MAINPID|LISTEN_FDS|LISTEN_PID|NOTIFY_SOCKET"
)


def without_shell_variables(environment: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Return what is left of an environment without the shell's own variables, and how many were left out."""
    kept = {name: value for name, value in environment.items() if _OF_THE_SHELL.fullmatch(name) is None}
    return kept, len(environment) - len(kept)
