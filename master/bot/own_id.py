"""The master's own user id, which its nodes need before the master has logged in.

A token of Discord's tells it. For any other it is learned at the first login, and remembered.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from handshake.files import read_regular
from master.durable import replace_file
from master.security.tokens import claimed_user_id

log = logging.getLogger(__name__)

_MAX_BYTES = 256


class RememberedId:
    """The user id of a token's bot.

    Parameters
    ----------
    path
        Holds the id beside a digest of its token, so that the id of another bot is not taken for it.
    """

    def __init__(self, token: str, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256(token.encode()).hexdigest()[:32]
        self._claimed = claimed_user_id(token)
        self.value = self._claimed or self._remembered()

    def learn(self, user_id: int) -> None:
        """Take the id that the server tells, and remember it where the token does not tell it."""
        if user_id == self.value:
            return
        self.value = user_id
        if self._claimed is None:
            try:
                replace_file(self._path, f"{self._digest} {user_id}\n".encode())
            except OSError as error:
                log.warning("the master's id cannot be remembered", extra={"why": str(error)})

    def _remembered(self) -> int:
        try:
            digest, _, text = read_regular(self._path, _MAX_BYTES).decode("utf-8").strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if digest == self._digest and text.isdecimal() else 0
