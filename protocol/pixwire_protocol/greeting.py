"""The first words of both sides (SPEC 2, 6): preface, HELLO and WELCOME, made from the settings."""

from pixwire_protocol.errors import MessageTooLargeError
from pixwire_protocol.limits import default
from pixwire_protocol.messages import CODECS, Hello, Welcome, encode, encode_raw
from pixwire_protocol.profile import pack_map, unpack_map
from pixwire_protocol.registry import HEADER_SIZE, MAGIC, MAJOR
from pixwire_protocol.settings import Settings


def make_preface() -> bytes:
    """Our preface: the range of versions we speak, two reserved bytes."""
    return MAGIC + bytes((MAJOR, MAJOR, 0, 0))


def make_hello(settings: Settings) -> bytes:
    """Preface and HELLO of a client, with the settings' grease. LocalProtocolError when they cannot be sent."""
    grease = settings.grease
    if grease is None:
        return make_preface() + _checked(b"".join(encode(Hello(settings.agent, settings.features, settings.limits))))
    hello = Hello(settings.agent, (*settings.features, grease.feature), settings.limits)
    head = unpack_map(CODECS["HELLO"].encode(hello)[0]) | {grease.key: grease.value}
    return make_preface() + _checked(encode_raw(hello, pack_map(head)))


def make_welcome(settings: Settings, features: tuple[str, ...]) -> Welcome:
    """WELCOME of a server with these active features."""
    return Welcome(
        agent=settings.agent,
        server_id=settings.server_id,
        epoch=settings.epoch,
        features=features,
        durable=settings.durable,
        limits=settings.limits,
        auth=settings.auth,
        principal=settings.principal,
        roles=settings.roles,
    )


def check_welcome(settings: Settings) -> None:
    """LocalProtocolError when the longest WELCOME these settings may need cannot be sent: before anybody connects."""
    _checked(b"".join(encode(make_welcome(settings, settings.features))))


def _checked(frame: bytes) -> bytes:
    limit = default("handshake_max_frame")
    if len(frame) - HEADER_SIZE > limit:
        problem = f"HELLO or WELCOME of {len(frame) - HEADER_SIZE} bytes exceeds {limit} (SPEC 6)"
        raise MessageTooLargeError(f"{problem}; shorten agent, features or principal")
    return frame
