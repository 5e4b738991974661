"""The secret of a fleet's settings, as what every key is derived from."""

from __future__ import annotations

from master.configuration.settings import IdentitySettings
from master.security.derivation import MasterSecret


def master_secret_of(identity: IdentitySettings) -> MasterSecret:
    """Return the secret that a fleet's keys are derived from at present."""
    return MasterSecret(identity.master_secret, identity.kept_keys)
