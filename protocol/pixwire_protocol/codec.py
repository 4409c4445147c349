"""From the head and tail of a frame to the fields of a message and back (SPEC 5, 8): one Codec per message class.

Knows the registry's fields and no message in particular; messages.py has the classes and the frames around them.
"""

from typing import Any, Final

from pixwire_protocol.attachments import Problem
from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.fields import Field, make_field, show
from pixwire_protocol.header import Buffer
from pixwire_protocol.heads import BODIES, MESSAGES, MessageSpec
from pixwire_protocol.profile import Map, pack_checked, pack_map, unpack_map
from pixwire_protocol.registry import ErrorCode, Flag

_BODIES_OF: Final = {
    "RESULT": ("status", "announcement", "list", "admin", "overview"),
    "EVENT": ("status", "progress"),
}
"""Which maps a message can be: what `crit` may name there are the keys of any of them (SPEC 13)."""
DATA_TYPE: Final = MESSAGES["DATA"].type
REMEMBERED: Final = 1024
"""Messages of one type that are remembered with their heads, when it has but one field: a job is asked for again and
again, and CREDIT is always for the same amount. All are forgotten when one more comes.
"""
_SHORT: Final = 128
"""Bytes of a head that is remembered, at most."""


class Codec:
    """Everything the wire needs to know about one message class: header bits, fields, and who is to blame (SPEC 8)."""

    __slots__ = (
        "_heads",
        "_messages",
        "_only",
        "_only_kind",
        "ack",
        "cls",
        "fields",
        "has_body",
        "has_head",
        "has_map",
        "has_tail",
        "known",
        "order",
        "received",
        "required",
        "spec",
        "type",
    )

    def __init__(self, cls: type, spec: MessageSpec) -> None:
        self.cls = cls
        self.spec = spec
        self.type = spec.type
        self.ack = Flag.ACK if spec.ack else 0
        self.has_head = spec.head == "map"
        self.has_tail = spec.tail != "none"
        self.has_body = spec.body
        self.has_map = any(item.type == "map" for item in spec.fields)
        self.fields: dict[str, Field] = {item.name: make_field(item, spec.sender) for item in spec.fields}
        self.received = {name: (item.kind, item.check, item.convert) for name, item in self.fields.items()}
        # Unpacked for every message sent: a global, an attribute and a needless comparison cost 10 to 40 ns each.
        self.order = tuple(
            (name, None if item.spec.required else item.spec.default, item.plain, item.kind, item.check, item)
            for name, item in self.fields.items()
        )
        self.required = tuple(item.name for item in spec.fields if item.required)
        self.known = frozenset(self.fields).union(*(BODIES[name] for name in _BODIES_OF.get(spec.name, ())))

        only = len(spec.fields) == 1 and spec.tail == "none"
        self._only = spec.fields[0].name if only else ""
        self._only_kind = self.fields[self._only].kind if only else None
        self._messages: dict[bytes, Any] = {}
        self._heads: dict[Any, bytes] = {}

    def decode(self, head: bytes, tail: Buffer, stream: int) -> Any:
        """The message in a frame of this type; the header was checked. Raises RemoteProtocolError."""
        if self._only and (known_message := self._messages.get(head)) is not None:
            return known_message
        if not self.has_head:
            return self.cls(bytes(tail) if self.spec.tail == "eight" else tail)
        values = unpack_map(head)
        if "crit" in values and (critical := values.pop("crit")) is not None:
            self._check_critical(critical, stream)
        if self.has_body:
            return self.cls(values)
        received = self.received
        known: Map = {}
        for name, value in values.items():
            if value is None or name not in received:
                continue
            kind, check, convert = received[name]
            if type(value) is not kind or not check(value):
                raise self._wrong(self.fields[name], value, stream)
            known[name] = value if convert is None else convert(value)
        if self.has_tail:
            known["tail"] = tail
        try:
            message = self.cls(**known)
        except TypeError:  # the classes have a default for every field that is not required
            missing = [name for name in self.required if name not in known]
            if not missing:
                raise
            problem = missing[0], None, self.fields[missing[0]].allowed
            raise self._fault(f"{missing[0]} is missing", stream, problem) from None
        if self._only and len(head) <= _SHORT:
            _remember(self._messages, head, message)
        return message

    def encode(self, message: Any) -> tuple[bytes, Buffer]:
        """Head and tail of a message. Raises LocalProtocolError naming the field that cannot be sent."""
        if not self.has_head:
            payload: Buffer = message.tail if self.type == DATA_TYPE else message.payload
            if self.spec.tail == "eight" and len(payload) != 8:
                raise LocalProtocolError(f"{self.spec.name}: payload must be 8 bytes, not {len(payload)}")
            return b"", payload
        if self.has_body:
            head = pack_map(message.body)
        elif self._only:
            head = self._only_head(message)
        elif self.has_map:
            head = pack_map(self._head(message))
        else:
            head = pack_checked(self._head(message))
        return head, message.tail if self.has_tail else b""

    def _only_head(self, message: Any) -> bytes:
        """The head of a message with one field."""
        value = getattr(message, self._only)
        if type(value) is not self._only_kind:  # true and 1.0 are as good as 1 in a dict, but not here
            return pack_checked(self._head(message))
        head = self._heads.get(value)
        if head is None:
            head = pack_checked(self._head(message))
            _remember(self._heads, value, head)
        return head

    def _head(self, message: Any) -> Map:
        head: Map = {}
        for name, default, plain, kind, check, item in self.order:
            value = getattr(message, name)
            if value is default or value is None or (default is not None and value == default):
                continue
            if type(value) is not plain:
                value = item.prepare(value)
            if type(value) is not kind or not check(value):
                raise LocalProtocolError(f"{self.spec.name}: {item.sentence(item.problem(value))}")
            head[name] = value
        return head

    def _check_critical(self, names: Any, stream: int) -> None:
        """SPEC 13: keys listed in crit must be understood; all others may be ignored."""
        if type(names) is not list or not all(type(name) is str for name in names):
            allowed = "an array of strings"
            raise self._fault(f"crit must be {allowed}", stream, ("crit", names, allowed))
        unknown = [name for name in names if name not in self.known]
        if unknown:
            listed = ", ".join(show(name) for name in unknown[:4])
            problem = f"{self.spec.name}: crit names fields that are not understood here: {listed}"
            raise RemoteProtocolError(ErrorCode.UNKNOWN_CRITICAL, problem, stream or None, {"field": "crit"})

    def _wrong(self, item: Field, value: Any, stream: int) -> RemoteProtocolError:
        problem = item.problem(value)
        return self._fault(item.sentence(problem), stream, problem)

    def _fault(self, sentence: str, stream: int, problem: Problem) -> RemoteProtocolError:
        """A wrong field costs a request its stream, and any other message the connection."""
        message = f"{self.spec.name}: {sentence}"
        if self.spec.fault == "connection":
            return RemoteProtocolError(ErrorCode.BAD_HEAD, message)
        name, value, allowed = problem
        details = {"field": name, "value": show(value), "allowed": allowed}
        return RemoteProtocolError(ErrorCode.INVALID_ARGUMENT, message, stream, details)


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[key] = value
