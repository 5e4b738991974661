"""docker compose: its services, as programs of this box. Pure functions of what was read.

A container's program is found again on the box where its folder is: in a folder that is mounted into it, or in the one
that its image is built from. What is in an image alone stays there, and is named.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from master.services.moving.programs import (
    GRACE,
    LOGS,
    NO_END,
    READY,
    USER,
    FileNotUnderstood,
    ImportedProgram,
    Lost,
    part_of,
    place_of,
    read_size,
    table_of,
    texts_of,
    variable_text,
    without_shell,
)

_LOST = {
    **dict.fromkeys(("logging",), LOGS),
    **dict.fromkeys(("stop_grace_period",), GRACE),
    **dict.fromkeys(("healthcheck",), READY),
    **dict.fromkeys(("user",), USER),
    **dict.fromkeys(
        ("networks", "network_mode", "links", "extra_hosts", "expose", "dns"),
        "it runs on the box itself: other services are at 127.0.0.1, by their ports",
    ),
    **dict.fromkeys(("secrets", "configs"), "put them into files that it may read, or into its environment"),
    **dict.fromkeys(("cpus", "cpu_shares", "cpu_quota"), "CPU_WEIGHT in NODES"),
    **dict.fromkeys(
        ("cap_add", "cap_drop", "privileged", "devices", "security_opt", "read_only", "tmpfs"), "not known"
    ),
    "extends": "write out what it takes over",
    "stop_signal": "it is ended with SIGTERM",
    "profiles": "it is a node like the others: stop it, or leave it out with --only",
}
_READ = frozenset(
    [
        "command",
        "entrypoint",
        "working_dir",
        "environment",
        "env_file",
        "restart",
        "build",
        "image",
        "volumes",
        "deploy",
        "mem_limit",
        "depends_on",
        "ports",
        "ulimits",
        "scale",
    ]
)
_IDLE = frozenset(
    (
        "container_name",
        "hostname",
        "labels",
        "tty",
        "stdin_open",
        "init",
        "pull_policy",
        "platform",
        "annotations",
        "develop",
    )
)
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)(?:(:?[-?+])([^{}]*))?\})")
_PYTHONS = re.compile(r"python[\d.]*")

ReadText = Callable[[Path], str | None]
"""Returns a file's text; None if there is none."""


class _Image(msgspec.Struct, frozen=True):
    """What a Dockerfile says of the program in its image."""

    words: tuple[str, ...] = ()
    folder: str = ""


def read_compose(
    value: object, path: Path, environment: Mapping[str, str], read_text: ReadText
) -> list[ImportedProgram]:
    """Return the services of a compose file.

    Parameters
    ----------
    environment
        For ``${X}``.
    read_text
        Reads the Dockerfiles that it names.

    Raises
    ------
    FileNotUnderstood
    """
    services = table_of(table_of(value, path, "").get("services"), path, "services")
    found = []
    for name, service in services.items():
        whole = _substituted(table_of(service, path, f"services.{name}"), path, f"services.{name}", environment)
        found.append(_service(name, whole, path, environment, read_text))
    return found


def _service(
    name: str, service: Mapping[str, Any], path: Path, environment: Mapping[str, str], read_text: ReadText
) -> ImportedProgram:
    key = f"services.{name}"
    context = _context(service, path)
    image = _image(service, path, context, read_text)
    inside = str(service.get("working_dir") or image.folder or "")
    mounts = _mounts(service, path)
    if context is not None and inside:
        # What a Dockerfile copies into its folder comes from the folder that it is built from.
        mounts.setdefault(inside, context)
    folder = _on_box(inside, mounts) if inside else context
    words = _words(service, image, path, key)
    trouble = ""
    if not words:
        trouble = f"its program is inside the image {str(service.get('image') or '')!r}: leave it to docker"
    elif folder is None:
        trouble = "its files are inside the image: copy them to a folder, and `fleet register` that"
    lost = _lost(service, name)
    if words and _PYTHONS.fullmatch(Path(words[0]).name):
        lost.append(Lost("image", "its packages are inside: python3 -m venv .venv, and pip install them in its folder"))
    elif "image" in service or "build" in service:
        lost.append(Lost("image", "its packages are inside: install them in its folder, such as with npm install"))
    return ImportedProgram(
        name=name,
        supervisor="docker compose",
        source=str(path),
        words=tuple(_word_on_box(word, mounts) for word in words),
        inside=words,
        folder=str(folder or ""),
        environment=_environment(service.get("environment"), path, key, environment),
        environment_files=tuple(_environment_files(service.get("env_file"), path)),
        options=_options(service, lost),
        after=tuple(_names_of(service.get("depends_on"))),
        lost=tuple(lost),
        trouble=trouble,
    )


def _context(service: Mapping[str, Any], path: Path) -> Path | None:
    """Return the folder that the image is built from."""
    build = service.get("build")
    if build is None:
        return None
    folder = str(build.get("context") or ".") if isinstance(build, dict) else str(build)
    return None if "://" in folder else place_of(path.parent, folder)


def _image(service: Mapping[str, Any], path: Path, context: Path | None, read_text: ReadText) -> _Image:
    if context is None:
        return _Image()
    build = service["build"]
    given = str(build.get("dockerfile") or "Dockerfile") if isinstance(build, dict) else "Dockerfile"
    text = read_text(context / given)
    return _Image() if text is None else read_dockerfile(text, path)


def read_dockerfile(text: str, path: Path) -> _Image:
    """Return what the last stage of a Dockerfile runs, and where."""
    folder = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    for line in re.sub(r"\\[ \t]*\n", " ", text).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        match instruction.upper():
            case "FROM":
                folder, entrypoint, command = "", (), ()
            case "WORKDIR":
                folder = str(PurePosixPath(folder or "/") / rest.strip())
            case "ENTRYPOINT":
                entrypoint = _exec_form(rest, path, "ENTRYPOINT")
            case "CMD":
                command = _exec_form(rest, path, "CMD")
    return _Image((*entrypoint, *command), folder)


def _exec_form(text: str, path: Path, key: str) -> tuple[str, ...]:
    text = text.strip()
    if text.startswith("["):
        try:
            return tuple(str(word) for word in json.loads(text))
        except ValueError as error:
            raise FileNotUnderstood(path, f"Dockerfile.{key}", "is no list of words") from error
    return without_shell(("sh", "-c", text))


def _mounts(service: Mapping[str, Any], path: Path) -> dict[str, Path]:
    """Return the folders of the box that the container sees, by their place in it."""
    found: dict[str, Path] = {}
    for volume in _list_of(service.get("volumes")):
        if isinstance(volume, dict):
            source, target = str(volume.get("source") or ""), str(volume.get("target") or "")
            is_bind = volume.get("type") == "bind"
        else:
            source, _, rest = str(volume).partition(":")
            target = rest.partition(":")[0]
            is_bind = source.startswith((".", "/", "~"))
        if is_bind and target:
            found[target.rstrip("/") or "/"] = place_of(path.parent, source)
    return found


def _on_box(inside: str, mounts: Mapping[str, Path]) -> Path | None:
    place = PurePosixPath(inside)
    for target in sorted(mounts, key=len, reverse=True):
        if place.is_relative_to(target):
            return mounts[target] / place.relative_to(target)
    return None


def _word_on_box(word: str, mounts: Mapping[str, Path]) -> str:
    """Return a word of a command line; a path inside the container becomes the one on the box."""
    place = _on_box(word, mounts) if word.startswith("/") else None
    return word if place is None else str(place)


def _list_of(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _names_of(value: object) -> list[str]:
    """Return the names in a list, or those of a table."""
    return [str(name) for name in value] if isinstance(value, list | dict) else []


def _words(service: Mapping[str, Any], image: _Image, path: Path, key: str) -> tuple[str, ...]:
    entrypoint = _command(service.get("entrypoint"), path, f"{key}.entrypoint")
    command = _command(service.get("command"), path, f"{key}.command")
    return without_shell((*entrypoint, *command)) or image.words


def _command(value: object, path: Path, key: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise FileNotUnderstood(path, key, f"is no command line: {error}") from error
    return tuple(texts_of(value))


def _environment(value: object, path: Path, key: str, environment: Mapping[str, str]) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, list):
        pairs = [str(item).partition("=") for item in value]
        # A name alone takes the value that the shell has.
        return {name: text if equals else environment.get(name, "") for name, equals, text in pairs}
    named = table_of(value, path, f"{key}.environment")
    return {name: environment.get(name, "") if item is None else variable_text(item) for name, item in named.items()}


def _environment_files(value: object, path: Path) -> list[str]:
    entries = value if isinstance(value, list) else [] if value is None else [value]
    names = [str(entry.get("path") or "") if isinstance(entry, dict) else str(entry) for entry in entries]
    return [str(place_of(path.parent, name)) for name in names if name]


def _options(service: Mapping[str, Any], lost: list[Lost]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    limits = part_of(service, "deploy", "resources", "limits")
    memory = part_of(limits, "memory") or service.get("mem_limit")
    if memory is not None:
        size = read_size(memory)
        if size is None:
            lost.append(Lost("memory", "is no size; give MEMORY_HARD_LIMIT_BYTES in NODES"))
        else:
            # A container that needs more is killed, as is a node at its hard limit.
            options["MEMORY_HARD_LIMIT_BYTES"] = size
    if isinstance(limits, dict) and "cpus" in limits:
        lost.append(Lost("deploy.resources.limits.cpus", "CPU_WEIGHT in NODES"))
    files = part_of(service, "ulimits", "nofile")
    files = part_of(files, "soft") if isinstance(files, dict) else files
    if isinstance(files, int) and not isinstance(files, bool):
        options["OPEN_FILES_LIMIT"] = files
    return options


def _lost(service: Mapping[str, Any], name: str) -> list[Lost]:
    known = _READ | _IDLE | _LOST.keys()
    lost = [Lost(key, _LOST[key]) for key in sorted(_LOST.keys() & service.keys())]
    lost += [Lost(key, "not known") for key in sorted(service.keys() - known)]
    if service.get("restart") in ("no", False) or str(service.get("restart", "")).startswith("on-failure"):
        lost.append(Lost("restart", NO_END))
    if service.get("ports"):
        lost.append(Lost("ports", "it listens on the box itself, at the port that its program opens"))
    if any(
        not str(volume).startswith((".", "/", "~"))
        for volume in _list_of(service.get("volumes"))
        if isinstance(volume, str)
    ):
        lost.append(Lost("volumes", f"copy what is in them: docker compose cp {name}:PATH FOLDER"))
    counts = (part_of(service, "deploy", "replicas"), service.get("scale"))
    if any(isinstance(count, int) and count > 1 for count in counts):
        lost.append(Lost("replicas", "one process: a bot's connections cannot be shared, and a node is one process"))
    return lost


def _substituted(value: Any, path: Path, key: str, environment: Mapping[str, str]) -> Any:
    """Return a value in which ``${X}``, ``$X`` and ``${X:-default}`` are what the shell has."""
    if isinstance(value, dict):
        return {name: _substituted(item, path, f"{key}.{name}", environment) for name, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, path, f"{key}[{at}]", environment) for at, item in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name, rule, other = found[2] or found[3], found[4] or "", found[5] or ""
        known = environment.get(name)
        is_set = bool(known) if rule.startswith(":") else known is not None
        if rule.endswith("+"):
            return other if is_set else ""
        if rule.endswith("-"):
            return (known or "") if is_set else other
        if rule.endswith("?") and not is_set:
            raise FileNotUnderstood(path, key, f"needs the variable {name!r}", f"set it: {name}=... fleet import ...")
        return known or ""

    return _REFERENCE.sub(replaced, value)
