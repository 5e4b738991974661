"""DEV.to, and other communities on Forem: an announcement is an article. ``devto://KEY`` or ``devto://KEY@HOST``.

https://developers.forem.com/api/v1. Apprise has no such service.
"""

from __future__ import annotations

import ipaddress
import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from master.services.announcing.outcomes import Fate, Outcome, link_of, patience_of
from master.services.announcing.texts import Fitted, Limits

SCHEME = "devto://"
DEVTO_LIMITS = Limits(text=0, title=128, service="DEV.to")
TIMEOUT_S = 20.0
_HOST = "dev.to"
_MAX_ANSWER_BYTES = 1 << 20


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go with it."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


def publish(url: str, fitted: Fitted) -> Outcome:
    """Publish an article."""
    key, base = _parts(url)
    if not key:
        return Outcome(fate=Fate.REFUSED, detail="devto:// names no key")
    title = fitted.title or fitted.text.split("\n", 1)[0][: DEVTO_LIMITS.title]
    article = {"title": title, "body_markdown": fitted.text, "published": True}
    request = urllib.request.Request(  # noqa: S310 - https, or the loopback address
        f"{base}/api/articles",
        data=json.dumps({"article": article}).encode(),
        headers={"api-key": key, "Content-Type": "application/json", "User-Agent": "Fleetmaster"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirects()).open(request, timeout=TIMEOUT_S) as response:
            answer = json.loads(response.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        return _refusal(error)
    except urllib.error.URLError as error:
        return Outcome(fate=Fate.AWAY, detail=f"it could not be reached ({type(error.reason).__name__})")
    except (TimeoutError, HTTPException, ValueError):
        return Outcome(fate=Fate.UNKNOWN, detail="it was handed over, and no answer came")
    return Outcome(fate=Fate.SENT, url=link_of(answer.get("url")) if isinstance(answer, dict) else "")


def _parts(url: str) -> tuple[str, str]:
    """Return the key, and where the community is: over TLS, but on this box."""
    parts = urlsplit(url)
    if parts.username is None:
        return unquote(parts.netloc), f"https://{_HOST}"
    host = parts.hostname or _HOST
    scheme = "http" if _is_own_box(host) else "https"
    return unquote(parts.username), f"{scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_own_box(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(error: urllib.error.HTTPError) -> Outcome:
    with error:
        words = f"HTTP {error.code} {error.reason}".strip()[:200]
        if error.code == 429 or error.code >= 500:
            after = patience_of(error.headers.get("Retry-After", ""))
            return Outcome(fate=Fate.AWAY, detail=words, retry_after_s=after)
        return Outcome(fate=Fate.REFUSED, detail=words)
