"""The master secret of a fleet's settings."""

from __future__ import annotations

from master.configuration.settings import IdentitySettings
from master.security.derivation import MasterSecret


def master_secret_of(identity: IdentitySettings) -> MasterSecret:
    """Return the secret that a fleet's keys are derived from."""
    return MasterSecret(identity.master_secret, identity.kept_keys)
