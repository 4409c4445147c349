"""Hypothesis strategies for messages, made from the registry's tables."""

from typing import Any

from hypothesis import strategies as st

from pixwire_protocol import messages as m
from pixwire_protocol.attachments import Attachment
from pixwire_protocol.heads import MESSAGES, FieldSpec
from pixwire_protocol.limits import CLIENT_LIMITS, SERVER_LIMITS, Limits
from pixwire_protocol.registry import ATTACHMENT_NAME, LIMITS, SHA256, TRACEPARENT

text = st.text(st.characters(codec="utf-8"), max_size=30)
job_ids = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
traceparents = st.from_regex(TRACEPARENT, fullmatch=True).filter(
    lambda value: value[3:35] != "0" * 32 and value[36:52] != "0" * 16
)
attachments = st.lists(
    st.builds(
        Attachment,
        st.from_regex(ATTACHMENT_NAME, fullmatch=True),
        st.integers(1, 2**53 - 1),
        st.from_regex(SHA256, fullmatch=True),
        st.from_regex(r"[a-z]{1,10}/[a-z]{1,10}", fullmatch=True),
    ),
    max_size=8,
    unique_by=lambda attachment: attachment.name,
).map(tuple)
tags = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
    .filter(lambda value: len(value.encode()) <= 64)
)  # fmt: skip
keys = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True).filter(lambda key: key != "crit")
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
bodies = st.dictionaries(
    keys, scalars | st.lists(scalars, max_size=4) | st.dictionaries(keys, scalars, max_size=4), max_size=8
)


def _fits(low: int, high: int) -> Any:
    return lambda value: low <= len(value.encode()) <= high


def _limits(names: tuple[str, ...]) -> st.SearchStrategy[Limits]:
    return st.builds(Limits, **{name: st.integers(LIMITS[name].minimum, LIMITS[name].maximum) for name in names})


def values_of(spec: FieldSpec, sender: str) -> st.SearchStrategy[Any]:
    """Values that a field may have."""
    if spec.pattern == "job_id":
        return job_ids
    match spec.type:
        case "str" if spec.choices:
            values: st.SearchStrategy[Any] = st.sampled_from(spec.choices)
        case "str" if spec.pattern == "traceparent":
            values = traceparents
        case "str" if spec.pattern == "tag":
            values = tags
        case "list[str]" if spec.pattern == "tag":
            values = st.lists(tags, max_size=spec.maximum, unique=spec.distinct).map(tuple)
        case "list[attachment]":
            values = attachments
        case "list[str]" if spec.choices:
            values = st.lists(st.sampled_from(spec.choices), max_size=5).map(tuple)
        case "str":
            values = text.filter(_fits(spec.minimum or 0, spec.maximum or 0))
        case "int":
            low = -(2**63) if spec.minimum is None else spec.minimum
            values = st.integers(low, 2**64 - 1 if spec.maximum is None else spec.maximum)
        case "bool":
            values = st.booleans()
        case "list[str]":
            item = text.filter(_fits(0, spec.item_maximum or 0))
            values = st.lists(item, max_size=min(5, spec.maximum or 0)).map(tuple)
        case "limits":
            return _limits(SERVER_LIMITS if sender == "server" else CLIENT_LIMITS)
        case _:
            values = bodies
    return values if spec.required or spec.default is not None else values | st.none()


def messages_of(name: str) -> st.SearchStrategy[Any]:
    """Messages of one class, with any legal content."""
    spec, cls = MESSAGES[name], m.CODECS[name].cls
    if spec.body:
        return st.builds(cls, body=bodies)
    if spec.tail == "eight":
        return st.builds(cls, payload=st.binary(min_size=8, max_size=8))
    arguments = {item.name: values_of(item, spec.sender) for item in spec.fields}
    if spec.tail != "none":
        arguments["tail"] = st.binary(max_size=200)
    return st.builds(cls, **arguments)


any_message = st.sampled_from(sorted(MESSAGES)).flatmap(messages_of)
requests = st.sampled_from(["SUBMIT", "STATUS", "CANCEL", "WATCH", "LIST", "ADMIN", "FETCH"]).flatmap(messages_of)
