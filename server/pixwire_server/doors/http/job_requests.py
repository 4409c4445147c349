"""Requests of the job resources (/v1/jobs), and what they mean. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol import params as vocabulary
from pixwire_protocol.forms import is_tag
from pixwire_protocol.params import KIND, ParamError
from pixwire_protocol.status import JobState
from pixwire_server.doors.http import fields
from pixwire_server.doors.http.openai_requests import refusal
from pixwire_server.jobs import Terms

KNOWN: Final = ("job", "kind", "params", *fields.TERMS)
LOSSY: Final = ("progress", "preview")
MAX_PAGE: Final = 100
PAGE: Final = 50
MAX_AFTER: Final = 128
MAX_REASON: Final = 256
MAX_LINK_KEY: Final = 1024
MAX_INDEX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit. `job` is None when neither the body nor a key says which one it is."""

    job: str | None
    kind: str
    tail: bytes
    terms: Terms


def new_job(values: Mapping[str, Any], key: str | None, attachments: Sequence[str] = ()) -> NewJob:
    """POST /v1/jobs. `key` is its Idempotency-Key; a `job` in the body is one, too, and comes first. Raises
    RequestError.
    """
    fields.only(values, KNOWN)
    values = {name: value for name, value in values.items() if value is not None}
    keyed = None if key is None else fields.keyed_id(key)
    job = values.get("job")
    job = keyed if job is None else fields.job_id("job", job)
    kind = fields.text("kind", values.get("kind", KIND))
    params = values.get("params")
    if not isinstance(params, dict):
        raise fields.wrong("params", params, 'an object with the parameters, such as {"prompt": "a red circle"}')
    try:
        tail = vocabulary.from_map(params).pack(kind, attachments)
    except ParamError as error:
        raise refusal(error, {}) from error
    return NewJob(job, kind, tail, fields.terms(values))


@dataclass(frozen=True, slots=True)
class Page:
    """Which jobs to list."""

    limit: int
    after: str | None
    states: tuple[str, ...]
    tag: str | None


def page(query: Sequence[tuple[str, str]]) -> Page:
    """GET /v1/jobs. `states` may be repeated, or separated by commas. Raises RequestError."""
    once = _once(query, ("limit", "after", "tag"), ("states",))
    limit = fields.whole("limit", fields.from_query_int("limit", once.get("limit", str(PAGE))), 1, MAX_PAGE)
    after = once.get("after")
    if after is not None and len(after.encode()) > MAX_AFTER:
        raise fields.wrong("after", after, "`next` of the page before")
    states = _words(query, "states", tuple(JobState))
    tag = once.get("tag")
    if tag is not None and not is_tag(tag):
        raise fields.wrong("tag", tag, "a string of 1 to 64 bytes without control characters")
    return Page(limit, after, states, tag)


def want(query: Sequence[tuple[str, str]], allowed: tuple[str, ...] = LOSSY) -> frozenset[str]:
    """GET .../events: which events besides those that always come. Raises RequestError."""
    _once(query, (), ("want",))
    return frozenset(_words(query, "want", allowed))


def reason(query: Sequence[tuple[str, str]]) -> str:
    """DELETE: why, for humans. Raises RequestError."""
    text = _once(query, ("reason",), ()).get("reason", "")
    if len(text) > MAX_REASON:
        raise fields.wrong("reason", text, f"at most {MAX_REASON} characters")
    return text


def artifact_key(query: Sequence[tuple[str, str]]) -> str | None:
    """GET .../artifacts/{n}: the key of a link, if there is one. Raises RequestError."""
    key = _once(query, ("key",), ()).get("key")
    if key is not None and len(key) > MAX_LINK_KEY:
        raise fields.wrong("key", key, "the key of a link that this server gave")
    return key


def _words(query: Sequence[tuple[str, str]], name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """A list in a query: given several times, or with commas. An empty text is an empty list."""
    words = tuple(word for said, value in query if said == name and value for word in value.split(","))
    if len(words) > len(allowed):
        raise fields.wrong(name, ",".join(words), f"each at most once: {', '.join(allowed)}")
    return tuple(fields.choice(name, word, allowed) for word in words)


def _once(query: Sequence[tuple[str, str]], names: tuple[str, ...], lists: tuple[str, ...]) -> dict[str, str]:
    """The parameters of a query, each at most once unless it is a list, and none that is not known."""
    values: dict[str, str] = {}
    for name, value in query:
        fields.only({name: value}, (*names, *lists))
        if name in values and name not in lists:
            raise fields.wrong(name, value, "given once")
        values[name] = value
    return values
