"""Two captures compared: what differs is found at its place, what varies by nature is not."""

from wire_bytes import HELLO, STATUS, SUBMIT, after_handshake, announcement, capture, frame, state

from pixwire.wire.diff import Difference, DiffOptions, diff
from pixwire_protocol.messages import Credit, Data, Event, Fetch, Ping, Pong, Result, Welcome
from pixwire_protocol.registry import PREFACE

FETCH = frame(Fetch("j"), 3, end=True)
IMAGE = frame(announcement(6), 3)
RUN = after_handshake(
    ("C", SUBMIT + FETCH), ("S", frame(Result(state()), 1, end=True) + IMAGE + frame(Data(b"abcdef"), 3, end=True))
)


def places(found: list[Difference]) -> list[tuple[str, int, str]]:
    return [(difference.side, difference.stream, difference.what) for difference in found]


def test_a_capture_equals_itself() -> None:
    assert diff(RUN, RUN) == []


def test_what_varies_by_nature_is_no_difference() -> None:
    """Another epoch, seq and etag; DATA cut and streams mixed otherwise; a PING, a progress event and CREDIT more."""
    welcome = PREFACE + frame(Welcome(agent="s/2", server_id="t", epoch="f"))
    progress = frame(Event({"job": "j", "seq": 5, "event": "progress", "step": 1, "steps": 2, "attempt": 1}), 1)
    other_image = frame(Result({"job": "j", "artifact": 0, "etag": "u", "size": 6, "offset": 0, "length": 6}), 3)
    other = capture(
        ("C", HELLO),
        ("S", welcome),
        ("C", SUBMIT + FETCH + frame(Ping(b"12345678")) + frame(Credit(4))),
        ("S", other_image + frame(Data(b"ab"), 3) + frame(Pong(b"12345678")) + progress),
        ("S", frame(Result(state(seq=9)), 1, end=True) + frame(Data(b"cdef"), 3, end=True)),
    )
    assert diff(RUN, other) == []
    assert diff(RUN, other, DiffOptions(keep=frozenset(["epoch"])))[0].what == "WELCOME head.epoch"
    assert diff(RUN, other, DiffOptions(timing=True)) != []


def test_another_value_is_found_by_its_path() -> None:
    other = after_handshake(
        ("C", SUBMIT + FETCH),
        ("S", frame(Result(state("running", artifacts=[{"size": 1}])), 1, end=True) + IMAGE),
        ("S", frame(Data(b"abcdeX"), 3, end=True)),
    )
    assert places(diff(RUN, other)) == [
        ("S", 1, "RESULT head.state"),
        ("S", 1, "RESULT head.artifacts"),
        ("S", 3, "DATA sha256"),
    ]
    assert places(diff(RUN, other, DiffOptions(ignore=frozenset(["state", "artifacts"])))) == [("S", 3, "DATA sha256")]


def test_bytes_that_make_no_sense_are_compared_too() -> None:
    one, two = after_handshake(("S", b"GET / HTTP/1.1")), after_handshake(("S", b"SSH-2.0-nobody"))
    assert diff(one, one) == []
    assert places(diff(one, two)) == [("S", 0, "unreadable bytes sha256")]
    assert places(diff(one, after_handshake(("S", b"GET /")))) == [
        ("S", 0, "unreadable bytes bytes"),
        ("S", 0, "unreadable bytes sha256"),
    ]
    result, event = frame(Result(state()), 1), frame(Event({**state(), "event": "state"}), 1)
    assert diff(after_handshake(("S", result[:-1])), after_handshake(("S", result[:-9]))) == []
    assert places(diff(after_handshake(("S", result[:-1])), after_handshake(("S", event[:-1])))) == [
        ("S", 0, "unreadable bytes begins")
    ]


def test_a_missing_frame_does_not_make_all_others_differ() -> None:
    watched = [frame(Event({**state(name, number), "event": "state"}), 1) for number, name in enumerate("abcd", 2)]
    one = after_handshake(("C", SUBMIT), ("S", b"".join(watched)))
    two = after_handshake(("C", SUBMIT), ("S", b"".join(watched[:1] + watched[2:])))
    found = diff(one, two)
    assert [difference.what for difference in found].count("EVENT is only in a") == 1


def test_a_connection_that_one_capture_lacks() -> None:
    (difference,) = diff(RUN, capture())
    assert difference.what == "this connection is only in a"


def test_types_matter() -> None:
    one = after_handshake(("C", STATUS), ("S", frame(Result(state(step=1)), 1, end=True)))
    two = after_handshake(("C", STATUS), ("S", frame(Result(state(step=True)), 1, end=True)))
    assert places(diff(one, two)) == [("S", 1, "RESULT head.step")]
