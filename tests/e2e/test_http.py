"""The HTTP door of a real server process with the built-in model: as the OpenAI client and as programs use it."""

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

import pixwire

PROMPT = "a red circle on a white background"


@pytest.fixture
def url(server: Any) -> str:
    """Where HTTP is served."""
    found: str = server.urls[1]
    assert found.startswith("http://127.0.0.1:")
    return found


@pytest.fixture
def ai(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def picture(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


async def test_the_openai_client_and_pixwire_get_the_same_image(server: Any, ai: openai.OpenAI) -> None:
    made = ai.images.generate(prompt=PROMPT, size="64x64", extra_body={"steps": 6, "seed": 11})
    assert made.data is not None
    data = base64.b64decode(made.data[0].b64_json or "")
    async with pixwire.connect(server.url) as client:
        image = await client.generate(PROMPT, width=64, height=64, steps=6, seed=11)
    assert image.bytes == data
    assert picture(data).size == (64, 64)


def test_several_images_and_links_to_them(ai: openai.OpenAI) -> None:
    (model,) = ai.models.list()
    assert ai.models.retrieve(model.id) == model
    made = ai.images.generate(
        model=model.id,
        prompt=PROMPT,
        n=2,
        size="64x64",
        output_format="jpeg",
        response_format="url",
        extra_body={"steps": 4, "seed": 5},
    )
    assert made.data is not None
    found = [picture(httpx.get(one.url or "").content) for one in made.data]
    assert [(one.size, one.format) for one in found] == [((64, 64), "JPEG")] * 2
    assert found[0].tobytes() != found[1].tobytes()


async def test_whoever_leaves_cancels_his_job(url: str) -> None:
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none needed", max_retries=0) as ai,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
    ):
        wish = ai.images.generate(prompt=PROMPT, n=4, extra_body={"steps": 200, "tags": ["left"]})
        asked = asyncio.create_task(wish)
        while not (found := (await client.get("/v1/jobs?tag=left&states=running")).json()["jobs"]):
            await asyncio.wait((asked,), timeout=0.01)
            assert not asked.done(), asked.result()
        asked.cancel()
        async with client.stream("GET", f"/v1/jobs/{found[0]['job']}/events") as events:
            assert '"state":"cancelled"' in (await events.aread()).decode()


def test_pictures_on_the_way_become_the_image(ai: openai.OpenAI) -> None:
    told: list[Any] = list(
        ai.images.generate(
            prompt=PROMPT, stream=True, partial_images=2, output_format="webp", extra_body={"steps": 30, "seed": 1}
        )
    )
    *partial, last = told
    assert 1 <= len(partial) <= 2  # one that was not taken in time is replaced by the next
    for number, event in enumerate(partial):
        assert (event.type, event.partial_image_index) == ("image_generation.partial_image", number)
        assert picture(base64.b64decode(event.b64_json)).format == event.output_format.upper()
    assert last.type == "image_generation.completed"
    assert picture(base64.b64decode(last.b64_json)).format == "WEBP"


def test_a_picture_is_painted_anew_where_its_mask_is_transparent(ai: openai.OpenAI) -> None:
    whole, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(whole, "PNG")
    hole = Image.new("RGBA", (64, 64), "black")
    hole.paste((0, 0, 0, 0), (32, 0, 64, 64))
    hole.save(mask, "PNG")
    files: dict[str, Any] = {"image": ("a.png", whole.getvalue()), "mask": ("m.png", mask.getvalue())}
    made = ai.images.edit(prompt="a blue square", **files, extra_body={"steps": 4, "seed": 2})
    assert made.data is not None
    image = picture(base64.b64decode(made.data[0].b64_json or "")).convert("RGB")
    kept = image.crop((0, 0, 24, 64)).tobytes()
    assert sum(kept) / len(kept) > 230  # white, as before


def test_a_job_outlives_its_server(new_server: Callable[..., Any]) -> None:
    """Also one that a blocking request waited for: the same request with the same key gets its images later."""
    server = new_server("--http", "0", "--max-resident", "0", fast=True).start()  # it makes no image
    key, waiting = {"idempotency-key": "once"}, {"idempotency-key": "waiting"}
    body = {"params": {"prompt": PROMPT, "steps": 4, "seed": 3}}
    wish = {"prompt": PROMPT, "steps": 4, "seed": 4}
    answer = httpx.post(f"{server.urls[1]}/v1/jobs", json=body, headers=key)
    assert answer.status_code == 201
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.urls[1]) as client:
        asked = pool.submit(
            httpx.post, f"{server.urls[1]}/v1/images/generations", json=wish, headers=waiting, timeout=60
        )
        while len(client.get("/v1/jobs").json()["jobs"]) < 2:
            assert not asked.done(), asked.result().text
        assert server.kill() == -9
        with pytest.raises(httpx.TransportError):
            asked.result()
    again = new_server("--http", "0", data_dir=server.data_dir).start()
    with httpx.Client(base_url=again.urls[1], timeout=60) as client:
        repeated = client.post("/v1/jobs", json=body, headers=key)
        assert (repeated.status_code, repeated.json()["duplicate"]) == (200, True)
        with client.stream("GET", f"/v1/jobs/{answer.json()['job']}/events") as events:
            assert '"state":"succeeded"' in events.read().decode()
        image = client.get(f"/v1/jobs/{answer.json()['job']}/artifacts/0")
        assert picture(image.content).format == "PNG"
        made = client.post("/v1/images/generations", json=wish, headers=waiting)
        assert made.status_code == 200, made.text
        assert made.json()["data"][0]["seed"] == 4
        assert len(client.get("/v1/jobs").json()["jobs"]) == 2
    assert again.stop() == 0
