"""Section 9.6: priority, deadlines, tags. What a fast server does is right, too: a job may be done before its time."""

from collections.abc import Mapping
from typing import Any, Final

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState

from ..frames import Frame, frame
from ..subject import ServerPeer, Subject, check, said, terminal
from ..verdicts import Failure, Skip
from .register import case
from .s08_requests import jobs_of, listed
from .s08_submit import answer_to, names_field

HOUR_MS: Final = 3_600_000
TIMES: Final = ("timeout_ms", "queue_ttl_ms", "run_timeout_ms")
TOO_MANY: Final = [f"t{index}" for index in range(9)]
BAD_TAGS: Final = ("a", [""], ["x" * 65], ["a\n"], ["\x7f"], ["\x85"], ["a", "a"], [1], TOO_MANY)


def fresh_tag(server: Subject) -> str:
    """A tag that no other job has."""
    return f"tag of {server.job_id(used=False)}"


@case("PXW-REQ-040", "PXW-REQ-039", level=3)
async def terms_come_back(server: Subject) -> None:
    """Priority and tags of the SUBMIT that made the job stand in every status map and summary, not later ones"""
    peer = await server.ready()
    job, tail, tag = server.job_id(), await server.tail(), fresh_tag(server)
    terms = {"priority": "high", "tags": [tag, "häuser"], **dict.fromkeys(TIMES, HOUR_MS)}
    stream = await server.submit(peer, job, tail, watch=True, **terms, crit=list(terms))
    maps = [await server.accepted(peer, stream)]
    if not terminal(maps[0]):
        maps += [event.head for event in (await server.follow(peer, stream))[0]]
    again = await server.submit(peer, job, tail, priority="low", timeout_ms=1, tags=["other"])
    maps += [await server.accepted(peer, again), (await server.ask(peer, "STATUS", job)).head]
    page = await listed(server, what="jobs", tag=tag)
    maps += page.head["jobs"]
    for status in maps:
        if status.get("event") == "progress":
            continue
        check(status.get("priority") == "high", f"priority is {status.get('priority')!r} in {status}")
        check(status.get("tags") == [tag, "häuser"], f"tags are {status.get('tags')!r}")
        left = status.get("deadline_ms")
        check(left is None or (type(left) is int and 0 <= left <= HOUR_MS), f"deadline_ms is {left!r}")
    check(maps[-1]["state"] != JobState.EXPIRED, "the times of the second SUBMIT counted")


@case("PXW-REQ-040", section="9.6", level=3)
async def no_terms(server: Subject) -> None:
    """Without them a status map has no tags and no deadline_ms, and its priority is normal or absent"""
    peer = await server.ready()
    status = await server.accepted(peer, await server.submit(peer))
    check(status.get("priority") in (None, "normal"), f"priority is {status.get('priority')!r}")
    check(not status.get("tags") and status.get("deadline_ms") is None, f"{status}")


@case("PXW-MSG-021", section="9.6", level=3)
async def wrong_terms(server: Subject) -> None:
    """A wrong priority, time or tag is INVALID_ARGUMENT with the field; the limits themselves are taken"""
    peer = await server.ready()
    tail = await server.tail()
    for word in ("urgent", "", "HIGH", 1, ["high"]):
        await names_field(server, peer, tail, "priority", priority=word)
    longest: dict[str, Any]
    for name in TIMES:
        for value in (0, -1, 2**31, 1000.0, True, "1000"):
            await names_field(server, peer, tail, name, **{name: value})
        longest = {name: 2**31 - 1}
        await server.accepted(peer, await server.submit(peer, **longest))
    for tags in BAD_TAGS:
        await names_field(server, peer, tail, "tags", tags=tags)
    await server.accepted(peer, await server.submit(peer, tags=["x" * 64, *TOO_MANY[:7]]))


@case("PXW-REQ-043", level=3)
async def by_tag(server: Subject) -> None:
    """LIST with `tag` names the jobs that have it, and no other"""
    tag = fresh_tag(server)
    peer = await server.ready()
    jobs = []
    for tags in (["a", tag], [tag], [tag + "x"], []):
        jobs.append(server.job_id())
        await server.accepted(peer, await server.submit(peer, jobs[-1], tags=tags))
    found, _ = await jobs_of(server, tag=tag)
    check(found == [jobs[1], jobs[0]], f"{found} have it, not {[jobs[1], jobs[0]]}")
    first, cursor = await jobs_of(server, tag=tag, limit=1)
    rest, _ = await jobs_of(server, tag=tag, limit=1, after=cursor)
    check([*first, *rest] == found, f"page by page {first}, {rest} came")
    nothing, _ = await jobs_of(server, tag=fresh_tag(server))
    check(nothing == [], f"{nothing} have a tag that nobody gave")


@case("PXW-REQ-044", "PXW-JOB-024", level=3)
async def too_short(server: Subject) -> None:
    """A long job with a timeout of 1 ms is refused at once, and not kept, or it expires"""
    peer = await server.ready()
    job = server.job_id()
    stream = await server.submit(peer, job, await server.long_tail(), watch=True, timeout_ms=1)
    answer = await peer.on(stream)
    if answer.name == "ERROR":
        details = said(answer, ErrorCode.DEADLINE_EXCEEDED).get("details") or {}
        check(details.get("timeout_ms") == 1, f"details are {details}")
        await server.unknown_to_server(job)
    else:
        await expires(server, peer, stream, answer, ("timeout_ms",))


@case("PXW-JOB-024", "PXW-JOB-028", "PXW-JOB-022", level=3)
async def timeout(server: Subject) -> None:
    """A long job expires when its timeout_ms is over (or it is done before)"""
    await server.clean_up()  # long jobs of other cases may be in the way
    peer = await server.ready()
    for milliseconds in (200, 1500):
        stream = await server.submit(peer, tail=await server.long_tail(), watch=True, timeout_ms=milliseconds)
        answer = await peer.on(stream)
        if answer.name == "ERROR":
            said(answer, ErrorCode.DEADLINE_EXCEEDED)  # it knows that such jobs take longer
            continue
        await expires(server, peer, stream, answer, ("timeout_ms",))


@case("PXW-JOB-026", "PXW-JOB-028", level=3)
async def run_timeout(server: Subject) -> None:
    """A long job expires when it has run for run_timeout_ms, 1 ms here"""
    await server.clean_up()  # long jobs of other cases may be in the way
    peer = await server.ready()
    stream = await server.submit(peer, tail=await server.long_tail(), watch=True, run_timeout_ms=1)
    await expires(server, peer, stream, await peer.on(stream), ("run_timeout_ms",))


@case("PXW-JOB-025", "PXW-JOB-028", level=3)
async def queue_ttl(server: Subject) -> None:
    """A job that waits expires when queue_ttl_ms are over; it never ran"""
    await server.clean_up()  # long jobs of other cases may be in the way
    peer, other = await server.ready(), await server.ready()
    blocker = server.job_id()
    ahead = await server.submit(other, blocker, await server.long_tail(), watch=True)
    await server.accepted(other, ahead)
    job = server.job_id()
    stream = await server.submit(peer, job, await server.long_tail(), watch=True, priority="low", queue_ttl_ms=1)
    status = await server.accepted(peer, stream)
    states = [status["state"]]
    while not terminal(status) and status["state"] != JobState.RUNNING:
        event = await peer.on(stream)
        status = event.head if event.head.get("event") == "state" else status
        states.append(status["state"])
    for name in (job, blocker):
        await server.ask(other, "CANCEL", name, reason="conformance")
    if JobState.RUNNING in states:
        raise Skip("the server starts two long jobs at once: none waits")
    check(states[-1] == JobState.EXPIRED, f"the states were {states}")
    about(status, ("queue_ttl_ms",))


async def expires(
    server: Subject, peer: ServerPeer, stream: int, answer: Frame, names: tuple[str, ...]
) -> Mapping[str, Any]:
    """The job of a watched SUBMIT, of which `answer` is the first frame, ends as expired, or was done before."""
    if answer.name != "RESULT":
        raise Failure(f"a SUBMIT was not accepted: {answer}")
    job = answer.head["job"]
    last = answer.head if terminal(answer.head) else (await server.follow(peer, stream))[1]
    check(last["state"] in (JobState.EXPIRED, JobState.SUCCEEDED), f"the job is {last['state']}: {last.get('error')}")
    if last["state"] == JobState.EXPIRED:
        about(last, names)
        now = (await server.ask(peer, "STATUS", job)).head
        check(now["state"] == JobState.EXPIRED, f"STATUS says {now['state']}")
        check(now.get("error") == last.get("error"), f"its error is {now.get('error')}, it was {last.get('error')}")
    return last


def about(status: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """The error of an expired job says which time was over."""
    error = status.get("error") or {}
    check(error.get("code") == ErrorCode.DEADLINE_EXCEEDED, f"its error is {error}")
    text = str(error.get("message"))
    check(any(name in text for name in names), f"its message names none of {', '.join(names)}: {text!r}")


@case("PXW-EXT-001", section="9.6", level=3)
async def insisting(server: Subject) -> None:
    """A field of a later version that crit names is UNKNOWN_CRITICAL also beside these"""
    peer = await server.ready()
    answer = await answer_to(server, peer, timeout_ms=HOUR_MS, x_deadline=1, crit=["timeout_ms", "x_deadline"])
    said(answer, ErrorCode.UNKNOWN_CRITICAL)
    stream = peer.stream()
    await peer.send(frame("LIST", stream, {"what": "jobs", "tag": "a", "crit": ["tag"]}))
    check((await peer.on(stream)).name == "RESULT", "LIST does not know tag")
