"""Permissions: what the config gives to whom, whichever way they come."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from master.configuration.settings import PeopleSettings, Settings
from master.services.core.actors import SYSTEM, Actor, unix_actor
from master.services.core.errors import NotAuthorised
from master.services.core.permissions import Permission, Permissions

OPERATOR, VIEWER, MODERATOR, STRANGER = (10**17 + number for number in range(1, 5))
VIEWERS_ROLE = 10**17 + 9


@pytest.fixture
def permissions(house_settings: Settings) -> Permissions:
    return Permissions(
        replace(
            house_settings,
            operators=PeopleSettings(user_ids=frozenset({OPERATOR})),
            viewers=PeopleSettings(user_ids=frozenset({VIEWER}), role_ids=frozenset({VIEWERS_ROLE})),
            moderators=PeopleSettings(user_ids=frozenset({MODERATOR})),
        )
    )


def person(user_id: int, *roles: int, face: str = "discord", is_member: bool = True) -> Actor:
    return Actor(
        face=face,  # type: ignore[arg-type]
        identity=str(user_id),
        name="somebody",
        role_ids=frozenset(roles),
        is_member=is_member,
    )


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (person(OPERATOR), set(Permission)),
        (person(OPERATOR, face="web"), set(Permission)),
        (person(VIEWER), {Permission.VIEW, Permission.MEMBER}),
        (person(STRANGER, VIEWERS_ROLE), {Permission.VIEW, Permission.MEMBER}),
        (person(MODERATOR), {Permission.MODERATE, Permission.MEMBER}),
        (person(MODERATOR, VIEWERS_ROLE), {Permission.MODERATE, Permission.VIEW, Permission.MEMBER}),
        (person(STRANGER), {Permission.MEMBER}),
        (person(STRANGER, is_member=False), set()),
        (Actor(face="node", identity="01A", name="atlas"), {Permission.MEMBER}),
        (SYSTEM, set(Permission)),
    ],
)
def test_what_each_may_do(permissions: Permissions, actor: Actor, expected: set[Permission]) -> None:
    assert permissions.of(actor) == expected


def test_the_box_belongs_to_root_and_to_whoever_runs_the_master(permissions: Permissions) -> None:
    assert permissions.of(unix_actor(0)) == permissions.of(unix_actor(os.geteuid())) == set(Permission)
    assert permissions.of(unix_actor(os.geteuid() + 54_321)) == set()


def test_a_unix_user_whose_name_is_a_number_is_nobody_on_discord(permissions: Permissions) -> None:
    assert permissions.of(Actor(face="cli", identity=str(OPERATOR), name="odd")) == set()


def test_a_refusal_says_what_is_missing_and_who_can_give_it(permissions: Permissions) -> None:
    with pytest.raises(NotAuthorised, match="may not restart") as caught:
        permissions.require(person(VIEWER), Permission.OPERATE, "restart")
    assert (caught.value.who, caught.value.action, caught.value.permission) == ("somebody", "restart", "operate")
    assert "OPERATORS" in caught.value.hint
