"""Which rule a mail fits. Patterns are RE2: no text can hang the master."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import re2

from master.configuration.settings import MailboxSettings, MailRule
from master.services.mailbox.mail_content import MailContent

ACTING = frozenset({"licence", "solution"})
"""What only a sender sets off whom one's own server vouches for, whatever the rule says."""
EVERYTHING = "everything"
"""The rule of a mailbox without rules: each mail is posted."""


class Rules:
    """The rules of one mailbox, compiled once."""

    def __init__(self, settings: MailboxSettings) -> None:
        rules: Mapping[str, MailRule] = settings.rules or {EVERYTHING: MailRule(action="post", trusted=False)}
        self._vouches = bool(settings.authserv_id)
        self._rules = [(name, rule, _Patterns(rule)) for name, rule in rules.items()]

    def first_that_fits(self, mail: MailContent) -> tuple[str, MailRule] | None:
        """Return the first rule that fits, with its name."""
        return next(
            ((name, rule) for name, rule, patterns in self._rules if patterns.fit(mail) and may(rule, mail)), None
        )

    @property
    def useless(self) -> list[str]:
        """Return the rules that can never fit: nobody is vouched for in this mailbox."""
        if self._vouches:
            return []
        return [
            name for name, rule, _ in self._rules if rule.action != "ignore" and (rule.trusted or rule.action in ACTING)
        ]

    def why_not(self, mail: MailContent) -> str:
        """Say why no rule fits."""
        distrusted = [name for name, rule, patterns in self._rules if patterns.fit(mail) and not may(rule, mail)]
        if distrusted:
            return f"{', '.join(distrusted)} would fit, but {mail.verdict.why}"
        return "no rule fits"


def may(rule: MailRule, mail: MailContent) -> bool:
    """Tell whether a mail's sender may set off a rule's action."""
    if rule.action == "ignore":
        return True
    return mail.verdict.is_trusted or not (rule.trusted or rule.action in ACTING)


class _Patterns:
    def __init__(self, rule: MailRule) -> None:
        # Up to the end of the address: "@shop\.example" is not to fit x@shop.example.evil.org.
        self._sender = _compiled(f"(?:{rule.sender})\\z" if rule.sender else "")
        self._subject, self._list_id, self._body = map(_compiled, (rule.subject, rule.list_id, rule.body))

    def fit(self, mail: MailContent) -> bool:
        return all(pattern.search(text) for pattern, text in self._looked_at(mail))

    def _looked_at(self, mail: MailContent) -> Iterator[tuple[re2._Regexp[str], str]]:
        pairs = (
            (self._sender, mail.sender),
            (self._subject, mail.subject),
            (self._list_id, mail.list_id),
            (self._body, mail.text),
        )
        return ((pattern, text) for pattern, text in pairs if pattern is not None)


def _compiled(pattern: str) -> re2._Regexp[str] | None:
    options = re2.Options()
    options.case_sensitive = False
    return re2.compile(pattern, options) if pattern else None
