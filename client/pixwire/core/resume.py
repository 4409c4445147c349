"""How a call goes on after its connection broke: pure decisions about one call. SPEC 9.4, 12.3.

nothing answered yet          the same request again: all of them are idempotent, SUBMIT by its job id
a job that is under way       WATCH after the last event that was heard
images on their way           FETCH of what is missing, from the byte that is missing, under the same etag
"""

from typing import Any, cast

from pixwire_protocol import messages

from .calls import Call, Phase, fetch_next

MOST_TRIES = 10
"""On how many connections in a row a call may be sent without any answer: perhaps it is what breaks them."""


def go_on(call: Call[Any]) -> None:
    """Makes the call ready for another stream: `call.request` is what it asks there."""
    match call.phase:
        case Phase.EVENTS:
            job = cast("str", call.job)
            call.request = messages.Watch(job, after_seq=call.seq, want=call.want, deliver=call.deliver)
        case Phase.ARTIFACT | Phase.BYTES:
            call.request = fetch_next(call)
    call.stream = None
    if call.phase is not Phase.DONE:
        call.phase = Phase.ANSWER
    call.reported = call.seq
    if call.filling is not None:
        call.filling.has_sink = False


def why_not_again(call: Call[Any], *, sent: bool, suspect: bool) -> str | None:
    """Why the call is not sent once more, or None. Counts what happened: it was `sent`, and may be why a side broke
    the protocol (`suspect`: then once more, and not a second time).
    """
    if call.request is None:
        return "a ping is about one connection"
    call.tries += sent
    call.doubtful = call.doubtful or sent
    call.suspected += suspect
    if call.suspected > 1:
        return f"{call.operation} was open twice when a connection failed"
    if call.tries >= MOST_TRIES:
        return f"{call.operation} was sent on {call.tries} connections, and none of them gave an answer"
    return None
