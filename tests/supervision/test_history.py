"""Ring buffers of fixed size."""

from __future__ import annotations

from master.supervision.history import NodeHistory, Ring


def test_a_ring_keeps_the_last_slots_and_no_more() -> None:
    ring = Ring(1.0, 5)
    for second in range(12):
        ring.put(100.0 + second, float(second), float(second))
    assert ring.read() == ([7.0, 8.0, 9.0, 10.0, 11.0], [7.0, 8.0, 9.0, 10.0, 11.0])


def test_time_without_a_reading_is_zero() -> None:
    ring = Ring(1.0, 5)
    ring.put(10.0, 1.0, 1.0)
    ring.put(13.0, 2.0, 2.0)
    assert ring.read()[0] == [1.0, 0.0, 0.0, 2.0]
    ring.put(1_000_000.0, 3.0, 0.0)
    assert ring.read()[0] == [0.0, 0.0, 0.0, 0.0, 3.0]


def test_a_minute_shows_its_highest_second() -> None:
    history = NodeHistory()
    for second in range(90):
        history.put(600.0 + second, 50.0 if second == 30 else 1.0, 10 << 20)
    assert history.coarse.read()[0] == [50.0, 1.0]
    assert len(history.fine.read()[0]) == 90


def test_a_reading_every_other_second_leaves_no_holes_and_a_pause_does() -> None:
    history = NodeHistory()
    for second in (600, 602, 604, 620):
        history.put(float(second), 7.0, 10 << 20)
    assert history.fine.read()[0] == [7.0] * 5 + [0.0] * 15 + [7.0]


def test_idle_time_is_written_lazily() -> None:
    history = NodeHistory()
    history.put(600.0, 8.0, 10 << 20)
    for tenth in range(1, 41):
        history.put_idle(600.0 + 4.5 * tenth, 10 << 20)
    history.put(784.5, 9.0, 12 << 20)
    cpu, memory = history.fine.read()
    assert cpu == [8.0] + [0.0] * 180 + [9.0] * 4
    assert memory == [10.0] * 181 + [12.0] * 4
    assert history.coarse.read() == ([8.0, 0.0, 0.0, 9.0], [10.0, 10.0, 10.0, 12.0])
    history.put_idle(789.0, 12 << 20)
    assert history.fine.read()[0][-6:] == [9.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_an_idle_process_after_a_gap_is_not_the_one_before_it() -> None:
    history = NodeHistory()
    history.put_idle(600.0, 7 << 20)
    history.put_idle(604.5, 7 << 20)
    history.put_idle(620.0, 5 << 20)
    assert history.fine.read()[1] == [7.0] * 5 + [0.0] * 15 + [5.0]
