"""All operations of the master; every face uses this table."""

from __future__ import annotations

from typing import Any

from master.operations import changing, errors, kernel, ledger, nodes, onboarding, repairs, solutions, telling
from master.operations.operation import Operation

_ALL: tuple[Operation[Any, Any, Any], ...] = (
    nodes.ping,
    nodes.status,
    nodes.history,
    nodes.logs,
    nodes.start,
    nodes.stop,
    nodes.restart,
    nodes.roll,
    nodes.kill,
    nodes.release,
    nodes.clear,
    nodes.flush,
    nodes.revoke,
    nodes.reinstate,
    telling.describe,
    telling.why,
    onboarding.register,
    onboarding.duplicate,
    changing.plan_removal,
    changing.remove,
    changing.set_token,
    changing.options,
    changing.edit,
    changing.rename,
    errors.listing,
    errors.show,
    errors.mute,
    errors.unmute,
    errors.resolve,
    solutions.listing,
    solutions.show,
    solutions.history,
    solutions.test,
    solutions.draft,
    solutions.enable,
    solutions.disable,
    solutions.save,
    solutions.take_back,
    solutions.remove,
    repairs.listing,
    repairs.decide,
    ledger.audit,
    ledger.verify_audit,
    ledger.acknowledge_audit,
    ledger.status,
    ledger.verify,
    ledger.backup,
    ledger.rotate_secret,
    ledger.restore,
    ledger.import_archive,
    ledger.migrate,
    kernel.events,
    kernel.reload,
    kernel.shutdown,
)

OPERATIONS: dict[str, Operation[Any, Any, Any]] = {operation.name: operation for operation in _ALL}
"""All operations by name."""
