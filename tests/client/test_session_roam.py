"""A session that is one of several: it never gives up, knows when its server is silent, lets go of what never left."""

from session_pair import Pair, generate

from pixwire.core import requests
from pixwire.core.channel import Channel
from pixwire.core.policy import Policy
from pixwire.core.session import ClientSession
from pixwire.core.updates import Dial, Unreached
from pixwire.errors import ConnectionLost
from pixwire_protocol.settings import Settings


def persistent() -> ClientSession:
    policy = Policy(persistent=True, probe=10.0)
    return ClientSession(Settings(agent="client"), policy, lambda: 0.5)


def test_the_first_connection_is_tried_again() -> None:
    session = persistent()
    (dial,) = session.start(0.0)
    for attempt in range(3):
        assert isinstance(dial, Dial)
        updates = session.lose(dial.channel, f"refused {attempt}", 1.0)
        assert Unreached(f"refused {attempt}") in updates
        assert session.over is None
        due = session.next_deadline(1.0)
        assert due is not None
        (dial,) = session.handle_timeout(due)
    updates = session.lose(dial.channel, "another protocol", 99.0, final=True)
    assert session.over is not None, "what can never work is given up"


def test_what_never_left_is_recalled() -> None:
    pair = Pair(mend=True)
    roaming, staying = generate("a"), generate("b")
    roaming.roams = True
    pair.lose()
    pair.begin(roaming, None)
    pair.begin(staying, None)
    pair.heard(pair.session.recall(pair.now))
    assert isinstance(roaming.error, ConnectionLost)
    assert roaming.error.processed == "no"
    assert not staying.done


def test_what_was_sent_once_stays() -> None:
    pair = Pair(mend=True)
    sent = generate("a")
    sent.roams = True
    pair.begin(sent, None)
    pair.to_server()
    pair.lose()
    pair.heard(pair.session.recall(pair.now))
    assert not sent.done, "the server may have taken it"
    assert sent.doubtful


def test_nothing_is_recalled_while_there_is_a_connection() -> None:
    pair = Pair(mend=True)
    call = generate("a")
    call.roams = True
    pair.begin(call, None)
    pair.heard(pair.session.recall(pair.now))
    assert not call.done


def test_a_silent_server_is_asked_and_noticed() -> None:
    """After ten seconds without a byte a PING goes out; a second later the server counts as silent, until it speaks."""
    pair = Pair(ready=False)
    channel = pair.channel
    assert isinstance(channel, Channel)
    channel.liveness._probe = 10.0
    pair.pump()
    assert not pair.session.silent(pair.now)
    assert pair.session.next_deadline(pair.now) == 10.0
    pair.heard(pair.session.handle_timeout(10.0))
    assert not pair.session.silent(11.0)
    assert pair.session.silent(11.1)
    pair.now = 12.0
    pair.pump()  # the PONG
    assert not pair.session.silent(14.0)
    assert pair.session.next_deadline(12.0) == 22.0


def test_an_attempt_begins_from_the_beginning() -> None:
    call = requests.status("j")
    call.home = "here"
    fresh = call.anew()
    assert (fresh.operation, fresh.request, fresh.job, fresh.home) == ("status", call.request, "j", "here")
    assert fresh is not call
    assert not fresh.done
