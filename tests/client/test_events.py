"""The queue of unread events."""

from hypothesis import given
from hypothesis import strategies as st

from pixwire.events import Event, EventQueue, Preview, Progress, StateChange
from pixwire.image import Image
from pixwire_protocol.status import JobState, JobStatus

PICTURE = Image(memoryview(b""), "image/jpeg", 1, 1)


def state(seq: int) -> StateChange:
    return StateChange("j", seq, JobStatus(job="j", kind="txt2img", state=JobState.RUNNING, seq=seq))


def event(kind: int, seq: int) -> Event:
    match kind:
        case 0:
            return state(seq)
        case 1:
            return Progress("j", seq, seq, 100)
    return Preview("j", seq, seq, 100, PICTURE)


@given(st.lists(st.integers(0, 2)))
def test_states_are_kept_and_the_latest_of_the_rest_in_order(kinds: list[int]) -> None:
    events = [event(kind, seq) for seq, kind in enumerate(kinds)]
    queue = EventQueue()
    for each in events:
        queue.push(each)
    kept = [queue.pop() for _ in range(len(queue))]
    latest = {type(each): each for each in events}
    expected = [each for each in events if isinstance(each, StateChange) or latest[type(each)] is each]
    assert kept == expected
