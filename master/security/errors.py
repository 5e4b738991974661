"""Exceptions of the security package."""

from __future__ import annotations

from typing import ClassVar

from master.errors import ExitCode, FleetError


class SecurityError(FleetError):
    """Base class of the security package's errors."""

    code: ClassVar[str] = "security_error"


class SecretRefused(SecurityError):
    """MASTER_SECRET is missing, too short, or publicly known."""

    code: ClassVar[str] = "secret_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG


class VaultError(SecurityError):
    """A sealed token cannot be decrypted: wrong secret, wrong node, or altered bytes."""

    code: ClassVar[str] = "vault_error"
    exit_code: ClassVar[ExitCode] = ExitCode.LEDGER


class InvalidLicenceCode(SecurityError):
    """A licence code has a typing error, or was not issued here."""

    code: ClassVar[str] = "invalid_licence_code"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TokenFormatError(SecurityError):
    """A text cannot be a Discord bot token."""

    code: ClassVar[str] = "token_format"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED
