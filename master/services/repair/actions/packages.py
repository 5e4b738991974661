"""The action that installs a package for a node."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from master.services.repair.actions.action import Acting, Action, ActionParameters, Done
from master.services.repair.actions.restarting import restart_now
from master.services.repair.actions.starting import require_startable
from master.services.repair.errors import ActionSkipped
from master.wording import visible

if TYPE_CHECKING:
    from master.services.repair.actions.tools import Tools

_MODULE = re.compile(r"[A-Za-z_]\w{0,63}(\.[A-Za-z_]\w{0,63}){0,9}", re.ASCII)


class ModuleParameters(ActionParameters, frozen=True):
    """What is missing."""

    module: Annotated[str, Meta(min_length=1, max_length=200)]
    """The module's name as Python says it, usually ``{module}``."""


async def _install(acting: Acting, parameters: ModuleParameters) -> Done:
    tools, module = acting.tools, parameters.module
    if _MODULE.fullmatch(module) is None:
        raise ActionSkipped(f"{visible(module)[:100]!r} is no name of a module")
    if not tools.installer.requirement_of(module):
        raise ActionSkipped(
            f"nothing may be installed for the module {module}",
            hint=f'HEALING["PACKAGES"] in config.py allows it: {{"{module}": "NAME==VERSION"}}',
        )
    node = require_startable(acting, cured=True)
    async with acting.audited("install_package") as entry:
        entry.detail = module
        folder, own = tools.launcher.folder_of(node), tools.launcher.own_settings(node)
        entry.detail = installed = await tools.installer.install(node, folder, own, module)
    await restart_now(acting, why=f"{installed} was installed", cured=True)
    return Done(detail=f"installed {installed}, and restarted", awaits_ready=True)


def _is_allowed(tools: Tools, parameters: ModuleParameters) -> bool:
    return bool(tools.installer.requirement_of(parameters.module))


# Not Risk.ASK: nothing is ever installed that HEALING["PACKAGES"] does not name in this very version, and that is the
# operator's word already.
install_package = Action(
    name="install_package",
    summary='Install the package that HEALING["PACKAGES"] names for a module, for this node alone, and restart it.',
    parameters=ModuleParameters,
    run=_install,
    is_allowed=_is_allowed,
)
