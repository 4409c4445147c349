"""Section 7.5 and 8.8.2: attachments and the DATA that carry them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pixwire_protocol.registry import LIMITS, ErrorCode

from ..frames import BIT, credit, frame, pack, reset
from ..images import png
from ..subject import PROMPT, ServerPeer, Subject, check, declared, refused, said
from ..verdicts import Failure, Skip
from .register import case
from .s07_flow import SMALL, arrived, large_enough

KIND = "img2img"
EDGE = 64


def announced(content: bytes, name: str = "image", **other: Any) -> dict[str, Any]:
    """An attachment's map."""
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "size": len(content), "sha256": digest, "media_type": "image/png", **other}


@dataclass(slots=True)
class Upload:
    """A SUBMIT with attachments on a READY connection; its bytes go out as the case wants."""

    peer: ServerPeer
    stream: int
    job: str
    content: bytes
    sent: int = 0
    head: dict[str, Any] = field(default_factory=dict)

    def data(self, size: int, *, end: bool = False) -> bytes:
        """DATA with the next bytes (zeros beyond the content)."""
        tail = self.content[self.sent : self.sent + size].ljust(size, b"\0")
        self.sent += size
        return frame("DATA", self.stream, None, tail, flags=BIT if end else 0)

    def rest(self) -> bytes:
        """The last DATA."""
        return self.data(len(self.content) - self.sent, end=True)


async def parameters(server: Subject) -> bytes:
    """The parameters of a tiny img2img job. Skip where the server does not do that."""
    peer = await server.ready()
    if not declared(peer, "max_upload"):
        raise Skip("the server takes no attachments (max_upload is 0)")
    model = server.model if server.models is not None else None
    if model is None:
        await server.learn_models()
        model = server.model
    if model is not None and KIND not in model["kinds"]:
        raise Skip(f"the model does not do {KIND}: {model['kinds']}")
    return pack({"prompt": PROMPT, **await server.tiny(), "steps": 2, "seed": 7})


async def begin(
    server: Subject,
    contents: Sequence[bytes] = (),
    *,
    peer: ServerPeer | None = None,
    job: str | None = None,
    maps: Sequence[dict[str, Any]] | None = None,
    flags: int = 0,
    size: int | None = None,
    **head: Any,
) -> Upload:
    """Send the SUBMIT. By default one fresh image; `maps` announces something else, `size` another length."""
    tail = await parameters(server)
    peer = peer or await server.ready()
    job = job or server.job_id()
    contents = contents or [fresh(server)]
    if maps is None:
        maps = [
            announced(content, ("image", "mask")[i], **({"size": size} if size else {}))
            for i, content in enumerate(contents)
        ]
    stream = peer.stream()
    fields = {"job": job, "kind": KIND, "attachments": list(maps), **head}
    await peer.send(frame("SUBMIT", stream, fields, tail, flags=flags))
    return Upload(peer, stream, job, b"".join(contents))


def fresh(server: Subject) -> bytes:
    """An image that no server has seen: the digest decides about early answers."""
    return png(EDGE, 1) + server.job_id(used=False).encode()


@case("PXW-UPL-006", "PXW-UPL-014", level=3)
async def accepted(server: Subject) -> None:
    """A job is accepted when its last byte has come, not before; STATUS lists its attachments"""
    upload = await begin(server)
    peer = upload.peer
    await peer.send(upload.data(10))
    early = [answer for answer in await server.quiet(peer) if answer.name != "CREDIT"]
    check(not early, f"before the last byte came {', '.join(map(str, early))}")
    await server.unknown_to_server(upload.job)
    await peer.send(upload.rest())
    await server.accepted(peer, upload.stream)
    status = (await server.ask(peer, "STATUS", upload.job)).head
    told = status.get("attachments") or []
    wanted = [announced(upload.content)]
    if told:
        check(told == wanted, f"STATUS lists {told}, not {wanted}")


@case("PXW-UPL-006", section="7.5", level=3)
async def end_alone(server: Subject) -> None:
    """All bytes without END, then an empty DATA with END, is as good"""
    upload = await begin(server)
    await upload.peer.send(upload.data(len(upload.content)), upload.rest())
    await server.accepted(upload.peer, upload.stream)


@case("PXW-UPL-003", level=3)
async def end_too_early(server: Subject) -> None:
    """END before all announced bytes have come is a PROTOCOL_ERROR"""
    upload = await begin(server)
    await refused(upload.peer.dies(ErrorCode.PROTOCOL_ERROR, of=upload.data(10, end=True)), "END after 10 bytes")
    await server.unknown_to_server(upload.job)


@case("PXW-UPL-004", level=3)
async def too_many_bytes(server: Subject) -> None:
    """DATA beyond the announced bytes is a PROTOCOL_ERROR"""
    upload = await begin(server)
    await upload.peer.dies(ErrorCode.PROTOCOL_ERROR, of=upload.data(len(upload.content) + 1))
    await server.unknown_to_server(upload.job)


@case("PXW-UPL-005", level=3)
async def end_on_submit(server: Subject) -> None:
    """A SUBMIT with attachments and END is a PROTOCOL_ERROR"""
    await parameters(server)
    peer = await server.ready()
    try:
        await begin(server, peer=peer, flags=BIT)
        await peer.failed(ErrorCode.PROTOCOL_ERROR)
    except Failure as error:
        raise Failure(f"SUBMIT with attachments and END: {error}") from error


@case("PXW-UPL-008", "PXW-FLW-009", level=3)
async def early_answer(server: Subject) -> None:
    """A job that is known is answered before its bytes; DATA behind it are ignored, and their credit comes back"""
    first = await begin(server)
    await first.peer.send(first.rest())
    await server.accepted(first.peer, first.stream)
    again = await begin(server, [first.content], job=first.job)
    peer = again.peer
    head = await server.accepted(peer, again.stream)
    check(head.get("duplicate") is True, f"duplicate is {head.get('duplicate')!r}")
    window, chunk = declared(peer, "connection_window"), min(declared(peer, "max_frame"), 65536)
    await peer.send(*(again.data(chunk) for _ in range(window // chunk)))
    returned = await peer.named("CREDIT")
    check(returned.stream == 0, f"{returned} came; credit of a stream that has ended is the connection's")
    answers = [answer for answer in await server.quiet(peer) if answer.name != "CREDIT"]
    check(not answers, f"late DATA were answered with {', '.join(map(str, answers))}")


@case("PXW-UPL-009", level=3)
async def broken_off(server: Subject) -> None:
    """RESET, or the loss of the connection, in the middle of an upload: nothing was submitted"""
    upload = await begin(server)
    await upload.peer.send(upload.data(10), reset(upload.stream))
    await server.quiet(upload.peer)
    await server.unknown_to_server(upload.job)
    upload = await begin(server)
    await upload.peer.send(upload.data(10))
    await server.quiet(upload.peer)
    upload.peer.cut()
    await server.unknown_to_server(upload.job)


@case("PXW-UPL-013", level=3)
async def wrong_announcements(server: Subject) -> None:
    """Attachments that are announced wrongly are INVALID_ARGUMENT, naming which and what"""
    await parameters(server)
    image = announced(png(EDGE))
    most = declared(await server.ready(), "max_upload")
    for what, maps, wanted in (
        ("no name", [{**image, "name": ""}], "attachments[0].name"),
        ("a name in capitals", [{**image, "name": "Image"}], "attachments[0].name"),
        ("a size of 0", [{**image, "size": 0}], "attachments[0].size"),
        ("a size above max_upload", [{**image, "size": most + 1}], "attachments[0].size"),
        ("a size as a float", [{**image, "size": 1.0}], "attachments[0].size"),
        ("a digest in capitals", [{**image, "sha256": image["sha256"].upper()}], "attachments[0].sha256"),
        ("a short digest", [{**image, "sha256": "ab"}], "attachments[0].sha256"),
        ("no media type", [{**image, "media_type": ""}], "attachments[0].media_type"),
        ("the same name twice", [image, image], "attachments[1].name"),
        ("nine of them", [{**image, "name": f"n{i}"} for i in range(9)], "attachments"),
        ("no array", image, "attachments"),
        ("a name that the kind does not know", [image, {**image, "name": "nonsense"}], "attachments"),
        ("the required one missing", [{**image, "name": "mask"}], "attachments"),
    ):
        try:
            await names(server, wanted, maps=maps)
        except Failure as error:
            raise Failure(f"{what}: {error}") from error


async def names(server: Subject, wanted: str, *, send: bool = False, **more: Any) -> None:
    """A SUBMIT with attachments that is INVALID_ARGUMENT with this field; with `send` after its bytes."""
    peer = await server.ready()
    if send:
        upload = await begin(server, peer=peer, **more)
        stream = upload.stream
        await peer.send(upload.rest())
    else:
        stream = peer.stream()
        fields = {"job": server.job_id(), "kind": KIND, "attachments": more["maps"]}
        await peer.send(frame("SUBMIT", stream, fields, await parameters(server), flags=0))
    details = said(await peer.on(stream), ErrorCode.INVALID_ARGUMENT).get("details") or {}
    check(details.get("field") == wanted, f"details name {details.get('field')!r}, not {wanted!r}")
    await server.quiet(peer)


@case("PXW-UPL-014", level=3)
async def wrong_digest(server: Subject) -> None:
    """Bytes with another SHA-256 than announced are INVALID_ARGUMENT"""
    await parameters(server)
    content = fresh(server)
    wrong = announced(content, sha256="0" * 64)
    await names(server, "attachments[0].sha256", send=True, contents=[content], maps=[wrong])


@case("PXW-UPL-015", level=3)
async def no_image(server: Subject) -> None:
    """Bytes that are no image of the announced media type are INVALID_ARGUMENT"""
    await parameters(server)
    text = b"this is no image, " + server.job_id(used=False).encode()
    await names(server, "attachments[0].media_type", send=True, contents=[text], maps=[announced(text)])
    image = fresh(server)
    other = announced(image, media_type="image/jpeg")
    await names(server, "attachments[0].media_type", send=True, contents=[image], maps=[other])


@case("PXW-UPL-017", "PXW-REQ-004", level=3)
async def part_of_the_fingerprint(server: Subject) -> None:
    """Other attachments under the same id are JOB_CONFLICT; the same ones are a duplicate"""
    first = await begin(server)
    await first.peer.send(first.rest())
    await server.accepted(first.peer, first.stream)
    other = await begin(server, job=first.job)
    said(await other.peer.on(other.stream), ErrorCode.JOB_CONFLICT)
    plain = await server.ready()
    stream = await server.submit(plain, first.job, await parameters(server))
    said(await plain.on(stream), ErrorCode.JOB_CONFLICT)


@case("PXW-FLW-003", level=3)
async def beyond_the_window(server: Subject) -> None:
    """DATA beyond the stream's window is FLOW_CONTROL"""
    await parameters(server)
    peer = await server.ready()
    window, longest = declared(peer, "stream_window"), declared(peer, "max_frame")
    upload = await begin(server, peer=peer, size=min(declared(peer, "max_upload"), 4 * window))
    head_start = window // 2 - 1
    sent = 0
    while sent < head_start:
        piece = min(longest, head_start - sent)
        await peer.send(upload.data(piece))
        sent += piece
    returned = sum(a.head["n"] for a in await server.quiet(peer) if a.name == "CREDIT" and a.stream == upload.stream)
    left = window - sent + returned
    if left + 1 > longest:
        raise Skip("no single frame exceeds what is left of the window")
    await peer.dies(ErrorCode.FLOW_CONTROL, of=upload.data(left + 1))


@case("PXW-FLW-007", "PXW-FLW-008", level=3)
async def credit_comes_back(server: Subject) -> None:
    """Credit comes back for DATA that were taken, on the stream and on the connection"""
    await parameters(server)
    peer = await server.ready()
    window, whole = declared(peer, "stream_window"), declared(peer, "connection_window")
    longest = min(declared(peer, "max_frame"), 65536)
    if declared(peer, "max_upload") <= window:
        raise Skip("max_upload is not above stream_window")
    uploads = [await begin(server, peer=peer, size=window + 1) for _ in range(whole // window)]
    for upload in uploads:
        for _ in range(window // longest):
            await peer.send(upload.data(longest))
        await peer.find(lambda answer, stream=upload.stream: answer.name == "CREDIT" and answer.stream == stream)  # type: ignore[misc]
    await peer.find(lambda answer: answer.name == "CREDIT" and answer.stream == 0)
    await peer.send(*(reset(upload.stream) for upload in uploads))
    await server.quiet(peer)


@case("PXW-FLW-013", level=3)
async def empty_data(server: Subject) -> None:
    """DATA with neither bytes nor END is a PROTOCOL_ERROR"""
    upload = await begin(server)
    await upload.peer.dies(ErrorCode.PROTOCOL_ERROR, of=frame("DATA", upload.stream))


@case("PXW-LIM-003", level=3)
async def tiny_data(server: Subject) -> None:
    """A long run of tiny DATA is EXCESSIVE_LOAD"""
    run = LIMITS["small_data_run"].default
    upload = await begin(server, size=2 * run)
    await upload.peer.send(*(upload.data(1) for _ in range(run)))
    await server.quiet(upload.peer)
    await upload.peer.dies(ErrorCode.EXCESSIVE_LOAD, of=upload.data(1))


@case("PXW-REQ-028", level=2)
async def data_uninvited(server: Subject) -> None:
    """DATA on an open stream that uploads nothing is a PROTOCOL_ERROR"""
    done = await large_enough(server, SMALL)
    peer = await server.ready(limits={"stream_window": SMALL})
    await peer.send(frame("FETCH", 1, {"job": done.job}))
    await arrived(peer, 1, SMALL)
    await peer.dies(ErrorCode.PROTOCOL_ERROR, of=frame("DATA", 1, None, b"x"))


@case("PXW-UPL-011", level=3, slow=True)
async def stalled(server: Subject) -> None:
    """An upload on which no byte comes is ended with UPLOAD_STALLED, and the connection goes on"""
    upload = await begin(server)
    upload.peer.deadline = LIMITS["upload_stall_ms"].default / 1000 + server.deadline
    await upload.peer.send(upload.data(1))
    said(await upload.peer.on(upload.stream), ErrorCode.UPLOAD_STALLED)
    await server.quiet(upload.peer)
    await upload.peer.send(credit(1))
