"""The licences of people who were asked for lately, so that a check needs no database."""

from __future__ import annotations

from collections import OrderedDict

from master.ledger.rows.records import Licence

MOST_PEOPLE = 20_000


class LicenceCache:
    """Keep the licences of people until one of them changes."""

    def __init__(self, most: int = MOST_PEOPLE) -> None:
        self._most = most
        self._of_person: OrderedDict[int, tuple[Licence, ...]] = OrderedDict()
        self._people: dict[str, set[int]] = {}
        self.generation = 0
        """Rises with each change: what was read before one is not kept after it."""

    def get(self, user_id: int) -> tuple[Licence, ...] | None:
        """Return a person's licences; None if they are not known."""
        return self._of_person.get(user_id)

    def put(self, user_id: int, licences: tuple[Licence, ...], *, generation: int) -> None:
        """Keep a person's licences, as they were read at a generation."""
        if generation != self.generation:
            return
        self._of_person[user_id] = licences
        for licence in licences:
            self._people.setdefault(licence.id, set()).add(user_id)
        if len(self._of_person) > self._most:
            self._drop(next(iter(self._of_person)))

    def forget(self, licence_id: str, *user_ids: int) -> None:
        """Forget all who have a licence, and these people: it was changed."""
        self.generation += 1
        for user_id in (*self._people.get(licence_id, ()), *user_ids):
            self._drop(user_id)

    def clear(self) -> None:
        """Forget everything."""
        self.generation += 1
        self._of_person.clear()
        self._people.clear()

    def _drop(self, user_id: int) -> None:
        for licence in self._of_person.pop(user_id, ()):
            people = self._people.get(licence.id, set())
            people.discard(user_id)
            if not people:
                self._people.pop(licence.id, None)
