"""`decode`: bytes from anywhere, annotated."""

from typing import Any

from ..annotate import Annotator, Broken, Incomplete, Item, SeenFrame, Side
from ..capture import Capture, CaptureError, Chunk, Connection, Mark
from ..errors import InputError
from ..load import Kind, as_capture, read_input
from ..screen import Screen

_NAMES = {"C": "client", "S": "server"}


def decode(sources: list[str], kind: Kind, side: Side, port: int | None, screen: Screen) -> int:
    """Prints every frame of every source; 1 when bytes stopped making sense somewhere."""
    worst = 0
    inputs = _inputs(sources)
    for source, data in inputs:
        if len(inputs) > 1:
            screen.say(f"{source}:")
        with screen.busy(f"reading {source}"):
            capture, problem = _read(data, kind, side, port)
        worst = max(worst, show(capture, screen))
        if problem is not None:
            raise problem
    return worst


def _inputs(sources: list[str]) -> list[tuple[str, bytes]]:
    """Hex on the command line may come in several arguments; everything else is a file, or `-`."""
    joined = "".join(sources)
    if sources != ["-"] and all(set(source) <= set("0123456789abcdefABCDEFx,: ") for source in sources):
        return [("hex", joined.encode())]
    return [(source, read_input(source)) for source in sources]


def _read(data: bytes, kind: Kind, side: Side, port: int | None) -> tuple[Capture, InputError | None]:
    """What can be read, and what is wrong behind it."""
    try:
        return as_capture(data, kind, side=side, port=port), None
    except CaptureError as error:
        return error.readable, error


def show(capture: Capture, screen: Screen) -> int:
    """Prints a capture in the order in which it happened; 1 when bytes stopped making sense."""
    connections = capture.connections()
    many = len(connections) > 1
    found = 0
    for connection in connections:
        found = max(found, _show_connection(connection, screen, connection.id if many else None))
    return found


def _show_connection(connection: Connection, screen: Screen, number: int | None) -> int:
    annotators: dict[Side, Annotator] = {"C": Annotator("C"), "S": Annotator("S")}
    sides = {record.side for record in connection.records if isinstance(record, Chunk)}
    bad = False
    for record in connection.records:
        if isinstance(record, Mark):
            _show_mark(record, screen, number)
            continue
        for item in annotators[record.side].feed(record.data):
            bad |= _show_item(item, record.side if len(sides) > 1 else _guess_side(item, record.side), screen, number)
    for side, annotator in annotators.items():
        for item in annotator.end():
            bad |= _show_item(item, side, screen, number)
    return int(bad)


def _guess_side(item: Item, side: Side) -> Side:
    """Hex alone does not say who sent it; some messages do."""
    sender = item.spec.sender if isinstance(item, SeenFrame) and item.spec is not None else "both"
    senders: dict[str, Side] = {"client": "C", "server": "S"}
    return senders.get(sender, side)


def _show_item(item: Item, side: Side, screen: Screen, number: int | None) -> bool:
    screen.item(item, side, conn=number)
    return isinstance(item, Broken | Incomplete)


def _show_mark(mark: Mark, screen: Screen, number: int | None) -> None:
    if screen.as_json:
        screen.json(mark_map(mark))
        return
    who = f" by the {_NAMES[mark.side]}" if mark.side else ""
    detail = f": {mark.detail}" if mark.detail else ""
    prefix = "" if number is None else f"#{number} "
    screen.say(f"{prefix}{'':9}  -- {mark.event}{who}{detail}", "yellow")


def mark_map(mark: Mark) -> dict[str, Any]:
    """The JSON of an event of a capture."""
    return {"item": "event", "conn": mark.conn, "event": mark.event, "from": mark.side, "detail": mark.detail}
