"""The OpenAI client, as it comes, against this server."""

import asyncio
import base64
import io
from typing import Any

import httpx
import openai
import pytest
from held_engine import HeldEngine
from http_server import HttpServer, StartHttp, events, problem
from PIL import Image


def png(size: int = 64, mode: str = "RGB", color: Any = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size), color).save(buffer, "PNG")
    return buffer.getvalue()


async def user(server: HttpServer, key: str = "any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{await server.url()}/v1", api_key=key, max_retries=0)


async def test_models_are_listed(server: HttpServer) -> None:
    async with await user(server) as ai:
        listed = [model async for model in await ai.models.list()]
        assert [model.id for model in listed] == ["toy"]
        one = await ai.models.retrieve("toy")
        assert one.owned_by == "pixwire"
        with pytest.raises(openai.NotFoundError) as caught:
            await ai.models.retrieve("none")
        assert caught.value.code == "INVALID_ARGUMENT"


async def test_images_are_made_with_every_parameter_that_was_given(server: HttpServer) -> None:
    async with await user(server) as ai:
        made = await ai.images.generate(
            prompt="a cat",
            model="toy",
            n=2,
            size="64x32",
            output_format="jpeg",
            quality="high",
            user="somebody",
            extra_body={"num_inference_steps": 3, "guidance_scale": 2, "seed": 5, "negative_prompt": "dogs"},
        )
    assert made.data is not None
    assert [image.b64_json for image in made.data] == ["dG95IGltYWdl"] * 2
    assert (made.size, made.output_format) == ("64x32", "jpeg")
    (task,) = server.engine.tasks
    assert (task.prompt, task.negative_prompt, task.count, task.steps) == ("a cat", "dogs", 2, 3)
    assert (task.width, task.height, task.media_type, task.seed) == (64, 32, "image/jpeg", 5)
    assert task.guidance_scale == 2.0


async def test_a_url_leads_to_the_image(server: HttpServer, client: httpx.AsyncClient) -> None:
    async with await user(server) as ai:
        made = await ai.images.generate(prompt="a cat", response_format="url")
    assert made.data is not None
    assert made.data[0].b64_json is None
    image = await client.get(str(made.data[0].url))
    assert (image.status_code, image.content) == (200, b"toy image")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"size": "63x64"}, "width"),
        ({"size": "big"}, "size"),
        ({"n": 17}, "n"),
        ({"n": 2, "extra_body": {"count": 2}}, "n"),
        ({"output_format": "gif"}, "output_format"),
        ({"background": "transparent"}, "background"),
        ({"output_compression": 50}, "output_compression"),
        ({"model": "gpt-image-1"}, "model"),
        ({"stream": True, "response_format": "url"}, "response_format"),
        ({"extra_body": {"steps": 0}}, "steps"),
        ({"extra_body": {"num_inference_steps": 1000}}, "num_inference_steps"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
        ({"extra_body": {"tags": ["a", "a"]}}, "tags[1]"),
    ],
)
async def test_a_wrong_parameter_is_named_as_the_client_called_it(
    server: HttpServer, wrong: dict[str, Any], param: str
) -> None:
    async with await user(server) as ai:
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.images.generate(prompt="a cat", **wrong)
    assert (caught.value.code, caught.value.param) == ("INVALID_ARGUMENT", param)
    assert caught.value.type == "invalid_request_error"
    assert server.engine.tasks == []


async def test_an_image_is_changed(server: HttpServer) -> None:
    async with await user(server) as ai:
        made = await ai.images.edit(
            image=png(), prompt="in winter", extra_body={"strength": 0.5, "steps": 4, "tags": ["a", "b"]}
        )
    assert made.data is not None
    assert made.data[0].b64_json == "dG95IGltYWdl"
    (task,) = server.engine.tasks
    assert (task.kind, task.strength, task.steps) == ("img2img", 0.5, 4)
    assert [(given.name, given.media_type) for given in task.inputs] == [("image", "image/png")]


async def test_two_images_cannot_be_had_in_one_edit(server: HttpServer) -> None:
    async with await user(server) as ai:
        with pytest.raises(openai.BadRequestError, match="give it once"):
            await ai.images.edit(image=[png(), png()], prompt="both")
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.images.edit(image=b"no picture", prompt="x")
    assert caught.value.param == "attachments[0].media_type"


async def test_pictures_on_the_way_are_streamed_and_then_the_image(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    async with await user(server) as ai:
        stream = aiter(await ai.images.generate(prompt="a cat", stream=True, partial_images=2))
        await engine.wait(engine.watched)
        told: list[Any] = []
        engine.preview(1)
        for step in (2, 3):
            engine.preview(step)
            told.append(await anext(stream))
        engine.preview(4)
        engine.finish(engine.tasks[0])
        told += [event async for event in stream]
    assert [event.type for event in told] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event.partial_image_index for event in told[:2]] == [0, 1]
    assert base64.b64decode(told[0].b64_json) == b"picture 2"
    assert (told[0].output_format, told[0].size) == ("jpeg", "8x8")
    assert told[2].b64_json == "dG95IGltYWdl"
    assert told[2].usage.total_tokens == 0


async def _streamed(ai: openai.AsyncOpenAI, **options: Any) -> list[Any]:
    return [event async for event in await ai.images.generate(prompt="a cat", stream=True, **options)]


async def test_a_job_that_fails_is_an_error_for_whoever_waits(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    async with await user(server) as ai:
        asked = asyncio.create_task(ai.images.generate(prompt="a cat"))
        await engine.wait(engine.started)
        engine.fail("pipeline_error", "it broke")
        with pytest.raises(openai.InternalServerError) as caught:
            await asked
        assert caught.value.code == "PIPELINE_ERROR"
        streamed = asyncio.create_task(_streamed(ai))
        await engine.wait(engine.started)
        engine.fail("out_of_memory", "too large")
        with pytest.raises(openai.APIError, match="too large"):
            await streamed


async def test_whoever_leaves_cancels_the_job(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    asked = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a cat"}))
    await engine.wait(engine.started)
    asked.cancel()
    await engine.wait(engine.cancelled)


async def test_whoever_leaves_with_a_key_may_come_back(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    key = {"idempotency-key": "k 1"}
    asked = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a cat"}, headers=key))
    await engine.wait(engine.started)
    asked.cancel()
    again = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a cat"}, headers=key))
    other = await client.post("/v1/images/generations", json={"prompt": "a dog"}, headers=key)
    assert problem(other)["title"] == "JOB_CONFLICT"
    engine.finish(engine.tasks[0])
    answer = await again
    assert answer.status_code == 200
    assert len(engine.tasks) == 1
    assert not engine.cancelled.is_set()


async def test_a_stream_that_nobody_reads_any_more_cancels_the_job(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    body = {"prompt": "a cat", "stream": True}
    async with client.stream("POST", "/v1/images/generations", json=body) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        await engine.wait(engine.started)
    await engine.wait(engine.cancelled)


async def test_an_error_in_a_stream_is_an_event(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    body = {"prompt": "a cat", "stream": True}
    async with client.stream("POST", "/v1/images/generations", json=body) as stream:
        await engine.wait(engine.started)
        engine.fail("pipeline_error", "it broke")
        told = [event async for event in events(stream)]
    (event,) = told
    assert event["event"] == "error"
    assert (event["data"]["title"], event["data"]["error"]["code"]) == ("PIPELINE_ERROR", "PIPELINE_ERROR")
