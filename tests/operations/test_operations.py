"""The table of operations: authorised and audited once, whichever face calls."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec
import pytest

from master.ledger.rows import audit
from master.ledger.rows.records import AuditRow, Outcome
from master.operations import (
    OPERATIONS,
    changing,
    kernel,
    ledger,
    lineage,
    nodes,
    onboarding,
    patch_keys,
    solutions,
    telling,
)
from master.operations.operation import Audit, Needs, Operation
from master.operations.parameters import AuditParams, NamesParams, RegisterParams, StatusParams
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised
from master.services.core.permissions import Permission
from master.services.core.views import ActionResult
from master.services.onboarding.saga import CloneRequest
from tests.services.conftest import OPERATOR, STRANGER, House

VIEWER = Actor(face="discord", identity="55", name="vera", is_member=True)


async def rows(house: House) -> list[AuditRow]:
    return await house.services.ledger.read(lambda c: audit.search(c))


READ_BY_MODERATORS = {"tickets", "ticket_show", "ticket_permissions", "ticket_check", "licences", "licence_show"}
READ_BY_OPERATORS = {"doctor"}
"""Of what is done for people moderators read too; nothing is changed by it."""


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_each_entry_is_whole(operation: Operation[Any, Any, Any]) -> None:
    assert OPERATIONS[operation.name] is operation
    assert operation.summary
    assert issubclass(operation.parameters, msgspec.Struct)
    assert operation.parameters.__struct_config__.forbid_unknown_fields
    # What changes something leaves a trace: in the log by itself, or by what works on a ledger that it replaces.
    # What members do for themselves, thousands of times, is on record where it belongs: entries, uses, histories.
    if operation.permission is Permission.MEMBER:
        assert not operation.destructive or operation.audit is not Audit.NOTHING
        return
    acts = operation.permission is not Permission.VIEW and operation.name not in READ_BY_MODERATORS | READ_BY_OPERATORS
    assert acts == (operation.audit is not Audit.NOTHING or operation.needs is Needs.STOPPED)


@pytest.mark.parametrize(
    "operation", [o for o in OPERATIONS.values() if o.needs is not Needs.STOPPED], ids=lambda o: o.name
)
async def test_nobody_gets_past_the_permission_and_the_refusal_is_written_down(
    house: House, operation: Operation[Any, Any, Any]
) -> None:
    with pytest.raises(NotAuthorised):
        await house.operations.run(operation, STRANGER, msgspec.convert(required(operation), operation.parameters))
    (row,) = await rows(house)
    assert (row.actor, row.action, row.outcome) == ("discord:42", operation.audit_name, Outcome.REFUSED)


def required(operation: Operation[Any, Any, Any]) -> dict[str, Any]:
    """Something for each parameter that must be given."""
    fields = msgspec.structs.fields(operation.parameters)
    kinds: dict[str, Any] = {"names": ["something"], "do": True, "grant": True}
    return {field.name: kinds.get(field.name, _sample(field.type)) for field in fields if field.required}


def _sample(kind: Any) -> bool | int | str:
    """Something of a type."""
    if isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.BoolType):
        return True
    numbers = (msgspec.inspect.IntType, msgspec.inspect.FloatType)
    return 60 if isinstance(msgspec.inspect.type_info(kind), numbers) else "something"


@pytest.mark.parametrize(
    "module",
    [nodes, onboarding, changing, telling, lineage, solutions, patch_keys, ledger, kernel],
    ids=lambda module: module.__name__,
)
def test_no_operation_is_missing_from_the_table(module: ModuleType) -> None:
    defined = [value for value in vars(module).values() if isinstance(value, Operation)]
    assert defined
    assert all(OPERATIONS.get(operation.name) is operation for operation in defined)


async def test_each_node_is_a_row_of_its_own_and_a_result_as_it_comes(house: House) -> None:
    for name in ("atlas", "borealis"):
        await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name)))
    before, told = len(await rows(house)), []

    async def tell(result: ActionResult) -> None:
        told.append(result.node)

    results = await house.operations.run(nodes.stop, OPERATOR, NamesParams(all=True), tell=tell)
    assert sorted(told) == sorted(result.node for result in results) == ["atlas", "borealis"]
    assert all(result.ok and result.state == "stopped" for result in results)
    written = (await rows(house))[:-before]
    assert sorted((row.action, row.detail, row.outcome.value) for row in written) == [
        ("stop", "atlas", "done"),
        ("stop", "borealis", "done"),
    ]


async def test_clearing_a_node_without_a_flag_is_written_down_by_its_name_alone(house: House) -> None:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas")))
    await house.operations.run(nodes.clear, OPERATOR, NamesParams(names=("atlas",)))
    assert [row.detail for row in await rows(house) if row.action == "clear"] == ["atlas"]


async def test_a_name_that_no_node_has_changes_nothing(house: House) -> None:
    await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas")))
    before = await rows(house)
    with pytest.raises(Exception, match="nobody"):
        await house.operations.run(nodes.kill, OPERATOR, NamesParams(names=("atlas", "nobody")))
    assert await rows(house) == before
    assert house.services.fleet.state_of(house.services.directory.find("atlas").id) == "starting"


async def test_registering_without_a_folder_is_cloning_for_every_face(house: House) -> None:
    wanted = RegisterParams(name="atlas", token=house.token("atlas").reveal())
    made = await house.operations.run(onboarding.register, OPERATOR, wanted)
    assert made.name == "atlas"
    assert (house.base / "atlas" / "cogs" / "one.py").exists()
    (row,) = await rows(house)
    assert (row.action, row.detail, row.node_id) == ("duplicate", "atlas from the template", made.node_id)


async def test_looking_leaves_no_row(house: House) -> None:
    await house.operations.run(nodes.status, OPERATOR, StatusParams())
    await house.operations.run(ledger.audit, OPERATOR, AuditParams())
    assert await rows(house) == []


async def test_a_failure_is_written_down_with_its_reason(house: House) -> None:
    with pytest.raises(Exception, match="beta/"):
        await house.operations.run(
            onboarding.register, OPERATOR, RegisterParams(name="beta/", token=house.token().reveal())
        )
    (row,) = await rows(house)
    assert (row.action, row.outcome) == ("duplicate", Outcome.FAILED)
    assert row.detail.startswith("name_refused: ")
