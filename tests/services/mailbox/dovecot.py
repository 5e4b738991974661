"""A real IMAP server (Debian's dovecot-imapd) as a process of its own: private config, free port, maildir."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from itertools import count
from pathlib import Path

import pytest

PROGRAM = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_dovecot = pytest.mark.skipif(PROGRAM is None, reason="dovecot is not installed: apt install dovecot-imapd")
USER, PASSWORD = "bots", "open sesame"
_NOBODY = 65_534
_START_S = 20.0

_CONFIG = """
base_dir = {run}
state_dir = {run}
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
mail_location = maildir:{mail}
mailbox_idle_check_interval = 1s
first_valid_uid = 0
first_valid_gid = 0
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""


class Dovecot:
    """One server with one mailbox, which tests put mails into as a mail server does."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.mail = folder / "mail"
        self._numbers = count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._uid = _NOBODY if os.getuid() == 0 else os.getuid()

    async def start(self) -> None:
        assert PROGRAM is not None
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM, "-F", "-c", str(self.folder / "dovecot.conf"), start_new_session=True
        )
        async with asyncio.timeout(_START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self._process.returncode is None, self.log
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._process = None

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def deliver(self, mail: EmailMessage | bytes) -> None:
        """Put a mail into the mailbox, as an MDA does: written whole, then renamed."""
        number = next(self._numbers)
        raw = mail if isinstance(mail, bytes) else mail.as_bytes()
        name = f"{1_700_000_000 + number}.M{number}P{os.getpid()}.test"
        path = self.mail / "tmp" / name
        path.write_bytes(raw)
        os.chown(path, self._uid, -1)
        path.rename(self.mail / "new" / name)

    async def change_uid_validity(self) -> None:
        """Forget which UID each mail has, as a server does that was restored from a backup."""
        await self.stop()
        for path in self.mail.glob("dovecot*"):
            path.unlink()
        self._prepare_mail()
        # The new one is made of the time in seconds.
        await asyncio.sleep(1.1)
        await self.start()

    def set_password(self, password: str) -> None:
        (self.folder / "users").write_text(f"{USER}:{{PLAIN}}{password}\n")
        (self.folder / "users").chmod(0o644)

    def _prepare_mail(self) -> None:
        for name in ("", "new", "cur", "tmp"):
            path = self.mail / name
            path.mkdir(exist_ok=True)
            os.chown(path, self._uid, -1)

    def prepare(self) -> None:
        self._prepare_mail()
        (self.folder / "run").mkdir()
        (self.folder / "home").mkdir()
        os.chown(self.folder / "home", self._uid, -1)
        self.set_password(PASSWORD)
        is_root = os.getuid() == 0
        me = os.environ.get("USER") or "nobody"
        config = _CONFIG.format(
            folder=self.folder,
            run=self.folder / "run",
            mail=self.mail,
            port=self.port,
            uid=self._uid,
            gid=_NOBODY if is_root else os.getgid(),
            internal="dovecot" if is_root else me,
            group="dovecot" if is_root else me,
            login="dovenull" if is_root else me,
        )
        (self.folder / "dovecot.conf").write_text(config)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running_dovecot() -> AsyncIterator[Dovecot]:
    """Run a server; its folder is short, and open to the user that it becomes."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-dovecot-"))
    folder.chmod(0o755)
    server = Dovecot(folder, free_port())
    server.prepare()
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def a_mail(
    subject: str = "Hello", text: str = "A text.\n", *, sender: str = "eve@shop.example", **headers: str
) -> EmailMessage:
    """Return a mail; underscores in names of headers are dashes."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, "bots@fleet.example", subject
    mail["Message-ID"] = headers.pop("Message_ID", f"<{os.urandom(8).hex()}@shop.example>")
    mail["Date"] = headers.pop("Date", "Mon, 23 Nov 2026 03:00:00 +0000")
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail
