"""What Discord closes is reported, but not each time that Discord restarts a gateway."""

from __future__ import annotations

from handshake.messages import ErrorReport
from nodekit.gateway_closes import MOST_AN_HOUR, GatewayCloses


class Closes:
    """What was reported, on a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sent: list[ErrorReport] = []
        self._closes = GatewayCloses(self.sent.append, lambda: self.now_s)

    def note(self, code: int) -> list[tuple[str, int]]:
        self._closes.note(code)
        return [(report.where, report.count) for report in self.sent]


def test_a_code_that_says_that_something_is_wrong_is_reported_at_once() -> None:
    closes = Closes()
    assert closes.note(4008) == [("close 4008", 1)]
    assert closes.sent[0].source == "gateway"
    assert "rate limited" in closes.sent[0].message


def test_a_gateway_that_restarts_now_and_then_is_no_error() -> None:
    closes = Closes()
    for _ in range(10):
        closes.now_s += 1_801
        assert closes.note(4000) == []
    closes.now_s += 1
    assert closes.note(4009) == []
    closes.now_s += 1
    assert closes.note(4000) == [("close 4000", 11)]


def test_a_storm_is_a_few_reports_an_hour_with_a_count() -> None:
    closes = Closes()
    for _ in range(1_000):
        closes.note(4008)
    assert len(closes.sent) == MOST_AN_HOUR
    closes.now_s = 3_601
    assert closes.note(4008)[-1] == ("close 4008", 1_000 - MOST_AN_HOUR + 1)


def test_other_ends_of_a_connection_are_the_networks() -> None:
    closes = Closes()
    for code in (1000, 1001, 1006, 3999, 5000):
        assert closes.note(code) == []
