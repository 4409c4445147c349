"""A WSGI application with one blocking client for all threads: what Flask, Django and plain WSGI need alike.

    gunicorn --threads 32 --preload wsgi_app:app

POST / with a prompt as its body answers with the image; GET /JOB with how a job is.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
MOST_BYTES = 2000
_making = threading.Lock()

Start = Callable[[str, list[tuple[str, str]]], object]


@cache
def _client() -> pixwire.Client:
    return pixwire.Client(URL, token=os.environ.get("PIXWIRE_TOKEN"))


def client() -> pixwire.Client:
    """The client of this process, made at its first use. Any number of threads share its connection."""
    with _making:  # two first requests at once make one client
        return _client()


def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """The WSGI callable."""
    try:
        if environ["REQUEST_METHOD"] == "POST":
            return _make(environ, start)
        status = client().job(environ["PATH_INFO"].strip("/")).status()
        return _answer(start, "200 OK", {"state": status.state, "step": status.step, "steps": status.steps})
    except pixwire.InvalidArgument as error:
        return _answer(start, "400 Bad Request", {"field": error.field, "error": error.message})
    except pixwire.JobNotFound:
        return _answer(start, "404 Not Found", {"error": "no such job"})
    except pixwire.CapacityError as error:
        seconds = str(-(-(error.retry_after_ms or 1000) // 1000))
        return _answer(start, "503 Service Unavailable", {"error": error.message}, ("Retry-After", seconds))
    except pixwire.PixwireError as error:
        return _answer(start, "502 Bad Gateway", {"error": str(error)})


def _make(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    size = min(int(environ.get("CONTENT_LENGTH") or 0), MOST_BYTES)
    prompt = environ["wsgi.input"].read(size).decode("utf-8", "replace")
    image = client().generate(prompt, seed=7, deadline=60.0)
    headers = [("Content-Type", image.media_type), ("Content-Length", str(len(image.data))), ("X-Job", image.job)]
    start("200 OK", headers)
    return [image.bytes]


def _answer(start: Start, status: str, body: dict[str, Any], *more: tuple[str, str]) -> Iterable[bytes]:
    data = json.dumps(body).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data))), *more])
    return [data]
