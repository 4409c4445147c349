"""Sections 8.3 to 8.12 apart from SUBMIT: PING, GOAWAY, STATUS, CANCEL, WATCH, LIST."""

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState

from ..frames import Frame, frame, goaway, ping
from ..subject import Subject, check, said, terminal
from ..verdicts import Skip
from .register import case


@case("PXW-KAL-001")
async def pong(server: Subject) -> None:
    """Every PING is answered with one PONG of the same 8 bytes"""
    peer = await server.ready()
    for payload in (bytes(8), b"\xff" * 8, b"\xc1PXW\x00\x01\x02\x03"):
        await peer.send(ping(payload))
        answer = await peer.receive()
        check(answer.name == "PONG" and answer.tail == payload, f"{answer} came: {answer.tail.hex(' ')}")
    check(not await server.quiet(peer), "more than one PONG came")


@case("PXW-KAL-003")
async def unasked_pong(server: Subject) -> None:
    """A PONG that answers no PING is ignored"""
    peer = await server.ready()
    await peer.send(frame("PONG", 0, None, b"nobody??"), frame("PONG", 0, None, bytes(8)))
    check(not await server.quiet(peer), "it was answered")


@case("PXW-DRN-010")
async def last_stream_rises(server: Subject) -> None:
    """A GOAWAY that raises last_stream is a PROTOCOL_ERROR; the same or a lower one is fine"""
    peer = await server.ready()
    await peer.send(goaway(0, 8), goaway(0, 8), goaway(0, 4))
    await peer.fence()
    await peer.dies(ErrorCode.PROTOCOL_ERROR, of=goaway(0, 6))


@case(section="8.6", level=1)
async def client_leaves(server: Subject) -> None:
    """After a client's GOAWAY NO_ERROR the server finishes what is open"""
    peer = await server.ready()
    stream = await server.submit(peer, watch=True)
    await peer.send(goaway())
    if not terminal(await server.accepted(peer, stream)):
        await server.follow(peer, stream)


@case("PXW-REQ-018")
async def not_found(server: Subject) -> None:
    """STATUS, CANCEL, WATCH and FETCH of a job that does not exist are JOB_NOT_FOUND"""
    peer = await server.ready()
    for name in ("STATUS", "CANCEL", "WATCH", "FETCH"):
        said(await server.ask(peer, name, server.job_id(used=False)), ErrorCode.JOB_NOT_FOUND)


@case("PXW-REQ-019", "PXW-JOB-002", level=1)
async def cancel_too_late(server: Subject) -> None:
    """CANCEL of a job that is over is answered with its state, and changes nothing"""
    done = await server.finished()
    peer = await server.ready()
    before = (await server.ask(peer, "STATUS", done.job)).head
    answer = await server.ask(peer, "CANCEL", done.job, reason="too late")
    check(answer.name == "RESULT" and answer.head["state"] == before["state"], f"{answer}: {answer.head}")
    after = (await server.ask(peer, "STATUS", done.job)).head
    for key in ("state", "seq", "artifacts", "error", "attempt"):
        check(before.get(key) == after.get(key), f"{key} changed from {before.get(key)} to {after.get(key)}")


@case("PXW-JOB-011", "PXW-REQ-020", level=1)
async def cancelled(server: Subject) -> None:
    """A cancelled job ends; when it ends as cancelled its status gives an error; CANCEL again changes nothing"""
    peer = await server.ready()
    job = server.job_id()
    stream = await server.submit(peer, job, await server.long_tail(), watch=True)
    first = await server.accepted(peer, stream)
    answer = await server.ask(peer, "CANCEL", job, reason="conformance")
    check(answer.name == "RESULT", f"CANCEL was answered with {answer}")
    last = first if terminal(first) else (await server.follow(peer, stream))[1]
    again = (await server.ask(peer, "CANCEL", job)).head
    check(again["state"] == last["state"], f"the job was {last['state']}, then {again['state']}")
    if last["state"] == JobState.CANCELLED:
        check((last.get("error") or {}).get("code") == ErrorCode.CANCELLED, f"its error is {last.get('error')}")


@case(section="8.11", level=1)
async def watch_again(server: Subject) -> None:
    """WATCH of a job that is over is its terminal state, with END, whatever after_seq says"""
    done = await server.finished()
    peer = await server.ready()
    for seq in (0, 1, 2**63 - 1):
        answer = await server.ask(peer, "WATCH", done.job, after_seq=seq)
        check(answer.end and answer.head["state"] == JobState.SUCCEEDED, f"after_seq {seq}: {answer}")


# ---------------------------------------------------------------------- LIST


async def listed(server: Subject, **head: object) -> Frame:
    """The answer to LIST. Skip at a server that does not know LIST."""
    peer = await server.ready()
    stream = peer.stream()
    await peer.send(frame("LIST", stream, head))
    answer = await peer.on(stream)
    if answer.name == "ERROR" and answer.head["code"] == ErrorCode.UNKNOWN_FRAME:
        raise Skip("the server does not know LIST")
    check(answer.name != "RESULT" or answer.end, "the RESULT of LIST carries no END")
    return answer


async def jobs_of(server: Subject, **head: object) -> tuple[list[str], str | None]:
    """Ids on a page of LIST jobs, and the cursor of the next."""
    answer = await listed(server, what="jobs", **head)
    check(answer.name == "RESULT", f"LIST jobs was answered with {answer}")
    return [job["job"] for job in answer.head["jobs"]], answer.head.get("next")


async def three_jobs(server: Subject) -> list[str]:
    """Three new jobs, the oldest first."""
    jobs = [server.job_id() for _ in range(3)]
    for job in jobs:
        peer = await server.ready()
        await server.accepted(peer, await server.submit(peer, job))
    return jobs


@case(section="8.12")
async def models(server: Subject) -> None:
    """LIST models names at least one model, the default first, each with its kinds, defaults and limits"""
    answer = await listed(server, what="models")
    check(answer.name == "RESULT" and answer.head.get("what") == "models", f"{answer} came")
    names = {"name": str, "default": bool, "pipeline": str, "kinds": list, "attachments": list}
    names |= {"defaults": dict, "limits": dict, "media_types": list, "state": str, "adapters": list, "pinned": bool}
    names |= {"device": str, "dtype": str}
    for model in answer.head["models"]:
        wrong = [name for name, kind in names.items() if type(model.get(name)) is not kind]
        check(not wrong, f"a model has wrong or no {', '.join(wrong)}: {model}")
    check(bool(answer.head["models"]) and answer.head["models"][0]["default"], "the first model is not the default")


@case("PXW-REQ-033", "PXW-REQ-032")
async def newest_first(server: Subject) -> None:
    """Jobs are listed newest first, as summaries"""
    await listed(server, what="models")
    jobs = await three_jobs(server)
    answer = await listed(server, what="jobs", limit=3)
    summaries = answer.head["jobs"]
    check([job["job"] for job in summaries] == jobs[::-1], f"{[job['job'] for job in summaries]}, not {jobs[::-1]}")
    for name, kind in {"kind": str, "state": str, "seq": int, "step": int, "artifacts": int, "age_ms": int}.items():
        check(all(type(job.get(name)) is kind for job in summaries), f"a summary has no {name}: {summaries[0]}")


@case("PXW-REQ-034", "PXW-REQ-035")
async def pages(server: Subject) -> None:
    """Pages follow one another by `next`, name each job once, and the last one has no `next`"""
    await listed(server, what="models")
    jobs = await three_jobs(server)
    seen, cursor = await jobs_of(server, limit=1)
    peer = await server.ready()
    await server.accepted(peer, await server.submit(peer))  # newer than the first page: on none of the next ones
    while cursor is not None and len(seen) < 3:
        page, cursor = await jobs_of(server, limit=1, after=cursor)
        check(len(page) <= 1, f"a page of {len(page)} for limit 1")
        seen += page
    check(seen == jobs[::-1], f"page by page {seen} came, not {jobs[::-1]}")
    everything: list[str] = []
    cursor = None
    for _ in range(50):
        page, cursor = await jobs_of(server, limit=100, **({} if cursor is None else {"after": cursor}))
        everything += page
        if cursor is None:
            break
    check(len(everything) == len(set(everything)), "a job came on two pages")
    check(cursor is not None or set(jobs) <= set(everything), "jobs are missing on the pages")


@case("PXW-REQ-036")
async def wrong_lists(server: Subject) -> None:
    """An unknown `what` or state, a cursor never given, a limit out of range: INVALID_ARGUMENT with the field"""
    for head, field in (
        ({"what": "conform"}, "what"),
        ({"what": "jobs", "states": ["conform"]}, "states"),
        ({"what": "jobs", "after": "conform-no-cursor"}, "after"),
        ({"what": "jobs", "limit": 0}, "limit"),
        ({"what": "jobs", "limit": 101}, "limit"),
        ({"what": "jobs", "tag": ""}, "tag"),
        ({"what": "jobs", "tag": "x" * 65}, "tag"),
        ({}, "what"),
    ):
        answer = await listed(server, **head)
        details = said(answer, ErrorCode.INVALID_ARGUMENT).get("details") or {}
        check(details.get("field") == field, f"{head}: details name {details.get('field')!r}")


@case(section="8.12", level=1)
async def by_state(server: Subject) -> None:
    """`states` chooses: a job that succeeded is in the list of the succeeded and in no other"""
    done = await server.finished()
    succeeded, _ = await jobs_of(server, states=["succeeded"], limit=100)
    others, _ = await jobs_of(server, states=["queued", "running", "failed", "cancelled", "expired"], limit=100)
    check(done.job in succeeded, "it is not among the succeeded")
    check(done.job not in others, "it is among the others")
