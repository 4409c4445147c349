"""Section 8.19: ADMIN. Harmless unless --operate is given: then the server is paused for a moment."""

from typing import Any, Final

from pixwire_protocol.admin import ACTIONS, ROLE
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.overview import Overview
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState

from ..frames import Frame, frame
from ..subject import ServerPeer, Subject, check, said, terminal
from ..verdicts import Failure, Skip
from .register import case

ANYTHING: Final[dict[str, Any]] = {"job": "conform-none", "model": "conform/none", "path": "/conform/none"}
SECRET: Final = "a picture that no operator needs to know of"  # noqa: S105 - a prompt


async def admin(server: Subject, peer: ServerPeer, action: Any, **head: Any) -> Frame:
    """The answer to ADMIN. Skip at a server that does not know it."""
    stream = peer.stream()
    await peer.send(frame("ADMIN", stream, {"action": action, **head}))
    answer = await peer.on(stream)
    if answer.name == "ERROR" and answer.head["code"] == ErrorCode.UNKNOWN_FRAME:
        raise Skip("the server does not know ADMIN")
    return answer


async def operator(server: Subject) -> ServerPeer:
    """A connection with the role admin. Skip without."""
    peer = await server.ready()
    if ROLE not in server.roles:
        raise Skip(f"the connection has no role {ROLE}; give the token of an operator")
    return peer


async def did(server: Subject, peer: ServerPeer, action: str, **head: Any) -> dict[str, Any]:
    """The body of the answer. Skip for an action that the server cannot do (ADM-002)."""
    answer = await admin(server, peer, action, **head)
    if answer.name == "ERROR" and answer.head["code"] == ErrorCode.UNSUPPORTED:
        raise Skip(f"the server cannot do {action}")
    check(answer.name == "RESULT" and answer.end, f"{action} was answered with {answer}")
    return answer.head


@case("PXW-ADM-001", "PXW-AUT-022", level=3)
async def as_the_roles_say(server: Subject) -> None:
    """With the role admin an overview is answered, without it every action is FORBIDDEN, and the connection goes on"""
    peer = await server.ready()
    await admin(server, peer, "overview")
    if ROLE in server.roles:
        check((await admin(server, peer, "overview")).name == "RESULT", "the role is there and is not enough")
    else:
        for action in ACTIONS:
            said(await admin(server, peer, action, **ANYTHING), ErrorCode.FORBIDDEN)
    await peer.fence()


@case("PXW-ADM-003", "PXW-MSG-021", level=3)
async def wrong_commands(server: Subject) -> None:
    """An unknown action and a field that is missing or wrong are INVALID_ARGUMENT with the field"""
    peer = await operator(server)
    for head, field in (
        ({"action": "conform"}, "action"),
        ({"action": 1}, "action"),
        ({"action": "overview", "limit": 0}, "limit"),
        ({"action": "overview", "limit": 1001}, "limit"),
        ({"action": "cancel", "job": "a b"}, "job"),
        ({"action": "cancel", "principal": ""}, "principal"),
        ({"action": "cancel"}, "job"),
        ({"action": "requeue"}, "job"),
        ({"action": "pause", "reason": "x" * 257}, "reason"),
        ({"action": "load"}, "model"),
        ({"action": "unload"}, "model"),
        ({"action": "add_model", "path": "/conform/none"}, "model"),
        ({"action": "add_model", "model": "conform/none"}, "path"),
        ({"action": "remove_model"}, "model"),
    ):
        answer = await admin(server, peer, **head)
        if answer.name == "ERROR" and answer.head["code"] == ErrorCode.UNSUPPORTED:
            continue  # it does not have this action at all
        details = said(answer, ErrorCode.INVALID_ARGUMENT).get("details") or {}
        check(details.get("field") == field, f"{head}: details name {details.get('field')!r}, not {field!r}")


@case("PXW-ADM-011", level=3)
async def models_nobody_has(server: Subject) -> None:
    """load, unload and remove_model of a model that is not there are INVALID_ARGUMENT with the field model"""
    peer = await operator(server)
    for action in ("load", "unload", "remove_model"):
        answer = await admin(server, peer, action, model="conform/none")
        if answer.name == "ERROR" and answer.head["code"] == ErrorCode.UNSUPPORTED:
            continue
        details = said(answer, ErrorCode.INVALID_ARGUMENT).get("details") or {}
        check(details.get("field") == "model", f"{action}: details name {details.get('field')!r}")


@case("PXW-ADM-012", section="8.19.2", level=3)
async def overview(server: Subject) -> None:
    """An overview is complete and shows a job that waits or runs, but not its prompt"""
    peer = await operator(server)
    job = server.job_id()
    await server.accepted(peer, await server.submit(peer, job, await secret_tail(server), tags=["conform"]))
    answer = await admin(server, peer, "overview", limit=1000)
    check(answer.name == "RESULT" and answer.end, f"it was answered with {answer}")
    try:
        view = Overview.from_map(answer.head)
    except RemoteProtocolError as error:
        raise Failure(error.message) from None
    shown = [entry for entry in (*view.running, *view.waiting) if entry.job == job]
    ended = (await server.ask(peer, "STATUS", job)).head
    check(bool(shown) or terminal(ended), f"job {job} is {ended['state']}, and in no list")
    if shown:
        check(shown[0].tags == ("conform",), f"its tags are {shown[0].tags}")
    check(SECRET.encode() not in answer.head_bytes, "the prompt stands in the overview")
    check(bool(view.models), "it names no model")
    await server.ask(peer, "CANCEL", job)


async def secret_tail(server: Subject) -> bytes:
    """The parameters of a long job with a prompt of its own."""
    return await server.tail(
        prompt=SECRET, steps=(server.model or {"limits": {"max_steps": 50}})["limits"]["max_steps"]
    )


async def ended(server: Subject, peer: ServerPeer, job: str, stream: int, status: dict[str, Any]) -> dict[str, Any]:
    """The terminal status of a watched job; Skip when it was done before it could be cancelled."""
    last = status if terminal(status) else (await server.follow(peer, stream))[1]
    if last["state"] == JobState.SUCCEEDED:
        raise Skip(f"job {job} was done before it could be cancelled")
    return last


@case("PXW-ADM-006", level=3)
async def cancel(server: Subject) -> None:
    """An operator's cancel ends a job as CANCEL does, and counts it once; of what has ended nothing changes"""
    peer = await operator(server)
    await server.tiny()
    job = server.job_id()
    stream = await server.submit(peer, job, await server.long_tail(), watch=True)
    status = await server.accepted(peer, stream)
    first = await did(server, peer, "cancel", job=job, reason="conformance")
    last = await ended(server, peer, job, stream, status)
    check(first.get("cancelled") == 1, f"the answer is {first}")
    check(last["state"] == JobState.CANCELLED, f"the job is {last['state']}")
    check((last.get("error") or {}).get("code") == ErrorCode.CANCELLED, f"its error is {last.get('error')}")
    again = await did(server, peer, "cancel", job=job)
    check(again.get("cancelled") == 0, f"of a job that has ended {again} were cancelled")
    now = (await server.ask(peer, "STATUS", job)).head
    check(now["seq"] == last["seq"], "the job that had ended was changed")
    said(await admin(server, peer, "cancel", job=server.job_id(used=False)), ErrorCode.JOB_NOT_FOUND)


@case("PXW-ADM-007", "PXW-ADM-008", "PXW-ADM-009", level=3)
async def requeue(server: Subject) -> None:
    """A cancelled job is run again as a new job with the same request, priority and tags; asked twice it is one"""
    peer = await operator(server)
    await server.tiny()
    job = server.job_id()
    terms = {"priority": "low", "tags": ["conform"]}
    stream = await server.submit(peer, job, await server.long_tail(), watch=True, **terms)
    status = await server.accepted(peer, stream)
    early = await admin(server, peer, "requeue", job=job)
    await server.ask(peer, "CANCEL", job)
    await ended(server, peer, job, stream, status)
    check((said(early, ErrorCode.INVALID_ARGUMENT).get("details") or {}).get("field") == "job", f"{early.head}")
    old = (await server.ask(peer, "STATUS", job)).head
    new_id = (await did(server, peer, "requeue", job=job)).get("job")
    check(isinstance(new_id, str) and new_id != job, f"the new job is {new_id!r}")
    assert isinstance(new_id, str)  # noqa: S101 - checked above
    new = (await server.ask(peer, "STATUS", new_id)).head
    again = (await did(server, peer, "requeue", job=job)).get("job")
    await server.ask(peer, "CANCEL", new_id)
    check(again == new_id, f"the same requeue again made {again!r}, not {new_id!r}")
    for name in ("kind", "params", "seed", "attachments", "priority", "tags"):
        check(new.get(name) == old.get(name), f"{name} is {new.get(name)}, it was {old.get(name)}")
    kept = (await server.ask(peer, "STATUS", job)).head
    check((kept["state"], kept["seq"]) == (old["state"], old["seq"]), f"the old job is {kept['state']} now")
    said(await admin(server, peer, "requeue", job=server.job_id(used=False)), ErrorCode.JOB_NOT_FOUND)


@case("PXW-ADM-008", section="8.19.1", level=3)
async def requeue_of_success(server: Subject) -> None:
    """A job that has succeeded is not run again"""
    done = await server.finished()
    peer = await operator(server)
    answer = await admin(server, peer, "requeue", job=done.job)
    if answer.name == "ERROR" and answer.head["code"] == ErrorCode.UNSUPPORTED:
        raise Skip("the server cannot do requeue")
    check((said(answer, ErrorCode.INVALID_ARGUMENT).get("details") or {}).get("field") == "job", f"{answer.head}")


@case("PXW-ADM-004", "PXW-ADM-005", level=3)
async def pause(server: Subject) -> None:
    """While it is paused a new job is PAUSED with retry_after_ms; known ones, STATUS and LIST are served (--operate)"""
    done = await server.finished()
    peer = await operator(server)
    if not server.operate:
        raise Skip("the server is not to be paused; give --operate to ask for that")
    job, tail = server.job_id(), await server.tail()
    await server.accepted(peer, await server.submit(peer, job, tail))
    check((await did(server, peer, "pause", reason="conformance")).get("paused") is True, "it is not paused")
    try:
        refused_job = server.job_id()
        refused = said(await peer.on(await server.submit(peer, refused_job)), ErrorCode.PAUSED)
        await server.unknown_to_server(refused_job)
        known = await peer.on(await server.submit(peer, job, tail))
        status = await server.ask(peer, "STATUS", done.job)
        fetched = await server.ask(peer, "FETCH", done.job, length=0)
    finally:
        check((await did(server, peer, "resume")).get("paused") is False, "it is still paused")
    check(type(refused.get("retry_after_ms")) is int, f"PAUSED says retry_after_ms {refused.get('retry_after_ms')!r}")
    check("conformance" in str(refused.get("message")), f"PAUSED does not say why: {refused.get('message')!r}")
    check(known.name == "RESULT" and known.head.get("duplicate") is True, f"a known job, submitted again: {known}")
    check(status.name == fetched.name == "RESULT", f"while it was paused: {status}, {fetched}")
    await server.accepted(peer, await server.submit(peer))
