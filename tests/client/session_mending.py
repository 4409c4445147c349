"""Sessions whose connections break, in memory: what the tests of reconnecting share."""

from typing import Any

from session_pair import Pair, artifact

from pixwire.core.calls import Call
from pixwire_protocol import messages

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 4000  # a million bytes: several windows


def mending(**more: Any) -> Pair:
    return Pair(mend=True, idle_ms=3_600_000, **more)


def reconnect(pair: Pair) -> None:
    """The connection breaks, and another one is made as soon as the client wants to."""
    before = len(pair.dials)
    pair.lose()
    pair.advance(10.0)
    assert len(pair.dials) == before + 1
    assert pair.channel is not None


def only(pair: Pair) -> tuple[int, Any]:
    """The one request on the present connection."""
    ((stream, request),) = pair.requests.items()
    return stream, request


def announce(pair: Pair, stream: int, index: int, data: bytes, offset: int = 0, **more: Any) -> None:
    head = {"job": "j", "offset": offset, "length": len(data) - offset, **artifact(index, data), **more}
    pair.server.send(stream, messages.Result(head))


def half_an_image(pair: Pair, call: Call[Any], *, images: int = 1, filled: int = 5000) -> None:
    """A generate call whose last image but `images` - 1 has come up to byte `filled`."""
    stream, request = only(pair)
    infos = [artifact(index, BIG) for index in range(images)]
    if isinstance(request, messages.Submit):
        pair.answer(stream, "succeeded", artifacts=infos)
    announce(pair, stream, 0, BIG)
    pair.server.send_data(stream, memoryview(BIG)[:filled], False)
    pair.pump()
    assert call.filling is not None
    assert call.filling.filled == filled
