"""What servers answer to apprise, which says only whether it worked. In the child process alone.

Its services send through ``requests`` and ``smtplib``: what goes through them is seen here, and what apprise logs.
"""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from master.services.announcing.outcomes import Fate, Outcome, link_of, patience_of

_LATER = (408, 425, 429)
_MAX_DETAIL = 200


class Witness:
    """See what a service of apprise sends, and what is answered.

    Redirects are not followed: of a POST to another address the message would be lost, and an address could lead into
    the box's own network.

    Parameters
    ----------
    key
        Sent as ``Idempotency-Key`` with each POST.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._response: requests.Response | None = None
        self._error: Exception | None = None
        self._handed_over = False
        """Whether a message may have reached somebody who did not answer."""
        self._send: Callable[..., requests.Response] = requests.Session.send
        self._data = smtplib.SMTP.data
        self._log = _Complaints()
        self.url = ""

    def __enter__(self) -> Self:
        """Look on."""

        def send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            return self._pass_on(session, request, options)

        def data(connection: smtplib.SMTP, msg: Any) -> tuple[int, bytes]:
            self._handed_over = True
            answer = self._data(connection, msg)
            self._handed_over = False
            return answer

        requests.Session.send = send  # type: ignore[method-assign,assignment]
        smtplib.SMTP.data = data  # type: ignore[method-assign,assignment]
        logging.getLogger("apprise").addHandler(self._log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more."""
        requests.Session.send = self._send  # type: ignore[method-assign]
        smtplib.SMTP.data = self._data  # type: ignore[method-assign]
        logging.getLogger("apprise").removeHandler(self._log)

    def _pass_on(
        self, session: requests.Session, request: requests.PreparedRequest, options: dict[str, Any]
    ) -> requests.Response:
        if self._key and request.method == "POST":
            request.headers["Idempotency-Key"] = self._key
        options["allow_redirects"] = False
        self._response, self._error = None, None
        try:
            response = self._send(session, request, **options)
        except requests.RequestException as error:
            self._error = error
            self._handed_over = isinstance(error, requests.ReadTimeout) or _was_cut_off(error)
            raise
        self._response, self._handed_over = response, False
        if response.ok:
            self.url = _url_in(response) or self.url
        return response

    def failure(self) -> Outcome:
        """Return why a message was not sent, as far as it is known."""
        if self._handed_over:
            return Outcome(fate=Fate.UNKNOWN, detail="it was handed over, and no answer came")
        if self._response is not None and not self._response.ok:
            return _of_status(self._response)
        if self._response is not None and self._response.is_redirect:
            return _of_status(self._response)
        if self._error is not None:
            return Outcome(fate=Fate.AWAY, detail=_of_error(self._error))
        words = self._log.words[:_MAX_DETAIL] or "apprise says no more than that it failed"
        return Outcome(fate=Fate.AWAY, detail=words)


class _Complaints(logging.Handler):
    """The first warning that apprise logs; its addresses have no passwords in them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.words = self.words or record.getMessage()


def _of_status(response: requests.Response) -> Outcome:
    status = response.status_code
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    words = f"HTTP {status} {phrase}".strip()
    if response.is_redirect:
        host = urlsplit(response.headers.get("Location", "")).hostname or "another path"
        return Outcome(
            fate=Fate.REFUSED, detail=f"{words}: it redirects to {host}, which is not followed"[:_MAX_DETAIL]
        )
    if status in _LATER or status >= 500:
        return Outcome(fate=Fate.AWAY, detail=words, retry_after_s=patience_of(response.headers.get("Retry-After", "")))
    return Outcome(fate=Fate.REFUSED, detail=words)


def _was_cut_off(error: requests.RequestException) -> bool:
    """Tell whether a connection broke after the request was on its way."""
    text = repr(error)
    return isinstance(error, requests.ConnectionError) and ("RemoteDisconnected" in text or "Connection reset" in text)


def _of_error(error: Exception) -> str:
    """Return what went wrong in a few words; the error's own text has the address in it."""
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not valid"
    if isinstance(error, requests.Timeout):
        return "no connection within the time-out"
    for mark, words in (
        ("Connection refused", "the connection was refused"),
        ("NameResolutionError", "its name is not known"),
        ("Name or service", "its name is not known"),
        ("unreachable", "the network is not reachable"),
    ):
        if mark in text:
            return words
    return f"it could not be reached ({type(error).__name__})"


def _url_in(response: requests.Response) -> str:
    """Return the address of what was made, if the answer names it."""
    try:
        answer = response.json()
    except ValueError:
        return ""
    return link_of(answer.get("url")) if isinstance(answer, dict) else ""
