"""The action that installs a package for a node."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done
from master.services.repair.errors import ActionSkipped


class ModuleParameters(ActionParameters, frozen=True):
    """What is missing."""

    module: Annotated[str, Meta(min_length=1, max_length=200)]
    """The module's name as Python says it, usually ``{module}``."""


async def _install(acting: Acting, parameters: ModuleParameters) -> Done:
    raise ActionSkipped(f"nothing is installed for {acting.node.name} yet")


# Not Risk.ASK: nothing is ever installed that HEALING["PACKAGES"] does not name in this very version, and that is the
# operator's word already.
install_package = Action(
    name="install_package",
    summary='Install the package that HEALING["PACKAGES"] names for a module, for this node alone, and start it.',
    parameters=ModuleParameters,
    run=_install,
)
