"""Bad input gets an error that names the field, the value and what is allowed; the server goes on."""

import asyncio
import socket
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

import pixwire

GOOD: dict[str, Any] = {"prompt": "a red circle", "steps": 4, "seed": 1}

# what is wrong, the field the error names, a fragment of the range it states
BAD = [
    ({"model": "no/such-model"}, "model", "pixwire/"),
    ({"prompt": ""}, "prompt", "1"),
    ({"prompt": "   "}, "prompt", "blank"),
    ({"prompt": "x" * 4001}, "prompt", "4000"),
    ({"negative_prompt": "x" * 4001}, "negative_prompt", "4000"),
    ({"width": 65}, "width", "multiple"),
    ({"height": 8}, "height", "16"),
    ({"width": 8192, "height": 8192}, "width", ""),
    ({"steps": 0}, "steps", "1"),
    ({"steps": 201}, "steps", "200"),
    ({"steps": 4.0}, "steps", "int"),
    ({"steps": True}, "steps", "int"),
    ({"guidance_scale": -1.0}, "guidance_scale", "0"),
    ({"guidance_scale": float("nan")}, "guidance_scale", "number from 0.0 to 50.0"),
    ({"guidance_scale": "high"}, "guidance_scale", "number"),
    ({"seed": -1}, "seed", "0"),
    ({"seed": 2**63}, "seed", ""),
    ({"count": 0}, "count", "1"),
    ({"count": 17}, "count", "16"),
    ({"media_type": "image/bmp"}, "media_type", "image/png"),
    ({"prompt": 7}, "prompt", "str"),
]


@pytest.mark.parametrize(("wrong", "field", "allowed"), BAD, ids=lambda v: str(v)[:40])
async def test_a_bad_parameter_is_named(server: Any, wrong: dict[str, Any], field: str, allowed: str) -> None:
    async with await pixwire.connect(server.url) as client:
        with pytest.raises(pixwire.InvalidArgument) as caught:
            await client.submit(**GOOD | wrong)
        assert caught.value.details["field"] == field
        assert field in str(caught.value)
        assert allowed in f"{caught.value} {caught.value.details}"
        assert (await client.generate(**GOOD, timeout=120)).width > 0


@pytest.mark.req("PXW-REQ-003")
@pytest.mark.req("PXW-REQ-004")
async def test_the_same_job_id_attaches_or_conflicts(server: Any) -> None:
    async with await pixwire.connect(server.url) as client:
        first = await client.submit(**GOOD, job_id=uuid.uuid4().hex)
        again = await client.submit(**GOOD, job_id=first.id)
        assert again.id == first.id
        assert (await first.image(timeout=120)).bytes == (await again.image(timeout=120)).bytes
        with pytest.raises(pixwire.JobConflict) as caught:
            await client.submit(**GOOD | {"prompt": "another"}, job_id=first.id)
        assert (caught.value.retry, caught.value.processed) == ("no", "no")


async def test_unknown_jobs_and_artifacts(server: Any) -> None:
    async with await pixwire.connect(server.url) as client:
        with pytest.raises(pixwire.JobNotFound):
            await client.job("never-submitted").status()
        job = await client.submit(**GOOD)
        await job.image(timeout=120)
        with pytest.raises(pixwire.ArtifactNotFound):
            await job.image(index=5, timeout=120)


def address(server: Any) -> tuple[str, int]:
    url = urlsplit(server.url)
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(range(256)) * 64,
        b"\x89PXW\x01\x01\0\0" + b"\xc1\xff\xff\xff" * 8,
    ],
    ids=["http", "tls", "garbage", "frame over the limit"],
)
async def test_other_protocols_are_closed_and_the_server_goes_on(server: Any, sent: bytes) -> None:
    def talk() -> bytes:
        with socket.create_connection(address(server), timeout=30) as sock:
            sock.sendall(sent)
            answer = b""
            try:
                while piece := sock.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass  # the server closed while our bytes were still on their way
            return answer

    answer = await asyncio.to_thread(talk)  # returns only when the server has closed
    assert b"HTTP" not in answer
    async with await pixwire.connect(server.url) as client:
        assert (await client.generate(**GOOD, timeout=120)).width > 0


@pytest.mark.req("PXW-CON-014")
async def test_a_client_that_disappears_leaves_its_job_alone(server: Any) -> None:
    client = await pixwire.connect(server.url)
    job = await client.submit(**GOOD | {"steps": 60})
    async for event in job.events():
        if isinstance(event, pixwire.Progress):
            break
    await client.close()
    async with await pixwire.connect(server.url) as other:
        assert (await other.job(job.id).image(timeout=120)).seed == 1
