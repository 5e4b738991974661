"""Incidents: how often a crash is told, and when it is over."""

from __future__ import annotations

from master.services.healing.incidents import CALM_S, WELL_AFTER_S, Incidents


def test_of_a_hundred_equal_crashes_five_are_told_and_another_cause_at_once() -> None:
    incident = Incidents().of("01A", "atlas", 0.0)
    assert [n for n in range(1, 101) if incident.count("boom", float(n))] == [1, 3, 10, 30, 100]
    assert incident.count("bang", 101.0) == 1


def test_after_a_calm_time_it_is_another_incident() -> None:
    incidents = Incidents()
    first = incidents.of("01A", "atlas", 0.0)
    first.count("boom", 10.0)
    assert incidents.of("01A", "atlas", 10.0 + CALM_S) is first
    assert incidents.of("01A", "atlas", 10.1 + CALM_S) is not first


def test_it_is_well_once_it_has_been_ready_for_a_while_and_only_if_it_was_told_to_be_down() -> None:
    incidents = Incidents()
    incident = incidents.of("01A", "atlas", 0.0)
    incident.note_down(0.0)
    incident.ready_s = 5.0
    assert incidents.next_well_in_s(5.0) is None
    incident.is_open = True
    assert incidents.next_well_in_s(6.0) == WELL_AFTER_S - 1.0
    assert incidents.well(6.0) == []
    assert incidents.well(5.0 + WELL_AFTER_S) == [incident]
    incident.note_down(7.0)
    assert incidents.next_well_in_s(8.0) is None
    incidents.close("01A")
    assert incidents.get("01A") is None
