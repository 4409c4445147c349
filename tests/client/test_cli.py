"""The command line, as a process, against a server that the test scripts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Command, Inside
from pictures import png
from scripted_server import Request, ScriptedServer

from pixwire_protocol.messages import Cancel, Fetch, List, Message, Status, Submit, Watch
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

PNG = b"\x89PNG and so on" * 20

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # the loop of the test's server does not matter here


# --- exit codes

Answer = Callable[[Request], None]
BROKEN = {"code": 1285, "name": "PIPELINE_ERROR", "message": "no"}
ANSWERS: dict[str, tuple[int, str, Answer]] = {
    "failed": (1, "JobFailed", lambda r: r.result("failed", error=BROKEN)),
    "cancelled": (1, "JobCancelled", lambda r: r.result("cancelled")),
    "expired": (1, "JobExpired", lambda r: r.result("expired")),
    "invalid": (2, "InvalidArgument", lambda r: r.error(ErrorCode.INVALID_ARGUMENT, details={"field": "width"})),
    "gone": (6, "JobGone", lambda r: r.error(ErrorCode.JOB_EXPIRED, "long ago")),
    "forbidden": (7, "Forbidden", lambda r: r.error(ErrorCode.FORBIDDEN, "not you")),
    "nonsense": (3, "ProtocolViolation", lambda r: r.result("queued")),
    "full": (5, "QueueFull", lambda r: r.error(ErrorCode.QUEUE_FULL, "full", retry_after_ms=1500)),
    "conflict": (6, "JobConflict", lambda r: r.error(ErrorCode.JOB_CONFLICT, "another job")),
    "unsupported": (1, "RequestFailed", lambda r: r.error(ErrorCode.UNSUPPORTED, "kind")),
}


@pytest.mark.parametrize(("code", "name", "answer"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_exit_codes(
    server: ScriptedServer, tmp_path: Path, inside: Inside, code: int, name: str, answer: Answer
) -> None:
    ending = inside("generate", "x", "-o", str(tmp_path / "out.png"), "--json", "--url", server.url)
    answer(await server.next(Submit))
    ended = await ending
    assert ended.code == code
    assert (ended.error["class"], ended.error["exit_code"]) == (name, code)
    assert ended.err.startswith("pixwire: ")
    assert ended.err.count("\n") == 1
    assert ended.error["message"] in ended.err
    assert list(tmp_path.iterdir()) == []


UNKNOWN: dict[str, type[Message]] = {"status": Status, "cancel": Cancel, "fetch": Watch, "watch": Watch}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_an_unknown_job(server: ScriptedServer, inside: Inside, name: str) -> None:
    ending = inside(name, "nobody", "--json", "--url", server.url)
    (await server.next(UNKNOWN[name])).error(ErrorCode.JOB_NOT_FOUND, "no such job")
    ended = await ending
    assert ended.code == 6
    assert ended.error["name"] == "JOB_NOT_FOUND"
    assert ended.err == "pixwire: no such job [JOB_NOT_FOUND]\n"


async def test_timeout_says_how_to_come_back(server: ScriptedServer, tmp_path: Path, inside: Inside) -> None:
    output = str(tmp_path / "out.png")
    ending = inside("generate", "x", "-o", output, "--timeout", "0.05", "--url", server.url)
    request = await server.next(Submit)
    ended = await ending
    assert ended.code == 4
    assert f"pixwire fetch {request.job}" in ended.err
    assert "within 0.05 s" in ended.err


# --- the other commands


@pytest.mark.req("PXW-SEC-006")
async def test_status(server: ScriptedServer, inside: Inside) -> None:
    for as_json in ([], ["--json"]):
        command = inside("status", "j-1", *as_json, "--url", server.url)
        request = await server.next(Status)
        request.result("running", step=3, params={"prompt": "a red\x1b[2J circle", "seed": 7})
        ended = await command
        assert ended.code == 0
        if as_json:
            assert (ended.json["state"], ended.json["step"], ended.json["params"]["seed"]) == ("running", 3, 7)
        else:
            assert ended.out.splitlines() == [
                "j-1: running, step 3 of 4",
                "  prompt: a red\\x1b[2J circle",
                "  seed: 7",
            ]


async def test_cancel(server: ScriptedServer, inside: Inside) -> None:
    command = inside("cancel", "j-1", "--reason", "late", "--url", server.url)
    request = await server.next(Cancel)
    assert request.message.reason == "late"
    request.result("cancelled")
    assert (await command).out == "j-1: cancelled\n"


async def test_fetch(server: ScriptedServer, inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = inside("fetch", "j-1", "--url", server.url)
    request = await server.next(Watch)
    request.accept("running")
    request.succeed([PNG, PNG])
    assert (await command).out.split()[::5] == ["j-1-1.png", "j-1-2.png"]

    command = inside("fetch", "j-1", "-o", "b.png", "--index", "1", "--json", "--url", server.url)
    request = await server.next(Watch)
    request.result("succeeded", artifacts=[request.info(i, PNG) for i in range(2)])
    request = await server.next(Fetch)
    request.image(1, PNG)
    ended = await command
    assert [image["path"] for image in ended.json["images"]] == ["b.png"]
    assert (tmp_path / "b.png").read_bytes() == PNG


async def test_fetch_to_stdout(
    server: ScriptedServer, inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for images, code, out in (([b"image bytes"], 0, "image bytes"), ([b"one", b"two"], 2, "")):
        command = inside("fetch", "j-1", "-o", "-", "--url", server.url)
        request = await server.next(Watch)
        request.accept("running")
        request.succeed(images)
        ended = await command
        assert (ended.code, ended.out) == (code, out)
    assert "choose one with --index" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1)])
async def test_watch(server: ScriptedServer, inside: Inside, state: str, code: int) -> None:
    command = inside("watch", "j-1", "--json", "--url", server.url)
    request = await server.next(Watch)
    request.accept("running")
    request.progress(1)
    request.peer.flush()
    request.change(state, end=True)
    ended = await command
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event.get("state", event.get("event")) for event in events][:3] == ["running", "progress", state]
    assert ended.code == code
    assert ("error" in events[-1]) == (code == 1)


MODEL = {
    "name": "sha\x1bpes",
    "default": True,
    "pipeline": "StableDiffusionPipeline",
    "kinds": ["txt2img", "img2img"],
    "attachments": [],
    "defaults": {"steps": 20, "guidance_scale": 5.0, "width": 64, "height": 64},
    "limits": {"size_multiple": 8, "max_width": 512, "max_height": 512, "max_steps": 200, "max_count": 16},
    "media_types": ["image/png"],
}


@pytest.mark.req("PXW-SEC-006")
async def test_models(server: ScriptedServer, inside: Inside) -> None:
    for as_json in ([], ["--json"]):
        command = inside("models", *as_json, "--url", server.url)
        (await server.next(List)).listed({"what": "models", "models": [MODEL]})
        ended = await command
        assert ended.code == 0
        if as_json:
            (listed,) = ended.json["models"]
            assert listed | MODEL == listed
        else:
            heads, row = ended.out.splitlines()
            assert " ".join(heads.split()) == (
                "model pipeline kinds attachments steps size at most state memory adapters"
            )
            assert row.startswith("sha\\x1bpes (default)  StableDiffusionPipeline  txt2img img2img  -")
            assert "512x512, 200 steps" in row
            assert row.split()[-3:] == ["loaded", "-", "-"]


async def test_jobs(server: ScriptedServer, inside: Inside) -> None:
    job = {"kind": "inpaint", "state": "running", "seq": 3, "step": 1, "steps": 4, "artifacts": 0, "age_ms": 200_000}
    for as_json in ([], ["--json"]):
        command = inside(
            "jobs",
            "--state",
            "running",
            "--state",
            "queued",
            "--tag",
            "web",
            "--limit",
            "3",
            *as_json,
            "--url",
            server.url,
        )
        request = await server.next(List)
        asked = request.message
        assert (asked.states, asked.tag, asked.limit) == (("running", "queued"), "web", 3)
        labels = {"priority": "high", "tags": ["web", "a"], "model": "shapes"}
        request.listed({"what": "jobs", "jobs": [{"job": "j-0", **job}, {"job": "j-1", **job, **labels}]})
        ended = await command
        assert ended.code == 0
        if as_json:
            assert ended.json["jobs"][1] == {"job": "j-1", **job, **labels}
        else:
            assert [line.split() for line in ended.out.splitlines()] == [
                ["job", "kind", "model", "state", "priority", "step", "images", "age", "tags"],
                ["j-0", "inpaint", "-", "running", "normal", "1/4", "0", "3", "min", "-"],
                ["j-1", "inpaint", "shapes", "running", "high", "1/4", "0", "3", "min", "web", "a"],
            ]
    command = inside("jobs", "--url", server.url)
    (await server.next(List)).listed({"what": "jobs", "jobs": []})
    assert (await command).out == "no jobs\n"


async def test_pictures_to_paint_over(inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.png", "mask.png", "lines.png"):
        Path(name).write_bytes(png() + name.encode())
    pictures = ("--image", "cat.png", "--mask", "mask.png", "--control", "lines.png")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    more = ("--strength", "0.5", "--control-scale", "1.5", "--traceparent", parent)
    async with ScriptedServer(Settings(agent="s", max_upload=1 << 20)) as server:
        command = inside("generate", "a red hat", *pictures, *more, "-o", "hat.png", "--url", server.url)
        submit = (await server.next(Submit)).message
        request = await server.uploads.get()
        assert (submit.kind, submit.traceparent) == ("inpaint", parent)
        assert request.split() == [Path(name).read_bytes() for name in ("cat.png", "mask.png", "lines.png")]
        params = parse(submit.tail, "inpaint", submit.attachments)
        assert (params.strength, params.control_scale) == (0.5, 1.5)
        request.accept()
        request.succeed([PNG])
        assert (await command).code == 0
    assert Path("hat.png").read_bytes() == PNG


async def test_tokens(tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    ways: list[tuple[dict[str, str], list[str], str]] = [
        ({}, ["--token", "from-an-option"], "from-an-option"),
        ({}, ["--token-file", str(file)], "from-a-file"),
        ({"PIXWIRE_TOKEN": "from-the-environment"}, [], "from-the-environment"),
        ({"PIXWIRE_TOKEN": "from-the-environment"}, ["--token-file", str(file)], "from-a-file"),
    ]
    async with ScriptedServer(Settings(agent="s", auth=("bearer",))) as server:
        server.tokens = {token: None for _, _, token in ways}
        for environment, options, token in ways:
            with monkeypatch.context() as patch:
                for name, value in environment.items():
                    patch.setenv(name, value)
                assert (await inside("ping", "-c", "1", *options, "--url", server.url)).code == 0
            assert server.auths[-1].token == token
        ended = await inside("ping", "--json", "--url", server.url)
        assert (ended.code, ended.error["class"]) == (7, "AuthRequired")
        ended = await inside("ping", "--json", "--token", "guessed", "--url", server.url)
        assert (ended.code, ended.error["class"]) == (7, "AuthFailed")
        assert "guessed" not in ended.out + ended.err


async def test_a_broken_connection_is_mended(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "x", "-o", "out.png", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    request.accept("running")
    request.peer.close()
    again = await server.next(Watch)
    again.accept("running")
    again.succeed([PNG])
    ended = await command.end()
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "x: running",
        "connection lost: the server closed the connection; trying again",
        "connected again",
        "x: succeeded",
    ]
    assert (tmp_path / "out.png").read_bytes() == PNG


async def test_ping(server: ScriptedServer, inside: Inside) -> None:
    ended = await inside("ping", "--json", "-c", "2", "--url", server.url)
    assert len(ended.json["ping_ms"]) == 2
    assert ended.json["agent"] == "scripted/1"
    ended = await inside("ping", "--url", server.url)
    assert ended.out.startswith(f"{server.url}: scripted/1, connected in ")
