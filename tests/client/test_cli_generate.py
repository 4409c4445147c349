"""`pixwire generate`, as a process, against a server that the test scripts."""

import json
from pathlib import Path

import pytest
from command_line import Command, Inside
from pictures import png
from PIL import Image as Pillow
from PIL import PngImagePlugin
from scripted_server import ScriptedServer

from pixwire_protocol.messages import Cancel, Submit, Watch
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode

PNG = b"\x89PNG and so on" * 20

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # the loop of the test's server does not matter here


async def test_generate(server: ScriptedServer, tmp_path: Path) -> None:
    arguments = (
        "--seed",
        "7",
        "--steps",
        "4",
        "--guidance",
        "5",
        "--negative",
        "blur",
        "--width",
        "64",
        "--height",
        "32",
    )
    command = await Command.start("generate", "a red circle", "-o", "out.png", *arguments, cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    params = parse(request.message.tail)
    assert (params.prompt, params.seed, params.steps, params.guidance_scale) == ("a red circle", 7, 4, 5.0)
    assert (params.negative_prompt, params.width, params.height, params.count) == ("blur", 64, 32, 1)
    assert params.media_type == "image/png"
    request.accept(queue_position=2)
    request.change("running")
    request.progress(2)
    request.succeed([PNG])
    ended = await command.end()
    assert ended.code == 0, ended.err
    assert ended.out == "out.png  64x64 image/png, seed 100\n"
    assert ended.err.splitlines() == [
        "a red circle: queued, about place 2 in the queue",
        "a red circle: running",
        "a red circle: succeeded",
    ]
    assert (tmp_path / "out.png").read_bytes() == PNG


async def test_how_a_job_is_treated(server: ScriptedServer, tmp_path: Path, inside: Inside) -> None:
    out = str(tmp_path / "a.avif")
    terms = [
        "--priority",
        "high",
        "--deadline",
        "20",
        "--queue-ttl",
        "5",
        "--run-timeout",
        "9",
        "--tag",
        "a",
        "--tag",
        "b",
    ]
    made = ["--adapter", "pen", "--adapter", "ink:-0.5"]
    ending = inside("generate", "x", "-o", out, *terms, *made, "--json", "--url", server.url)
    request = await server.next(Submit)
    sent = request.message
    assert (sent.priority, sent.timeout_ms, sent.queue_ttl_ms, sent.run_timeout_ms) == ("high", 20_000, 5000, 9000)
    assert sent.tags == ("a", "b")
    params = parse(sent.tail)
    assert [(one.name, one.weight) for one in params.adapters] == [("pen", 1.0), ("ink", -0.5)]
    assert params.media_type == "image/avif"
    request.accept()
    request.succeed([PNG])
    assert (await ending).code == 0


async def test_once_more_like_a_picture(server: ScriptedServer, tmp_path: Path, inside: Inside) -> None:
    info = PngImagePlugin.PngInfo()
    recipe = {"prompt": "a red circle", "seed": 7, "steps": 4, "width": 64, "sampler": "DDIM", "negative_prompt": ""}
    info.add_itxt("pixwire", json.dumps(recipe))
    path = tmp_path / "like.png"
    Pillow.new("RGB", (8, 8)).save(path, pnginfo=info)
    ending = inside(
        "generate", "--like", str(path), "--seed", "8", "-o", str(tmp_path / "b.png"), "--json", "--url", server.url
    )
    request = await server.next(Submit)
    params = parse(request.message.tail)
    assert (params.prompt, params.seed, params.steps, params.width) == ("a red circle", 8, 4, 64)
    request.accept()
    request.succeed([PNG])
    assert (await ending).code == 0


async def test_a_picture_that_cannot_be_made_again(tmp_path: Path, inside: Inside) -> None:
    path = tmp_path / "like.png"
    path.write_bytes(png())
    ended = await inside("generate", "--like", str(path))
    assert (ended.code, "does not tell how it was made" in ended.err) == (2, True)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("pixwire", json.dumps({"prompt": "x", "attachments": {"image": "sha256:00"}}))
    Pillow.new("RGB", (8, 8)).save(path, pnginfo=info)
    ended = await inside("generate", "--like", str(path))
    assert (ended.code, "--image" in ended.err) == (2, True)


async def test_several_images_and_json(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "x", "-n", "2", "-o", "a.webp", "--json", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    params = parse(request.message.tail)
    assert (params.count, params.media_type) == (2, "image/webp")
    request.accept()
    request.succeed([PNG, PNG * 2])
    ended = await command.end()
    assert (ended.code, ended.err) == (0, "")
    assert ended.json["job"] == request.job
    assert [image["path"] for image in ended.json["images"]] == ["a-1.webp", "a-2.webp"]
    assert [image["seed"] for image in ended.json["images"]] == [100, 101]
    assert (tmp_path / "a-2.webp").read_bytes() == PNG * 2


async def test_an_image_that_cannot_be_saved_is_still_at_the_server(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "x", "-o", "out.png", "--job", "j", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    (tmp_path / "out.png").mkdir()  # a folder is in the way now
    request.accept("running")
    request.succeed([PNG])
    ended = await command.end()
    assert ended.code == 1
    assert ended.err.splitlines()[-2:] == ["to come back for it: pixwire fetch j", "pixwire: out.png: is a directory"]


async def test_a_name_of_its_own(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "A red circle!", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    request.accept()
    request.succeed([PNG])
    assert (await command.end()).code == 0
    assert (tmp_path / "a-red-circle-100.png").read_bytes() == PNG


async def test_an_image_on_stdout(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "x", "-o", "-", "--job", "j-1", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    assert request.job == "j-1"
    request.accept()
    request.succeed([b"image bytes"])
    assert (await command.end()).out == "image bytes"


async def test_previews(server: ScriptedServer, tmp_path: Path) -> None:
    arguments = "generate", "x", "-o", "o.png", "--preview-file", "p.jpg"
    command = await Command.start(*arguments, cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    assert "preview" in request.message.want
    request.accept("running")
    request.preview(1, b"rough")
    request.peer.flush()
    request.succeed([PNG])
    assert (await command.end()).code == 0
    assert (tmp_path / "p.jpg").read_bytes() == b"rough"


async def test_ctrl_c_cancels_the_job(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "x", "-o", "out.png", "--json", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    request.accept("running")
    request.progress(1)
    command.interrupt()
    assert await request.peer.resets.get() == request.stream
    cancel = await server.next(Cancel)
    assert (cancel.job, cancel.message.reason) == (request.job, "interrupted")
    cancel.result("running")
    watch = await server.next(Watch)
    watch.accept("running")
    watch.change("cancelled", end=True)
    ended = await command.end()
    assert ended.code == 130
    assert ended.err == f"pixwire: interrupted; job {request.job} is cancelled\n"
    assert (ended.error["job"], ended.error["state"], ended.error["exit_code"]) == (request.job, "cancelled", 130)
    assert not (tmp_path / "out.png").exists()


async def test_ctrl_c_when_the_server_does_not_help(server: ScriptedServer, tmp_path: Path) -> None:
    command = await Command.start("generate", "x", "-o", "out.png", cwd=tmp_path, url=server.url)
    request = await server.next(Submit)
    command.interrupt()
    (await server.next(Cancel)).error(ErrorCode.INTERNAL, "no idea")
    ended = await command.end()
    assert ended.code == 130
    assert ended.err == f"pixwire: interrupted; job {request.job} may be going on\n"
