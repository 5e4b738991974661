"""PM2: the ``apps`` of an ecosystem file, and the processes of ``dump.pm2``. Pure functions of what was read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from master.services.moving.programs import (
    GRACE,
    LOGS,
    NO_END,
    READY,
    RESTARTS,
    USER,
    FileNotUnderstood,
    ImportedProgram,
    Lost,
    place_of,
    read_size,
    table_of,
    texts_of,
    variable_text,
    without_shell,
)
from master.services.moving.shell_variables import without_shell_variables

# What PM2 runs a script with that names nothing itself: lib/API/interpreter.json of PM2.
_INTERPRETERS = {
    ".js": "node",
    ".cjs": "node",
    ".mjs": "node",
    ".py": "python3",
    ".sh": "bash",
    ".rb": "ruby",
    ".php": "php",
    ".pl": "perl",
    ".ts": "bun",
    ".tsx": "bun",
}
_LOST = {
    **dict.fromkeys(("max_restarts", "min_uptime", "restart_delay", "exp_backoff_restart_delay"), RESTARTS),
    **dict.fromkeys(("stop_exit_codes",), NO_END),
    **dict.fromkeys(
        (
            "out_file",
            "out",
            "output",
            "out_log",
            "error_file",
            "error",
            "err",
            "err_file",
            "err_log",
            "log_file",
            "log",
        ),
        LOGS,
    ),
    **dict.fromkeys(("log_date_format", "log_type", "time", "merge_logs", "combine_logs", "disable_logs"), LOGS),
    **dict.fromkeys(("kill_timeout",), GRACE),
    **dict.fromkeys(("wait_ready", "listen_timeout"), READY),
    **dict.fromkeys(("uid", "gid", "user"), USER),
    "shutdown_with_message": "it is ended with SIGTERM",
    "ignore_watch": "what is watched is named in WATCH; .git, node_modules and logs never are",
    "watch_delay": "a change is waited for until it is whole",
    "watch_options": "what is watched is named in WATCH; .git, node_modules and logs never are",
    "post_update": "run it by hand after an update",
}
_LOGGING = frozenset(key for key, instead in _LOST.items() if instead == LOGS)
_READ = frozenset(
    [
        "name",
        "script",
        "exec",
        "cmd",
        "command",
        "cwd",
        "args",
        "interpreter",
        "exec_interpreter",
        "node_args",
        "interpreter_args",
        "interpreterArgs",
        "env",
        "instances",
        "exec_mode",
        "cron_restart",
        "cron",
        "max_memory_restart",
        "watch",
        "autorestart",
        "autostart",
        "namespace",
        "port",
        "filter_env",
    ]
)
# Of no consequence to a program: PM2's own bookkeeping and its paid service.
_IDLE = frozenset(
    [
        "vizion",
        "pmx",
        "automation",
        "treekill",
        "source_map_support",
        "disable_source_map_support",
        "username",
        "instance_var",
        "name_prefix",
        "append_env_to_name",
        "force",
        "pid_file",
        "pid",
        "trace",
        "v8",
        "event_loop_inspector",
        "deep_monitoring",
        "disable_trace",
        "windowsHide",
        "install_url",
        "execute_command",
        "increment_var",
    ]
)


def read_ecosystem(value: object, path: Path, *, variant: str = "") -> list[ImportedProgram]:
    """Return the programs of an ecosystem file.

    Parameters
    ----------
    value
        What the file holds, or what its module exports.
    variant
        Name of the environment to use beside ``env``, as for ``pm2 start --env``.

    Raises
    ------
    FileNotUnderstood
    """
    apps = value.get("apps", [value]) if isinstance(value, dict) else value
    apps = [apps] if isinstance(apps, dict) else apps
    if not isinstance(apps, list) or not apps:
        raise FileNotUnderstood(path, "apps", "names no program", "such as {apps: [{name: ..., script: ...}]}")
    return [_app(table_of(app, path, f"apps[{at}]"), path, f"apps[{at}]", variant) for at, app in enumerate(apps)]


def read_dump(value: object, path: Path) -> list[ImportedProgram]:
    """Return the programs that ``pm2 save`` wrote; the instances of a cluster are one.

    Raises
    ------
    FileNotUnderstood
    """
    if not isinstance(value, list):
        raise FileNotUnderstood(path, "", "is no list of processes", "write it anew with `pm2 save`")
    found: dict[str, ImportedProgram] = {}
    counts: dict[str, int] = {}
    for at, item in enumerate(value):
        process = table_of(item, path, f"[{at}]")
        if process.get("pmx_module"):
            continue  # A module of PM2 itself, such as pm2-logrotate.
        program = _process(process, path, f"[{at}]")
        counts[program.name] = counts.get(program.name, 0) + 1
        found.setdefault(program.name, program)
    return [_one_of(program, counts[name]) for name, program in found.items()]


def _app(app: Mapping[str, Any], path: Path, key: str, variant: str) -> ImportedProgram:
    script = next((str(app[name]) for name in ("script", "exec", "cmd", "command") if app.get(name)), "")
    if not script:
        raise FileNotUnderstood(path, f"{key}.script", "is missing", "name the file that PM2 runs")
    folder = place_of(path.parent, str(app.get("cwd") or "."))
    name = str(app.get("name") or Path((script.split() or [""])[0]).stem)
    environment = _variables(app.get("env"), path, f"{key}.env")
    lost = _lost(app)
    chosen = f"env_{variant}"
    for other in sorted(item for item in app if item.startswith("env_")):
        if other == chosen:
            environment |= _variables(app[other], path, f"{key}.{other}")
        elif not variant:
            lost.append(Lost(other, f"chosen with `fleet import --env {other.removeprefix('env_')}`"))
    if app.get("port"):
        environment.setdefault("PORT", str(app["port"]))
    lost += [
        Lost(item, "not known")
        for item in sorted(app)
        if item not in _READ | _IDLE | _LOST.keys() and "env_" not in item
    ]
    program = ImportedProgram(
        name=name,
        supervisor="PM2",
        source=str(path),
        words=_words(script, app, folder, path, key),
        folder=str(folder),
        environment=environment,
        options=_options(app, lost),
        tags=_tags(app),
        start=app.get("autostart") is not False,
        lost=tuple(lost),
    )
    return _one_of(program, _instances(app))


def _process(process: Mapping[str, Any], path: Path, key: str) -> ImportedProgram:
    script, folder = str(process.get("pm_exec_path") or ""), str(process.get("pm_cwd") or "")
    name = str(process.get("name") or "")
    if not (script and folder and name):
        raise FileNotUnderstood(path, f"{key}.pm_exec_path", "is missing", "write it anew with `pm2 save`")
    interpreter = str(process.get("exec_interpreter") or "none")
    words = _with_interpreter(
        interpreter, process, (script, *_arguments(process.get("args"), path, f"{key}.args")), path, key
    )
    whole = _variables(process.get("env"), path, f"{key}.env")
    # PM2 puts the program's own name among the variables, and its settings for modules with it.
    own, dropped = without_shell_variables({item: text for item, text in whole.items() if item != name})
    lost = _lost({item: value for item, value in process.items() if item not in _LOGGING})
    if dropped:
        lost.append(Lost("env", f"{dropped} variables of the shell and of PM2 are left out, such as PATH and HOME"))
    return ImportedProgram(
        name=name,
        supervisor="PM2",
        source=str(path),
        words=without_shell(words),
        folder=folder,
        environment=own,
        search_path=whole.get("PATH", ""),
        options=_options(process, lost),
        tags=_tags(process),
        start=process.get("status") not in ("stopped", "errored", "stopping"),
        lost=tuple(lost),
    )


def _words(script: str, app: Mapping[str, Any], folder: Path, path: Path, key: str) -> tuple[str, ...]:
    """Return an app's command line as PM2 makes it."""
    arguments = _arguments(app.get("args"), path, f"{key}.args")
    if " " in script:
        # PM2 hands such a script to bash.
        return without_shell(("bash", "-c", script)) + arguments
    whole = place_of(folder, script)
    interpreter = str(app.get("interpreter") or app.get("exec_interpreter") or "")
    if "/" in interpreter and not interpreter.startswith(("/", "~")):
        interpreter = str(folder / interpreter)
    if not interpreter:
        interpreter = _INTERPRETERS.get(whole.suffix, "none")
    # What is no file there is a program on the PATH, as in PM2.
    first = script if "/" not in script and not os.path.exists(whole) and not whole.suffix else str(whole)
    return _with_interpreter(interpreter, app, (first, *arguments), path, key)


def _with_interpreter(
    interpreter: str, app: Mapping[str, Any], words: tuple[str, ...], path: Path, key: str
) -> tuple[str, ...]:
    if interpreter == "none":
        return words
    given = next((app[name] for name in ("node_args", "interpreter_args", "interpreterArgs") if app.get(name)), None)
    return (os.path.expanduser(interpreter), *_arguments(given, path, f"{key}.interpreter_args"), *words)


def _arguments(value: object, path: Path, key: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise FileNotUnderstood(path, key, f"is no list of arguments: {error}") from error
    return tuple(texts_of(value))


def _variables(value: object, path: Path, key: str) -> dict[str, str]:
    if value is None:
        return {}
    return {
        name: variable_text(item) for name, item in table_of(value, path, key).items() if not isinstance(item, dict)
    }


def _options(app: Mapping[str, Any], lost: list[Lost]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if app.get("max_memory_restart"):
        size = read_size(app["max_memory_restart"])
        if size is None:
            lost.append(Lost("max_memory_restart", "is no size; give MEMORY_LIMIT_BYTES in NODES"))
        else:
            options["MEMORY_LIMIT_BYTES"] = size
    cron = str(app.get("cron_restart") or app.get("cron") or "")
    if len(cron.split()) == 5:
        options["CRON_RESTART"] = cron
    elif cron and cron != "0":
        lost.append(Lost("cron_restart", "a schedule has five fields: give CRON_RESTART in NODES"))
    watch = app.get("watch")
    if watch:
        options["WATCH"] = ["."] if watch is True else texts_of(watch)
    if app.get("autorestart") is False:
        lost.append(Lost("autorestart", NO_END))
    return options


def _lost(app: Mapping[str, Any]) -> list[Lost]:
    return [
        Lost(key, _LOST[key]) for key in sorted(_LOST.keys() & app.keys()) if app[key] not in (None, False, "", [], 0)
    ]


def _tags(app: Mapping[str, Any]) -> tuple[str, ...]:
    namespace = str(app.get("namespace") or "default")
    return () if namespace == "default" else (namespace,)


def _instances(app: Mapping[str, Any]) -> int:
    given = app.get("instances", 1)
    try:
        number = int(given)
    except (TypeError, ValueError):
        return 2  # "max"
    return number if number > 0 else 2


def _one_of(program: ImportedProgram, instances: int) -> ImportedProgram:
    """Return a program of which there is one, whatever its number of instances was."""
    if instances <= 1:
        return program
    from msgspec import structs

    one = Lost("instances", "one process: a bot's connections cannot be shared, and a node is one process")
    return structs.replace(program, lost=(*program.lost, one))
