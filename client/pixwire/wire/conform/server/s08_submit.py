"""Section 8.8: SUBMIT and its parameters."""

from typing import Any

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState

from ..frames import Frame, frame, long_form, pack, unpack
from ..subject import PROMPT, ServerPeer, Subject, check, said, terminal
from ..verdicts import Failure, Skip
from .register import case

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BAD_IDS = ("", "x" * 65, "a b", "ä", "a/b", "a\n", "a\x00")


async def answer_to(server: Subject, peer: ServerPeer, tail: bytes | None = None, **head: Any) -> Frame:
    """The first answer to a SUBMIT."""
    stream = await server.submit(peer, head.pop("job", None), tail, **head)
    return await peer.on(stream)


@case("PXW-REQ-001", "PXW-REQ-002")
async def accepted(server: Subject) -> None:
    """A SUBMIT is answered with the job; from then on every connection finds it"""
    peer, other = await server.ready(), await server.ready()
    job = server.job_id()
    head = await server.accepted(peer, await server.submit(peer, job))
    check(head.get("duplicate") is False, f"duplicate is {head.get('duplicate')!r} for a new job")
    answer = await server.ask(other, "STATUS", job)
    check(answer.name == "RESULT", f"right after its RESULT, another connection is told {answer}")
    params = answer.head.get("params") or {}
    check(params.get("prompt") == PROMPT, f"STATUS has params {params}")


@case("PXW-REQ-002", section="8.8")
async def in_one_read(server: Subject) -> None:
    """Requests about a job that come in one read with its SUBMIT: each is answered, the job is one"""
    job = server.job_id()
    peer = await server.ready()
    whole = await server.submit_frame(1, job, await server.tail())
    await peer.send(whole, whole[:8] + (3).to_bytes(4, "big") + whole[12:])
    heads = [await server.accepted(peer, stream) for stream in (1, 3)]
    duplicates = [head.get("duplicate") for head in heads]
    check(sorted(map(bool, duplicates)) == [False, True], f"duplicate is {duplicates}: one job must be new, once")


@case("PXW-REQ-003")
async def duplicate(server: Subject) -> None:
    """The same SUBMIT again attaches to the job: duplicate is true"""
    peer = await server.ready()
    job, tail = server.job_id(), await server.tail()
    first = await server.accepted(peer, await server.submit(peer, job, tail))
    again = await server.accepted(peer, await server.submit(peer, job, tail))
    check(again.get("duplicate") is True, f"duplicate is {again.get('duplicate')!r}")
    check(again["attempt"] >= first["attempt"] and again["seq"] >= first["seq"], "the job began anew")


@case("PXW-REQ-004", "PXW-REQ-005")
async def conflict(server: Subject) -> None:
    """Another fingerprint under the same id is JOB_CONFLICT, also when the bytes differ and mean the same"""
    peer = await server.ready()
    job, tail = server.job_id(), await server.tail()
    await server.accepted(peer, await server.submit(peer, job, tail))
    params = unpack(tail)
    for what, other in (
        ("another seed", await server.tail(seed=8)),
        ("the same in the longest encoding", long_form(params)),
        ("the same in another order", pack(dict(reversed(params.items())))),
    ):
        try:
            said(await answer_to(server, peer, other, job=job), ErrorCode.JOB_CONFLICT)
        except Failure as error:
            raise Failure(f"{what}: {error}") from error


@case("PXW-REQ-007")
async def not_in_the_fingerprint(server: Subject) -> None:
    """ct, watch, want, deliver, priority, times, tags and the trace take no part in the fingerprint"""
    peer = await server.ready()
    job, tail = server.job_id(), await server.tail()
    await server.accepted(peer, await server.submit(peer, job, tail))
    for more in (
        {"ct": "application/msgpack"},
        {"watch": True, "want": ["progress"]},
        {"deliver": True},
        {"traceparent": TRACE, "tracestate": "a=b"},
        {"priority": "low", "timeout_ms": 3600000, "queue_ttl_ms": 3600000, "run_timeout_ms": 3600000, "tags": ["a"]},
        {"grease_x": 1},
    ):
        peer = await server.ready()
        head = await server.accepted(peer, await server.submit(peer, job, tail, **more))
        check(head.get("duplicate") is True, f"with {more} duplicate is {head.get('duplicate')!r}")


@case("PXW-REQ-008")
async def unsupported(server: Subject) -> None:
    """A kind or ct that the server does not serve is UNSUPPORTED"""
    peer = await server.ready()
    said(await answer_to(server, peer, kind="conform-nothing"), ErrorCode.UNSUPPORTED)
    said(await answer_to(server, peer, ct="application/json"), ErrorCode.UNSUPPORTED)


@case(section="8.8", strict=True)
async def which_comes_first(server: Subject) -> None:
    """When several things are wrong the first of ct, fingerprint, kind, parameters is named"""
    peer = await server.ready()
    job, tail = server.job_id(), await server.tail()
    await server.accepted(peer, await server.submit(peer, job, tail))
    wrong = pack({"prompt": ""})
    said(await answer_to(server, peer, wrong, job=job, ct="text/plain"), ErrorCode.UNSUPPORTED)
    said(await answer_to(server, peer, wrong, job=job, kind="conform-nothing"), ErrorCode.JOB_CONFLICT)
    said(await answer_to(server, peer, wrong, job=job), ErrorCode.JOB_CONFLICT)
    said(await answer_to(server, peer, wrong, kind="conform-nothing"), ErrorCode.UNSUPPORTED)


@case("PXW-REQ-009")
async def job_ids(server: Subject) -> None:
    """A job id that is not 1 to 64 of A-Z a-z 0-9 . _ - is INVALID_ARGUMENT; 64 of them are fine"""
    peer = await server.ready()
    for job in BAD_IDS:
        stream = peer.stream()
        await peer.send(frame("SUBMIT", stream, {"job": job, "kind": "txt2img"}, await server.tail()))
        details = said(await peer.on(stream), ErrorCode.INVALID_ARGUMENT).get("details") or {}
        check(details.get("field") == "job", f"for the id {job!r} details name {details.get('field')!r}")
    longest = (server.job_id(used=False) + "._-AZaz09").ljust(64, "x")
    said(await server.ask(peer, "STATUS", longest), ErrorCode.JOB_NOT_FOUND)


@case("PXW-REQ-010", "PXW-JOB-001", "PXW-JOB-004", "PXW-JOB-006", level=1)
async def every_state(server: Subject) -> None:
    """A watched job tells of each state it enters, in the order the job model allows, with rising seq"""
    peer = await server.ready()
    stream = await server.submit(peer, watch=True, want=["progress"])
    status = await server.accepted(peer, stream)
    if status["state"] == "queued":
        events, last = await server.follow(peer, stream)
        states = [event.head["state"] for event in events if event.head.get("event") == "state"]
        check(last["state"] != "succeeded" or "running" in states, f"the states were {states}, from queued")


@case("PXW-REQ-011", "PXW-REQ-012", level=1)
async def want(server: Subject) -> None:
    """Lossy events come only as `want` names them; names that nobody knows are ignored"""
    for names in ([], ["preview"], ["nothing", "grease-1", "x" * 32]):
        peer = await server.ready()
        stream = await server.submit(peer, tail=await server.tail(steps=2), watch=True, want=names)
        if (await server.accepted(peer, stream))["state"] in ("queued", "running"):
            await server.follow(peer, stream)


@case("PXW-REQ-045", "PXW-REQ-046", section="8.17", level=1)
async def timesteps(server: Subject) -> None:
    """Timesteps come only as `want` names them, and then a number for each step that was done"""
    for names in (["progress"], ["timesteps"], ["progress", "timesteps"]):
        peer = await server.ready()
        stream = await server.submit(peer, tail=await server.tail(steps=2), watch=True, want=names)
        if (await server.accepted(peer, stream))["state"] in ("queued", "running"):
            await server.follow(peer, stream)


@case("PXW-REQ-013", "PXW-REQ-026", "PXW-REQ-025", level=2)
async def deliver(server: Subject) -> None:
    """With deliver all artifacts follow, in the order of their index, from start to end, each in frames of its own"""
    done = await server.finished()
    peer = await server.ready(limits={"stream_window": 1 << 24, "connection_window": 1 << 26})
    await peer.send(frame("WATCH", 1, {"job": done.job, "deliver": True}))
    await peer.on(1)
    for index, artifact in enumerate(done.artifacts):
        told = (await peer.on(1)).head
        facts = (told.get("artifact"), told.get("etag"), told.get("offset"), told.get("length"))
        check(facts == (index, artifact["etag"], 0, artifact["size"]), f"announced: {told}")
        got = 0
        while got < artifact["size"]:
            data = await peer.on(1)
            check(data.name == "DATA", f"{data} came after {got} of {artifact['size']} bytes")
            got += len(data.tail)
    check(data.end, "the last DATA carries no END")


@case("PXW-REQ-014", "PXW-REQ-015")
async def wrong_parameters(server: Subject) -> None:
    """Parameters that are no map, of a wrong type or out of range: INVALID_ARGUMENT, and details name the field"""
    peer = await server.ready()
    good = {"prompt": PROMPT, **await server.tiny()}
    cases: list[tuple[str, bytes, str]] = [
        ("no tail", b"", "params"),
        ("an array", pack([1]), "params"),
        ("two maps", pack(good) * 2, "params"),
        ("a map that does not end", pack(good)[:-1], "params"),
        ("an ext type", pack(good)[:0] + b"\x81\xa6prompt\xd4\x05\x00", "params"),
        ("NaN", pack({**good, "guidance_scale": float("nan")}), "params"),
        ("no prompt", pack({"steps": 1}), "prompt"),
        ("an empty prompt", pack({**good, "prompt": ""}), "prompt"),
        ("a blank prompt", pack({**good, "prompt": " \n"}), "prompt"),
        ("4,001 characters", pack({**good, "prompt": "x" * 4001}), "prompt"),
        ("steps 0", pack({**good, "steps": 0}), "steps"),
        ("steps 201", pack({**good, "steps": 201}), "steps"),
        ("steps 1.0", pack({**good, "steps": 1.0}), "steps"),
        ("steps true", pack({**good, "steps": True}), "steps"),
        ("width 15", pack({**good, "width": 15}), "width"),
        ("height 8193", pack({**good, "height": 8193}), "height"),
        ("seed -1", pack({**good, "seed": -1}), "seed"),
        ("seed 2^63", pack({**good, "seed": 2**63}), "seed"),
        ("count 17", pack({**good, "count": 17}), "count"),
        ("a seed too high for its count", pack({**good, "seed": 2**63 - 1, "count": 2}), "seed"),
        ("a media type nobody has", pack({**good, "media_type": "image/x-none"}), "media_type"),
        ("a model nobody has", pack({**good, "model": "conform/none"}), "model"),
        ("strength for txt2img", pack({**good, "strength": 0.5}), "strength"),
        ("ip_scale without a style image", pack({**good, "ip_scale": 0.5}), "ip_scale"),
        ("adapters that are no array", pack({**good, "adapters": "sketch"}), "adapters"),
        ("an adapter without a name", pack({**good, "adapters": [{"weight": 1.0}]}), "adapters[0].name"),
        ("a weight of 5", pack({**good, "adapters": [{"name": "a", "weight": 5}]}), "adapters[0].weight"),
        ("an adapter twice", pack({**good, "adapters": [{"name": "a"}] * 2}), "adapters[1].name"),
    ]
    for what, tail, field in cases:
        try:
            await names_field(server, peer, tail, field)
        except Failure as error:
            raise Failure(f"{what}: {error}") from error


async def names_field(server: Subject, peer: ServerPeer, tail: bytes, field: str, **head: Any) -> None:
    """A SUBMIT that is INVALID_ARGUMENT with this field."""
    details = said(await answer_to(server, peer, tail, **head), ErrorCode.INVALID_ARGUMENT).get("details") or {}
    check(details.get("field") == field, f"details name {details.get('field')!r}, not {field!r}")


@case("PXW-REQ-016")
async def unknown_parameters(server: Subject) -> None:
    """An unknown parameter is INVALID_ARGUMENT and named, not dropped"""
    peer = await server.ready()
    for name in ("sampler", "x_y", "Prompt"):
        await names_field(server, peer, await server.tail(**{name: 1}), name)
    answer = await answer_to(server, peer, await server.tail(negative_prompt=None) + b"")
    check(answer.name == "RESULT", f"without it: {answer}")


@case("PXW-REQ-041")
async def unknown_adapter(server: Subject) -> None:
    """An adapter that the model does not have is INVALID_ARGUMENT, and named"""
    peer = await server.ready()
    await server.learn_models()
    known = [{"name": name} for name in ((server.model or {}).get("adapters") or [])[:1]]
    tail = await server.tail(adapters=[*known, {"name": "conform/none"}])
    await names_field(server, peer, tail, f"adapters[{len(known)}].name")


@case("PXW-REQ-042", level=1)
async def plain_pixels(server: Subject) -> None:
    """An artifact of image/x-rgb8 has 3 bytes for each of its pixels"""
    await server.learn_models()
    if "image/x-rgb8" not in ((server.model or {}).get("media_types") or ()):
        raise Skip("the model does not make image/x-rgb8")
    peer = await server.ready()
    stream = await server.submit(peer, tail=await server.tail(media_type="image/x-rgb8"), watch=True)
    status = await server.accepted(peer, stream)
    if not terminal(status):
        _, status = await server.follow(peer, stream)
    check(status["state"] == JobState.SUCCEEDED, f"the job is {status['state']}: {status.get('error')}")
    for artifact in status["artifacts"]:
        check(artifact["media_type"] == "image/x-rgb8", f"its media type is {artifact['media_type']}")
        size = 3 * artifact["width"] * artifact["height"]
        check(
            artifact["size"] == size,
            f"{artifact['width']} x {artifact['height']}: {artifact['size']} bytes, not {size}",
        )


@case("PXW-REQ-014", section="8.8.1")
async def good_parameters(server: Subject) -> None:
    """Nil for a parameter, an int for a float, the longest encoding and the highest seed are taken"""
    peer = await server.ready()
    params = {**unpack(await server.tail()), "negative_prompt": None, "guidance_scale": 1, "seed": 2**63 - 1}
    for tail in (pack(params), long_form(params)):
        await server.accepted(peer, await server.submit(peer, tail=tail))


@case("PXW-REQ-030")
async def bad_trace(server: Subject) -> None:
    """A traceparent of another form is INVALID_ARGUMENT"""
    peer = await server.ready()
    for trace in (
        TRACE.upper(),
        TRACE[:-1],
        TRACE + "0",
        TRACE.replace("00-", "01-", 1),
        TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        TRACE.replace("00f067aa0ba902b7", "0" * 16),
        TRACE.replace("-", "_"),
    ):
        await names_field(server, peer, await server.tail(), "traceparent", traceparent=trace)
    await names_field(server, peer, await server.tail(), "tracestate", tracestate="x" * 513)


@case("PXW-REQ-031", level=1)
async def trace_comes_back(server: Subject) -> None:
    """The traceparent of the SUBMIT that made the job stands in every status map; a later one changes nothing"""
    peer = await server.ready()
    job, tail = server.job_id(), await server.tail()
    stream = await server.submit(peer, job, tail, traceparent=TRACE, watch=True)
    maps = [await server.accepted(peer, stream)]
    if maps[0]["state"] in ("queued", "running"):
        maps += [event.head for event in (await server.follow(peer, stream))[0]]
    again = await server.submit(peer, job, tail, traceparent=TRACE.replace("4bf", "fff"))
    maps += [await server.accepted(peer, again), (await server.ask(peer, "STATUS", job)).head]
    for status in maps:
        if status.get("event") != "progress":
            check(status.get("traceparent") == TRACE, f"traceparent is {status.get('traceparent')!r}")
