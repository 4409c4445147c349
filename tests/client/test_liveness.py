"""When the client looks after a silent server."""

from pixwire.core.liveness import Liveness
from pixwire_protocol.limits import Limits

QUICK = Limits(idle_ms=30_000, ping_timeout_ms=60_000, min_ping_ms=1_000)
"""The answer to a PING has more time than the next PING."""


def ready(probe: float | None = None) -> Liveness:
    liveness = Liveness(0.0, 5.0, probe)
    assert liveness.alarm == liveness.next_deadline(0.0) == 5.0
    liveness.heard(1.0)
    liveness.on_ready(QUICK, 1.0)
    return liveness


def test_bytes_move_the_deadline_and_leave_the_alarm() -> None:
    liveness = ready()
    assert liveness.alarm == 11.0
    liveness.heard(4.0)
    assert liveness.alarm == 11.0, "nobody need set a timer anew for every byte"
    assert liveness.poll(11.0) is None
    assert liveness.alarm == liveness.next_deadline(11.0) == 14.0
    assert liveness.poll(14.0) == "ping"


def test_a_sign_of_life_may_bring_the_alarm_forward() -> None:
    """While a PING waits for its answer, the end of that wait counts; after it the next PING does, which may be due
    earlier: a shell that did not hear of it would wake too late.
    """
    liveness = ready()
    for due in (11.0, 21.0, 31.0):
        assert liveness.poll(due) == "ping"
    assert liveness.alarm == 91.0
    assert liveness.owes_pong(40.0)
    liveness.heard(40.0)
    assert not liveness.owes_pong(50.0)
    assert liveness.alarm == liveness.next_deadline(40.0) == 50.0


def test_a_probe_is_earlier_than_the_protocol_asks_for() -> None:
    liveness = ready(probe=3.0)
    assert liveness.alarm == 4.0
    assert liveness.poll(4.0) == "ping"
    liveness.heard(5.0)
    assert liveness.alarm == 8.0
