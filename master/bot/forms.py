"""Forms over HTTP; implements ``services.mailbox.form_port``."""

from __future__ import annotations

from collections.abc import Mapping

from master.services.mailbox.form_port import FormAnswer

TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 256 << 10


async def post_form(url: str, form: Mapping[str, str]) -> FormAnswer:
    """Send a form; a redirect is not followed, for it would carry secrets elsewhere.

    Raises
    ------
    OSError
        There is no answer.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=dict(form), allow_redirects=False) as response,
        ):
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise OSError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
            return FormAnswer(response.status, bytes(body))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        # Not the error's own words: they may have the URL's.
        raise OSError(f"the token server does not answer ({type(error).__name__})") from error
