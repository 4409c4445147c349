"""The pure parts: what HTTP says and what it means, without a socket."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.params import parse
from pixwire_protocol.registry import ERRORS, ErrorCode
from pixwire_protocol.status import ArtifactInfo, JobError, JobState, JobStatus
from pixwire_server.doors.http import fields, links, openai_answers, openai_requests, origins, problems, ranges, sse
from pixwire_server.doors.http.address import HttpAddress, parse_http_address
from pixwire_server.doors.http.callers import bearer
from pixwire_server.doors.http.openapi import document
from pixwire_server.jobs import PreviewShown, Progressed, RequestError, StateChanged

SECRET = b"s" * 32


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("8080", HttpAddress("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        ("0.0.0.0:80", HttpAddress("0.0.0.0", 80), "http://0.0.0.0:80"),
        ("http://localhost:0/", HttpAddress("localhost", 0), "http://localhost:0"),
        ("https://[::1]:443", HttpAddress("::1", 443, True), "https://[::1]:443"),
    ],
)
def test_an_address_is_read_and_written(text: str, address: HttpAddress, url: str) -> None:
    assert parse_http_address(text) == address
    assert address.url == url
    assert parse_http_address(url) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("localhost", "with a port"),
        ("", "with a port"),
        ("pixwire://h:1", "use http:// or https://"),
        ("h:65536", "a port is 0"),
        ("a b:1", "with a port"),
    ],
)
def test_what_is_no_address_is_explained(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_http_address(text)


# ---------------------------------------------------------------------- problems


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.NO_ERROR])
def test_every_refusal_of_jobs_is_a_problem(code: ErrorCode) -> None:
    error = RequestError(code, "why", {"field": "x", "value": b"raw", "allowed": (1, float("inf"))}, 1500)
    said = problems.refused(error)
    body = json.loads(said.body(openai=True))
    assert (body["title"], body["code"], body["detail"]) == (code.name, int(code), "why")
    assert body["retry"] == ERRORS[code].retry
    assert body["error"] == {"message": "why", "type": body["error"]["type"], "param": "x", "code": code.name}
    assert 400 <= body["status"] < 600
    assert said.headers["retry-after"] == "2"
    assert said.headers["x-should-retry"] == ("false" if ERRORS[code].retry == "no" else "true")
    assert ("www-authenticate" in said.headers) == (said.status == 401)


def test_a_deadline_that_cannot_be_kept_has_no_effect() -> None:
    assert problems.refused(RequestError(ErrorCode.DEADLINE_EXCEEDED, "")).processed == "no"
    job = JobError(int(ErrorCode.DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED", "late")
    assert problems.ended(job, "j").processed == "yes"


def test_a_job_error_of_a_later_version_is_a_problem() -> None:
    said = problems.ended(JobError(0x05FF, "NEW", "something new", "same_id"), "j")
    assert (said.status, said.code, said.retry) == (500, ErrorCode.INTERNAL, "same_id")


# ---------------------------------------------------------------------- pages of other sites


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "h:1", False),
        ("http://h:1", "h:1", False),
        ("HTTP://H:1", "h:1", False),
        ("http://h:2", "h:1", True),
        ("http://h", "h:1", True),
        ("http://h:1.evil.example", "h:1", True),
        ("null", "h:1", True),
        ("", "h:1", True),
        ("http://[", "h:1", True),
    ],
)
def test_a_page_of_another_site_is_known_by_its_origin(origin: str | None, host: str, foreign: bool) -> None:
    assert origins.is_foreign(origin, host) is foreign


@pytest.mark.parametrize(
    ("host", "rebound"),
    [
        ("127.0.0.1:80", False),
        ("[::1]:80", False),
        ("LOCALHOST", False),
        ("box.lan:80", False),
        ("evil.example", True),
        ("localhost.evil.example", True),
        ("", True),
        ("[", True),
    ],
)
def test_a_name_that_nobody_gave_is_rebound(host: str, rebound: bool) -> None:
    assert origins.is_rebound(host, {"box.lan"}) is rebound


# ---------------------------------------------------------------------- links


@given(st.text(min_size=1, max_size=40), st.integers(0, 99), st.integers(0, 2**40))
def test_a_link_is_good_until_its_end(principal: str, index: int, ends: int) -> None:
    whose = principal.encode(errors="replace").decode()
    key = links.sign(SECRET, whose, "job", index, ends)
    assert links.verify(SECRET, key, "job", index, ends - 1) == whose
    assert links.verify(SECRET, key, "job", index, ends) is None
    assert links.verify(SECRET, key, "job", index + 1, 0) is None
    assert links.verify(SECRET, key, "jo", index, 0) is None
    assert links.verify(b"other", key, "job", index, 0) is None


@given(st.integers(0, 60), st.integers(0, 63))
def test_a_link_that_was_changed_is_none(place: int, value: int) -> None:
    key = links.sign(SECRET, "alice", "job", 0, 2**33)
    raw = bytearray(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    raw[place % len(raw)] ^= value + 1
    assert links.verify(SECRET, base64.urlsafe_b64encode(raw).decode().rstrip("="), "job", 0, 0) is None


@pytest.mark.parametrize("key", ["", "a", "!!!!", "é", "A" * 60])
def test_what_is_no_link_is_refused(key: str) -> None:
    assert links.verify(SECRET, key, "job", 0, 0) is None


# ---------------------------------------------------------------------- ranges


@given(st.integers(0, 50), st.text("0123456789-=, bytes", max_size=20))
def test_a_range_lies_within_the_file(size: int, asked: str) -> None:
    found = ranges.span(f"bytes={asked}", size)
    if found is not None:
        assert 0 <= found.start <= found.stop <= size
        assert found.partial or found.length == size


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=-1", 9, 10), ("bytes=-99", 0, 10), ("BYTES= 3 - ", 3, 10), ("bytes=9-99", 9, 10)],
)
def test_a_range_names_bytes(asked: str, start: int, stop: int) -> None:
    found = ranges.span(asked, 10)
    assert found == ranges.Span(start, stop, 10, True)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_outside_the_file_cannot_be_had(asked: str) -> None:
    assert ranges.span(asked, 10) is None


def test_entity_tags_are_compared_as_they_should() -> None:
    assert ranges.matches('"a", "b"', "b", weak=False)
    assert ranges.matches("*", "b", weak=False)
    assert not ranges.matches('W/"b"', "b", weak=False)
    assert ranges.matches('W/"b"', "b", weak=True)
    assert not ranges.matches(None, "b", weak=True)
    assert not ranges.matches("b", "b", weak=True)


# ---------------------------------------------------------------------- events


def test_events_are_written_on_one_line_each() -> None:
    status = JobStatus("j", "txt2img", JobState.RUNNING, 4, params={"prompt": "a\nb\r\ndata: c\u2028"})
    told = [
        StateChanged(status),
        Progressed("j", 5, 1, 4, 1),
        PreviewShown("j", 6, 1, 4, "image/jpeg", 8, 8, b"\xff\n"),
    ]
    for number, one in enumerate(told, 4):
        text = sse.job_event(one).decode()
        head, name, data, *rest = text.split("\n")
        assert (head, rest) == (f"id: {number}", ["", ""])
        assert name in ("event: state", "event: progress", "event: preview")
        assert json.loads(data.removeprefix("data: "))["job"] == "j"


@pytest.mark.parametrize(
    ("field", "number"),
    [(None, -1), ("", -1), ("-1", -1), ("7", 7), ("²", -1), ("9" * 30, -1), ("x", -1)],
)
def test_the_last_event_that_was_seen_is_a_number_or_none(field: str | None, number: int) -> None:
    assert sse.last_seen(field) == number


# ---------------------------------------------------------------------- fields


@given(st.binary(max_size=60))
def test_a_body_is_an_object_or_refused(data: bytes) -> None:
    refusal = None
    try:
        assert isinstance(fields.parse_object(data), dict)
    except RequestError as error:
        refusal = error
    if refusal is not None:
        assert (refusal.code, refusal.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "body")


def test_numbers_of_json_are_numbers() -> None:
    read = fields.parse_object(b'{"a": 4.0, "b": 4.5, "c": 1e400, "d": 1e30, "e": 9007199254740993}')
    assert [type(read[name]) for name in "abcde"] == [int, float, float, float, int]
    assert read["e"] == 9007199254740993
    with pytest.raises(RequestError):
        fields.parse_object(b'{"a": Infinity}')


def test_texts_of_a_form_have_types() -> None:
    form = {"steps": "4", "strength": "0.5", "stream": "TRUE", "prompt": "5", "seed": "", "adapters": '[{"name":"a"}]'}
    assert fields.from_form({"tags": ["a", "b"]}) == {"tags": ["a", "b"]}
    assert fields.from_form(form) == {
        "steps": 4,
        "strength": 0.5,
        "stream": True,
        "prompt": "5",
        "adapters": [{"name": "a"}],
    }


def test_the_same_key_has_the_same_id() -> None:
    assert fields.keyed_id("a") == fields.keyed_id("a") != fields.keyed_id("b")
    assert fields.job_id("job", fields.keyed_id("~" * 255))
    for wrong in ("", "\x00", "é", "x" * 256):
        with pytest.raises(RequestError):
            fields.keyed_id(wrong)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer" + "x" * 9000, "x"])
def test_what_holds_no_token_asks_for_one(authorization: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        bearer(authorization)
    assert caught.value.code is ErrorCode.AUTH_REQUIRED
    assert bearer("bearer  t ") == "t"


# ---------------------------------------------------------------------- the OpenAI API


def test_a_generation_is_a_job() -> None:
    wish = openai_requests.generation(
        {"prompt": "a", "n": 2, "size": "64x32", "output_format": "webp", "priority": "high", "style": None}
    )
    params = parse(wish.tail)
    assert (params.count, params.width, params.height, params.media_type) == (2, 64, 32, "image/webp")
    assert (wish.kind, wish.terms.priority, wish.form, wish.stream) == ("txt2img", "high", "b64_json", False)
    assert openai_requests.edit({"prompt": "a"}, ("image",)).kind == "img2img"
    assert openai_requests.edit({"prompt": "a"}, ("image", "mask")).kind == "inpaint"


@pytest.mark.parametrize("extra", [{"size": "64x64", "width": 64}, {"output_format": "png", "media_type": "image/png"}])
def test_what_is_said_twice_is_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        openai_requests.generation({"prompt": "a", **extra})
    assert caught.value.details["allowed"] == "absent"


@given(st.integers(1, 200), st.integers(0, 3))
def test_pictures_on_the_way_are_spread_over_the_steps(steps: int, wanted: int) -> None:
    sent: list[int] = []
    for step in range(1, steps + 1):
        if openai_requests.partial_due(step, steps, wanted, len(sent)):
            sent.append(step)
    assert len(sent) <= wanted
    if steps > wanted:
        assert len(sent) == wanted
        assert all(step < steps for step in sent)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_an_answer_holds_the_images(images: list[bytes]) -> None:
    infos = [ArtifactInfo(number, "e", len(one), "image/png", 8, 16, number) for number, one in enumerate(images)]
    pictures = [openai_answers.Picture(info, one) for info, one in zip(infos, images, strict=True)]
    status = JobStatus("j", "txt2img", JobState.SUCCEEDED, 3, artifacts=tuple(infos))
    body = json.loads(openai_answers.images(status, pictures, 17))
    assert (body["created"], body["size"], body["output_format"], body["job"]) == (17, "8x16", "png", "j")
    assert [base64.b64decode(one["b64_json"]) for one in body["data"]] == images
    event = openai_answers.completed("image_edit", pictures[0], 17).decode().split("\n")
    assert event[0] == "event: image_edit.completed"
    data = json.loads(event[1].removeprefix("data: "))
    assert (data["type"], base64.b64decode(data["b64_json"])) == ("image_edit.completed", images[0])


# ---------------------------------------------------------------------- the document


def test_every_reference_of_the_document_leads_somewhere() -> None:
    made = document((), asks=True)

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                target: Any = made
                for part in value["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(made)
    assert made["security"] == [{"bearer": []}]
    assert document((), asks=False)["security"] == []
