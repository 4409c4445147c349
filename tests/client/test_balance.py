"""Which server takes a call, and whether another one may: for any servers and any misfortune."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire.core import requests
from pixwire.core.balance import Fleet, Journey, Seat, Where, choose, where_next
from pixwire.core.calls import Call, ServerName
from pixwire.core.listing import Listing, Source
from pixwire.errors import (
    ConnectionLost,
    JobNotFound,
    PixwireError,
    QueueFull,
    RequestTimeout,
    job_lost,
    job_not_found,
    request_failed,
)
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobStatus, JobSummary

SERVERS = ("a", "b", "c")
seats = st.lists(
    st.builds(
        Seat,
        index=st.just(0),
        server=st.sampled_from([None, *SERVERS]),
        connected=st.booleans(),
        over=st.booleans(),
        silent=st.booleans(),
        full=st.booleans(),
        outstanding=st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
).map(lambda found: [Seat(index, *_rest(seat)) for index, seat in enumerate(found)])


def _rest(seat: Seat) -> tuple[Any, ...]:
    return seat.server, seat.connected, seat.over, seat.silent, seat.full, seat.outstanding


def submit(job: str = "j") -> Call[JobStatus]:
    return requests.submit(requests.JobOrder(job, "txt2img", b"\x80"))


def status(job: str = "j") -> JobStatus:
    return JobStatus.from_map(
        {"job": job, "kind": "txt2img", "state": "queued", "seq": 1, "attempt": 1, "step": 0, "steps": 4}
    )


def full(retry_after_ms: int = 100) -> PixwireError:
    code = ErrorCode.QUEUE_FULL
    return request_failed(code, code.name, "full", retry="after", processed="no", retry_after_ms=retry_after_ms)


def no_model() -> PixwireError:
    details = {"field": "model", "value": "x", "allowed": "y"}
    return request_failed(ErrorCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "no", processed="no", details=details)


# --- the choice


@given(seats, st.integers(0, 100), st.sampled_from([None, *SERVERS]), st.sets(st.integers(0, 5)))
def test_the_best_of_those_that_will_do(found: list[Seat], turn: int, home: str | None, but: set[int]) -> None:
    fit = [seat for seat in found if not seat.over and seat.index not in but and home in (None, seat.server)]
    chosen = choose(found, turn, home=home, but=but)
    assert (chosen is None) == (not fit)
    if chosen is None:
        return
    assert chosen in fit
    for other in fit:
        if chosen.connected == other.connected and chosen.silent == other.silent and chosen.full == other.full:
            assert chosen.outstanding <= other.outstanding
        assert chosen.connected or not other.connected, "a server that is there comes first"


@given(st.integers(1, 6), st.integers(0, 20))
def test_equal_ones_take_turns(count: int, start: int) -> None:
    equal = [Seat(index, "a") for index in range(count)]
    chosen = [choose(equal, turn) for turn in range(start, start + count)]
    assert sorted(seat.index for seat in chosen if seat is not None) == list(range(count))


@pytest.mark.parametrize(
    ("worse", "better"), [({"silent": True}, {}), ({"full": True}, {}), ({"connected": False}, {})]
)
def test_what_counts_more_than_the_load(worse: dict[str, Any], better: dict[str, Any]) -> None:
    chosen = choose([Seat(0, "a", **worse), Seat(1, "b", outstanding=99, **better)])
    assert chosen is not None
    assert chosen.index == 1


# --- never two jobs

Fate = str
FATES = ("accepted", "full", "no model", "unsent", "maybe", "doubtful, then full", "doubtful, then unsent", "bad")


def suffer(call: Call[Any], fate: Fate, server: str | None) -> BaseException | None:
    """What becomes of an attempt: its error. A shell would leave the call like this."""
    match fate:
        case "accepted":
            call.status, call.known_at = status(), ServerName(server or "?", "e")
            return None
        case "full":
            return full()
        case "no model":
            return no_model()
        case "unsent":
            return ConnectionLost("cut", processed="no")
        case "maybe":
            call.doubtful = True
            return ConnectionLost("cut", processed="maybe")
        case "doubtful, then full":
            call.doubtful = True
            return full()
        case "doubtful, then unsent":
            call.doubtful = True
            return ConnectionLost("the client was closed", processed="no")
    return request_failed(ErrorCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "bad", processed="no")


@given(st.data(), seats, st.booleans())
def test_a_job_is_never_given_to_two_servers(data: st.DataObject, found: list[Seat], mends: bool) -> None:
    """Once a server may have a job, no other one is asked to make it; and it ends some time."""
    journey = Journey(submit(), None, data.draw(st.integers(0, 9)), mends)
    may_have: set[str | int] = set()
    index: int | None = journey.begin(found)
    for _ in range(100):
        assert index is not None
        assert journey.attempt is not None
        server = found[index].server or index
        assert may_have <= {server}, "another server may have it"
        fate = data.draw(st.sampled_from(FATES))
        if fate in ("accepted", "maybe") or "doubtful" in fate:
            may_have.add(server)
        error = suffer(journey.attempt, fate, found[index].server)
        if error is None:
            break
        index = journey.go_on(error, found)
        if index is None:
            assert isinstance(journey.verdict(error), PixwireError)
            break
        assert not found[index].over
    else:
        pytest.fail("it goes round and round")


def test_a_doubt_stays() -> None:
    """The connection broke after the job was sent; another connection to the same server says that it is full now."""
    found = [Seat(0, "a"), Seat(1, "a"), Seat(2, "b")]
    journey = Journey(submit(), None, 0, True)
    assert journey.begin(found) == 0
    assert journey.go_on(ConnectionLost("cut", processed="maybe"), found) == 1
    assert journey.go_on(full(), found) is None


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (full(), Where.OTHER_SERVER),
        (no_model(), Where.OTHER_SERVER),
        (ConnectionLost("cut", processed="no"), Where.ANYWHERE),
        (ConnectionLost("cut", processed="maybe"), Where.SAME_SERVER),
        (job_not_found("no"), Where.NOWHERE),
        (request_failed(ErrorCode.INTERNAL, "INTERNAL", "oh", processed="maybe"), Where.NOWHERE),
    ],
)
def test_where_a_new_job_may_go(error: PixwireError, where: Where) -> None:
    call = submit()
    assert where_next(call.request, call.anew(), error) is where
    accepted = call.anew()
    accepted.status = status()
    assert where_next(call.request, accepted, error) is Where.NOWHERE, "it has a server"


# --- looking for a job


@given(st.data(), st.integers(1, 5))
def test_an_unknown_job_is_looked_for_everywhere(data: st.DataObject, count: int) -> None:
    found = [Seat(index, f"s{data.draw(st.integers(0, 2))}", data.draw(st.booleans())) for index in range(count)]
    has_it = data.draw(st.sampled_from(["s0", "s1", "s2"]))
    journey = Journey(requests.status("j"), None, data.draw(st.integers(0, 9)), True)
    index: int | None = journey.begin(found)
    asked: list[str | None] = []
    while index is not None and found[index].server != has_it:
        asked.append(found[index].server)
        index = journey.go_on(job_not_found("no"), found)
    assert len(set(asked)) == len(asked), "each is asked once"
    exists = any(seat.server == has_it for seat in found)
    assert (index is not None) == exists
    if not exists:
        assert set(asked) == {seat.server for seat in found}, "not found means: all of them said no"
        verdict = journey.verdict(job_not_found("no"))
        assert isinstance(verdict, JobNotFound)
        assert ("none of the servers" in str(verdict)) == (len(asked) > 1)


def test_a_known_job_is_asked_of_its_server_alone() -> None:
    found = [Seat(0, "a", outstanding=0), Seat(1, "b", outstanding=9)]
    journey = Journey(requests.status("j", ServerName("b", "e")), "b", 0, True)
    assert journey.begin(found) == 1
    assert journey.go_on(job_not_found("no"), found) is None
    assert journey.go_on(full(), found) is None


def test_a_job_of_a_server_that_is_not_here_is_looked_for() -> None:
    found = [Seat(0, "a"), Seat(1, "b")]
    journey = Journey(requests.status("j", ServerName("gone", "e")), "gone", 0, True)
    assert journey.begin(found) == 0
    assert journey.attempt is not None
    assert journey.attempt.known_at is None, "this server owes us no knowledge of it"
    assert journey.go_on(job_not_found("no"), found) == 1


def test_a_lost_job_is_lost() -> None:
    found = [Seat(0, "a"), Seat(1, "b")]
    journey = Journey(requests.status("j"), None, 0, True)
    journey.begin(found)
    assert journey.go_on(job_lost("j", "restarted", None), found) is None


# --- the rest


def test_the_shortest_wait_is_told() -> None:
    found = [Seat(0, "a"), Seat(1, "b")]
    journey = Journey(submit(), None, 0, True)
    journey.begin(found)
    assert journey.go_on(full(100), found) == 1
    last = full(9000)
    assert journey.go_on(last, found) is None
    verdict = journey.verdict(last)
    assert isinstance(verdict, QueueFull)
    assert verdict.retry_after_ms == 100


def test_without_mending_a_call_ends_when_nobody_is_there() -> None:
    found = [Seat(0, "a", connected=False), Seat(1, "b", connected=False)]
    lost = ConnectionLost("cut", processed="no")
    for mends, next_one in [(False, None), (True, 0)]:
        journey = Journey(submit(), None, 0, mends)
        journey.begin(found)
        assert journey.go_on(lost, found) == next_one


def test_too_many_pings_make_no_server_full() -> None:
    fleet = Fleet(1)
    ping = requests.ping().anew()
    fleet.began(0, ping)
    limited = request_failed(ErrorCode.RATE_LIMITED, "RATE_LIMITED", "few pings", retry="after", retry_after_ms=5000)
    fleet.ended(0, ping, limited, 0.0)
    assert not fleet.is_full(0, 1.0)


@pytest.mark.parametrize(
    ("error", "doubtful", "home"),
    [
        (None, False, "a"),  # nobody waits for it any more
        (RequestTimeout("submit", 1.0), False, "a"),
        (ConnectionLost("cut", processed="maybe"), False, "a"),
        (ConnectionLost("cut", processed="no"), False, None),
        (full(), False, None),
        (full(), True, "a"),
    ],
)
def test_a_job_that_may_be_somewhere(error: PixwireError | None, doubtful: bool, home: str | None) -> None:
    """The same id, given again, goes where the job may be."""
    fleet = Fleet(2)
    attempt = submit().anew()
    attempt.server, attempt.doubtful = ServerName("a", "e"), doubtful
    fleet.began(0, attempt)
    fleet.ended(0, attempt, error, 0.0)
    assert fleet.home_of(submit()) == home


def test_a_job_whose_server_is_lost_goes_to_no_other() -> None:
    found = [Seat(0, "a", over=True), Seat(1, "b")]
    for turn in range(2):
        assert Journey(submit(), "a", turn, True).begin(found) == 0


def test_what_a_fleet_remembers() -> None:
    fleet = Fleet(2)
    call = submit("mine").anew()
    fleet.began(0, call)
    assert (fleet.outstanding(0), fleet.outstanding(1)) == (1, 0)
    call.known_at = ServerName("a", "e")
    fleet.ended(0, call, full(2000), 10.0)
    assert fleet.outstanding(0) == 0
    assert fleet.is_full(0, 11.9)
    assert not fleet.is_full(0, 12.0)
    assert not fleet.is_full(1, 11.0)
    assert fleet.home_of(requests.status("mine")) == "a"
    assert fleet.home_of(requests.status("other")) is None
    assert fleet.home_of(requests.status("mine", ServerName("b", "e"))) == "b"
    assert fleet.home_of(submit("mine")) == "a", "elsewhere it would be made a second time"
    assert fleet.home_of(submit("other")) is None
    fleet.began(1, call)
    fleet.forget_calls()
    assert fleet.outstanding(1) == 0


@given(st.lists(st.lists(st.integers(0, 1000), max_size=8), min_size=1, max_size=3), st.none() | st.integers(0, 10))
def test_lists_are_merged(servers: list[list[int]], limit: int | None) -> None:
    """Newest first, each job once, no more than wanted, whatever the pages are."""
    shelves = {str(number): sorted(ages) for number, ages in enumerate(servers)}
    listing = Listing(tuple(shelves), limit, (), None)
    told: list[int] = []
    while (found := listing.next()) is not None:
        if isinstance(found, Source):
            asked = listing.request(found)
            assert asked.home == found.home
            start = int(found.after or 0)
            ages = shelves[str(found.home)][start : start + 3]
            more = str(start + 3) if start + 3 < len(shelves[str(found.home)]) else None
            listing.feed(found, requests.JobPage(tuple(summary(age) for age in ages), more))
        else:
            told.append(found.age_ms)
    everything = sorted(age for ages in servers for age in ages)
    assert told == everything[:limit]


def summary(age: int) -> JobSummary:
    return JobSummary.from_map(
        {"job": f"j{age}", "kind": "txt2img", "state": "queued", "seq": 1, "step": 0, "steps": 4, "artifacts": 0}
        | {"age_ms": age}
    )
