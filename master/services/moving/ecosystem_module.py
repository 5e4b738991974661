"""Evaluate an ``ecosystem.config.js``, which is a program: with the operator's own node, as PM2 does, but bounded."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from master.services.moving.programs import FileNotUnderstood

TIME_LIMIT_S = 20.0
OUTPUT_LIMIT_BYTES = 4 * 2**20
# import() reads both kinds of module; what the program prints goes elsewhere, so that the answer is nothing but JSON.
_SCRIPT = """
const fs = require("fs"), url = require("url"), [file, out] = process.argv.slice(1);
const say = (value) => { fs.writeSync(Number(out), JSON.stringify(value)); process.exit(0); };
import(url.pathToFileURL(file)).then(async (module) => {
  let value = module.default ?? module;
  if (typeof value === "function") value = value();
  say({ value: await value });
}).catch((error) => say({ error: String(error && error.message || error).slice(0, 500) }));
"""


def evaluate_module(path: Path, node: str) -> object:
    """Return what a JavaScript module exports. Blocks.

    Parameters
    ----------
    node
        The program of node.js.

    Raises
    ------
    FileNotUnderstood
        It fails, takes too long, or exports what is no JSON.
    """
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as stream:
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own file, which he asked us to read
                [node, "--input-type=commonjs", "--eval", _SCRIPT, "--", str(path), str(writing)],
                cwd=path.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except OSError as error:
            raise FileNotUnderstood(path, "", f"{node} does not run: {error.strerror}") from error
        finally:
            os.close(writing)
        try:
            text = _read_bounded(stream.fileno(), path)
        finally:
            # Also what it may have left in the background.
            _kill_group(process)
    return _value_of(text, path)


def _read_bounded(descriptor: int, path: Path) -> bytes:
    """Read to the end, within the bounds of time and size."""
    until = time.monotonic() + TIME_LIMIT_S
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(until - time.monotonic(), 0)):
            piece = os.read(descriptor, 2**16)
            if not piece:
                return bytes(found)
            found += piece
            if len(found) > OUTPUT_LIMIT_BYTES:
                raise FileNotUnderstood(path, "", f"exports more than {OUTPUT_LIMIT_BYTES // 2**20} MB")
    raise FileNotUnderstood(path, "", f"did not end within {TIME_LIMIT_S:.0f} s", _as_json_hint(path))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # It has ended, and so have its children.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _value_of(text: bytes, path: Path) -> object:
    try:
        answer: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise FileNotUnderstood(path, "", "ended without a word", _as_json_hint(path)) from error
    if "error" in answer:
        raise FileNotUnderstood(path, "", f"node fails on it: {answer['error']}", _as_json_hint(path))
    return answer.get("value")


def _as_json_hint(path: Path) -> str:
    return f"or make a JSON of it: node -p 'JSON.stringify(require(\"./{path.name}\"))' > ecosystem.json"


def no_node(path: Path) -> FileNotUnderstood:
    """Return the error for a machine without node.js."""
    return FileNotUnderstood(
        path,
        "",
        "it is a program, and there is no node on the PATH to run it with",
        f"on a machine with node{_as_json_hint(path)[2:]}",
    )
