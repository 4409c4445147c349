"""Section 8.13: FETCH."""

from typing import Any

from pixwire_protocol.registry import ErrorCode

from ..frames import frame
from ..subject import Finished, Subject, check, said
from .register import case

WINDOWS = {"stream_window": 1 << 24, "connection_window": 1 << 26}


async def fetched(server: Subject, job: str, **head: Any) -> tuple[dict[str, Any], bytes]:
    """The announcement and the bytes that FETCH gives."""
    peer = await server.ready(limits=WINDOWS)
    await peer.send(frame("FETCH", 1, {"job": job, **head}))
    answer = await peer.on(1)
    check(answer.name == "RESULT", f"FETCH {head} was answered with {answer}")
    data, told = b"", answer.head
    while not answer.end:
        answer = await peer.on(1)
        check(answer.name == "DATA", f"{answer} came in the middle of an artifact")
        data += answer.tail
    check(len(data) == told["length"], f"{len(data)} bytes came, announced were {told['length']}")
    check(not await server.quiet(peer), "more came behind END")
    return told, data


async def whole(server: Subject) -> tuple[Finished, bytes]:
    """A finished job and all bytes of its first artifact."""
    done = await server.finished()
    return done, (await fetched(server, done.job))[1]


@case("PXW-REQ-021", "PXW-REQ-025", level=2)
async def ranges(server: Subject) -> None:
    """Any offset and length give exactly these bytes; a length beyond the end gives the rest"""
    done, data = await whole(server)
    size = done.first["size"]
    check(len(data) == size, f"{len(data)} bytes came, the status map says {size}")
    half = size // 2
    for offset, length in ((0, 1), (1, None), (half, None), (half, 3), (size - 1, 1), (size - 1, 2**63 - 1), (0, size)):
        head = {"offset": offset} if length is None else {"offset": offset, "length": length}
        told, part = await fetched(server, done.job, **head)
        wanted = data[offset:] if length is None else data[offset : offset + length]
        check(told["offset"] == offset, f"{head} was announced as offset {told['offset']}")
        check(part == wanted, f"{head}: {len(part)} bytes came that are not those of the whole")


@case("PXW-REQ-021", section="8.13", level=2)
async def nothing_to_send(server: Subject) -> None:
    """An offset equal to the size, or a length of 0: an announcement of 0 bytes with END, no DATA"""
    done = await server.finished()
    for head in ({"offset": done.first["size"]}, {"length": 0}, {"offset": 1, "length": 0}):
        told, data = await fetched(server, done.job, **head)
        check(told["length"] == 0 and not data, f"{head} was announced as {told}")


@case("PXW-REQ-022", level=2)
async def beyond_the_end(server: Subject) -> None:
    """An offset above the size is OFFSET_OUT_OF_RANGE"""
    done = await server.finished()
    peer = await server.ready()
    for offset in (done.first["size"] + 1, 2**63 - 1):
        said(await server.ask(peer, "FETCH", done.job, offset=offset), ErrorCode.OFFSET_OUT_OF_RANGE)


@case("PXW-REQ-023", level=2)
async def etags(server: Subject) -> None:
    """The right etag gives the bytes, another one ARTIFACT_CHANGED"""
    done = await server.finished()
    etag = done.first["etag"]
    told, _ = await fetched(server, done.job, etag=etag, offset=1)
    check(told["etag"] == etag, f"announced was {told['etag']!r}")
    peer = await server.ready()
    for wrong in ("conform", etag + "x", etag[:-1] or "y"):
        said(await server.ask(peer, "FETCH", done.job, etag=wrong), ErrorCode.ARTIFACT_CHANGED)


@case("PXW-REQ-024", level=2)
async def no_such_artifact(server: Subject) -> None:
    """An artifact that the job does not have is ARTIFACT_NOT_FOUND"""
    done = await server.finished()
    peer = await server.ready()
    said(await server.ask(peer, "FETCH", done.job, artifact=len(done.artifacts)), ErrorCode.ARTIFACT_NOT_FOUND)
    said(await server.ask(peer, "FETCH", done.job, artifact=63), ErrorCode.ARTIFACT_NOT_FOUND)


@case(section="8.13", level=2, strict=True)
async def which_comes_first(server: Subject) -> None:
    """When several things are wrong the first of job, artifact, etag, offset is named"""
    done = await server.finished()
    peer = await server.ready()
    nobody = server.job_id(used=False)
    wrong = {"artifact": 63, "etag": "conform", "offset": 2**62}
    said(await server.ask(peer, "FETCH", nobody, **wrong), ErrorCode.JOB_NOT_FOUND)
    said(await server.ask(peer, "FETCH", done.job, **wrong), ErrorCode.ARTIFACT_NOT_FOUND)
    del wrong["artifact"]
    said(await server.ask(peer, "FETCH", done.job, **wrong), ErrorCode.ARTIFACT_CHANGED)


@case("PXW-JOB-012", level=2)
async def same_etag_same_bytes(server: Subject) -> None:
    """The same etag means the same bytes, on every connection and also for two artifacts of one job"""
    done, data = await whole(server)
    for artifact in done.artifacts:
        told, again = await fetched(server, done.job, artifact=artifact["artifact"])
        check(told["etag"] == artifact["etag"], f"the etag changed from {artifact['etag']} to {told['etag']}")
        same = artifact["etag"] == done.first["etag"]
        check(not same or again == data, "the same etag stands for other bytes")


@case("PXW-JOB-010", "PXW-JOB-013", level=2)
async def terminal_facts(server: Subject) -> None:
    """STATUS of a job that is over says what its terminal EVENT said: state, artifacts, error"""
    done = await server.finished()
    peer = await server.ready()
    status = (await server.ask(peer, "STATUS", done.job)).head
    for key in ("state", "artifacts", "error", "seq", "attempt"):
        check(status.get(key) == done.terminal.get(key), f"{key}: {done.terminal.get(key)}, then {status.get(key)}")
