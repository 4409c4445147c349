"""`connect`: the handshake, and everything a server tells in it."""

import os
import time
from typing import Any

from pixwire_protocol.messages import Ping, encode
from pixwire_protocol.registry import LIMITS

from ...cli.exits import printable
from ..annotate import SeenFrame
from ..errors import WireError
from ..screen import Screen
from ..talk import Greeting, Talk, TalkOptions, say_goodbye
from ..transport import TlsFacts


async def connect(options: TalkOptions, screen: Screen) -> int:
    """Connects, prints what there is to know, says goodbye."""
    with screen.busy(f"connecting to {options.url}"):
        async with await Talk.connect(options) as talk:
            if talk.greeting is None:
                raise WireError("the handshake told nothing")
            rtt = await round_trip(talk) if talk.greeting.ready else None
            await say_goodbye(talk)
    found = facts(talk, talk.greeting, rtt)
    if screen.as_json:
        screen.json(found)
    else:
        screen.say("\n".join(_lines(talk, talk.greeting, found)))
    return 0


async def round_trip(talk: Talk) -> float:
    """Milliseconds of one PING. Raises WireError when the connection ends instead."""
    payload = os.urandom(8)
    start = time.perf_counter()
    await talk.send(b"".join(map(bytes, encode(Ping(payload)))))
    async for item in talk.items():
        if isinstance(item, SeenFrame) and item.name == "PONG" and item.tail == payload:
            return (time.perf_counter() - start) * 1000
    raise WireError("the server closed the connection instead of answering a PING")


def facts(talk: Talk, greeting: Greeting, rtt: float | None) -> dict[str, Any]:
    """The JSON of `connect`."""
    welcome = greeting.welcome
    return {
        "url": talk.wire.target.url,
        "agent": welcome.agent,
        "server_id": welcome.server_id,
        "epoch": welcome.epoch,
        "durable": welcome.durable,
        "auth": list(welcome.auth),
        "authenticated": greeting.authenticated,
        "principal": greeting.principal,
        "roles": list(greeting.roles),
        "features": list(welcome.features),
        "limits": {name: getattr(welcome.limits, name) for name in type(welcome.limits).__dataclass_fields__},
        "tls": None if talk.wire.tls is None else talk.wire.tls.to_map(),
        "connect_ms": round(talk.wire.connect_ms, 3),
        "handshake_ms": round(greeting.handshake_ms, 3),
        "rtt_ms": None if rtt is None else round(rtt, 3),
    }


def _lines(talk: Talk, greeting: Greeting, found: dict[str, Any]) -> list[str]:
    welcome = greeting.welcome
    rtt = "" if found["rtt_ms"] is None else f", round trip {found['rtt_ms']:.1f} ms"
    times = f"connected in {found['connect_ms']:.1f} ms, handshake {found['handshake_ms']:.1f} ms{rtt}"
    rows = [
        ("server", f"{welcome.agent}, id {welcome.server_id}, epoch {welcome.epoch}, durable {welcome.durable}"),
        ("auth", _auth(greeting)),
        ("transport", _transport(talk)),
        *(("", line) for line in ([] if talk.wire.tls is None else certificate_lines(talk.wire.tls))),
        ("features", ", ".join(welcome.features) or "none"),
    ]
    rows += [("limits" if not index else "", line) for index, line in enumerate(_limits(found["limits"]))]
    return [f"{talk.wire.target.url}: {times}", *(f"  {name:<10} {printable(text)}" for name, text in rows)]


def _auth(greeting: Greeting) -> str:
    whose = f"principal {greeting.principal}" if greeting.principal else "no principal told"
    whose += f", roles {', '.join(greeting.roles)}" if greeting.roles else ""
    if not greeting.welcome.auth:
        return f"none needed, {whose}"
    needed = f"needed ({', '.join(greeting.welcome.auth)})"
    if not greeting.ready:
        return f"{needed}; no token was given (--token-file, PIXWIRE_TOKEN)"
    return f"{needed}, accepted, {whose}"


def _transport(talk: Talk) -> str:
    facts = talk.wire.tls
    if facts is None:
        return "Unix socket" if talk.wire.target.path else "TCP, cleartext"
    return f"TCP, {facts.version} {facts.cipher} ({facts.bits} bits), ALPN {facts.alpn or 'none'}"


def certificate_lines(facts: TlsFacts) -> list[str]:
    """A server's certificate in words."""
    if not facts.verified:
        return [f"certificate NOT verified, sha256 {facts.fingerprint}"]
    return [
        f"certificate trusted: {facts.subject or 'no subject'}, issued by {facts.issuer or '?'}",
        f"for {', '.join(facts.names) or 'no name'}, until {facts.not_after}, sha256 {facts.fingerprint}",
    ]


def _limits(limits: dict[str, int]) -> list[str]:
    wide = max(map(len, limits))
    return [f"{name:<{wide}}  {value:>14,} {LIMITS[name].unit}" for name, value in limits.items()]
