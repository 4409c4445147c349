"""Values of a request's fields: JSON as it came, or the texts of a form; and the terms of a job. Pure.

What is wrong is a RequestError that names field, value and what is allowed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pixwire_protocol.forms import is_job_id, is_tag, is_traceparent, show
from pixwire_protocol.params import PARAMS
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import PRIORITIES
from pixwire_server.jobs import RequestError, Terms, Trace

TIMES: Final = ("timeout_ms", "queue_ttl_ms", "run_timeout_ms")
TERMS: Final = ("priority", *TIMES, "tags")
MAX_TAGS: Final = 8
MAX_KEY: Final = 255
MAX_TRACESTATE: Final = 512
_EXACT: Final = 2**53


def wrong(field: str, value: Any, allowed: Any, advice: str = "") -> RequestError:
    """A field is wrong; `advice` is what to do about it, unless `allowed` says that already."""
    message = f"{field}: {show(value)} cannot be used; {advice or f'use {allowed}'}"
    return RequestError(ErrorCode.INVALID_ARGUMENT, message, {"field": field, "value": show(value), "allowed": allowed})


def parse_object(data: bytes | bytearray, field: str = "body") -> dict[str, Any]:
    """The JSON object in `data`; `field` is what messages call it."""
    try:
        value = _decode(data.decode(json.detect_encoding(data), "surrogatepass"))  # as json.loads does
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "it is not valid JSON"
        message = f"{field}: not a JSON object: {why[:200]}"
        details = {"field": field, "value": f"{len(data)} bytes", "allowed": "a JSON object"}
        raise RequestError(ErrorCode.INVALID_ARGUMENT, message, details) from None
    if not isinstance(value, dict):
        raise wrong(field, value, "a JSON object")
    return value


def _plain_number(text: str) -> float | int:
    """JSON has one kind of numbers: 4.0 is as good as 4."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_decode: Final = json.JSONDecoder(parse_constant=_no_constant, parse_float=_plain_number).decode
"""Made once: json.loads would make one for each request."""


def only(values: Mapping[str, Any], known: tuple[str, ...], where: str = "") -> None:
    """Refuse the first key that is not known: a misspelt field must not silently mean nothing."""
    for name in values:
        if name not in known:
            message = f"unknown field {f'{where}{name}'[:64]!r}; the fields are {', '.join(known)}"
            details = {"field": f"{where}{name}"[:64], "value": show(values[name]), "allowed": ", ".join(known)}
            raise RequestError(ErrorCode.INVALID_ARGUMENT, message, details)


def text(field: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise wrong(field, value, "a string")
    return value


def whole(field: str, value: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(field, value, f"an integer from {low} to {high}")
    return value


def flag(field: str, value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise wrong(field, value, "true or false")
    return value


def choice(field: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of some words."""
    if value not in allowed or not isinstance(value, str):
        raise wrong(field, value, f"one of {', '.join(allowed)}")
    return value


def terms(values: Mapping[str, Any]) -> Terms:
    """How the job is to be treated; null is as good as absent."""
    given = {name: value for name in TERMS if (value := values.get(name)) is not None}
    if "priority" in given:
        choice("priority", given["priority"], PRIORITIES)
    for name in TIMES:
        if name in given:
            whole(name, given[name], 1, 2**31 - 1)
    if "tags" in given:
        given["tags"] = _tags(given["tags"])
    return Terms(**given)


def _tags(value: Any) -> tuple[str, ...]:
    one = "1 to 64 bytes without control characters, none twice"
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise wrong("tags", value, f"an array of at most {MAX_TAGS} strings of {one}")
    for index, tag in enumerate(value):
        if not isinstance(tag, str) or not is_tag(tag) or tag in value[:index]:
            raise wrong(f"tags[{index}]", tag, f"a string of {one}")
    return tuple(value)


def trace(parent: str | None, state: str | None) -> Trace | None:
    """The trace context of whoever asks; one that is not as W3C says is left out, as W3C says."""
    if parent is None or not is_traceparent(parent):
        return None
    return Trace(parent, state if state is not None and len(state) <= MAX_TRACESTATE else None)


def keyed_id(key: str) -> str:
    """The id of the job that an `Idempotency-Key` stands for: the same key of the same principal is the same job."""
    if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise wrong("Idempotency-Key", key, f"1 to {MAX_KEY} printable ASCII characters")
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:40]}"


def job_id(field: str, value: Any) -> str:
    """An id chosen by the client."""
    if not isinstance(value, str) or not is_job_id(value):
        raise wrong(field, value, "1 to 64 of A-Z a-z 0-9 . _ -")
    return value


# ---------------------------------------------------------------------- forms: texts that mean something else


def _number(field: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise wrong(field, value, PARAMS[field].allowed) from None


def _integer(field: str, value: str) -> int:
    if len(value) > 20 or not value.removeprefix("-").isascii() or not value.removeprefix("-").isdecimal():
        raise wrong(field, value, PARAMS[field].allowed if field in PARAMS else "an integer")
    return int(value)


def _truth(field: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise wrong(field, value, "true or false")
    return value.lower() == "true"


def _array(field: str, value: str) -> Any:
    try:
        return json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise wrong(field, value, "a JSON array") from None


def from_query_int(field: str, value: str) -> int:
    """A whole number in a query."""
    return _integer(field, value)


_FORM: Final[Mapping[str, Callable[[str, str], Any]]] = {
    **{name: _integer for name, spec in PARAMS.items() if spec.type == "int"},
    **{name: _number for name, spec in PARAMS.items() if spec.type == "float"},
    "adapters": _array,
    "tags": _array,
    **dict.fromkeys((*TIMES, "n", "partial_images", "output_compression"), _integer),
    **dict.fromkeys(("num_inference_steps", "num_images_per_prompt"), _integer),
    "stream": _truth,
}


def from_form(values: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """The fields of a form with the types that JSON would give them. An empty text of a number is absent."""
    read: dict[str, Any] = {}
    for name, value in values.items():
        convert = _FORM.get(name)
        if convert is None or isinstance(value, list):
            read[name] = value
        elif value:
            read[name] = convert(name, value)
    return read
