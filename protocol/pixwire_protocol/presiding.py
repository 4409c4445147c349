"""What a Connection sends about itself, on stream 0 (SPEC 6, 12): AUTH and AUTH_OK, PING, GOAWAY.

As in sending.py, illegal calls raise LocalProtocolError and change nothing; calls on a connection that is over do
nothing and return False.
"""

from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import Auth, AuthOk, Encoded, Ping, Welcome, clip, encode
from pixwire_protocol.receiving import Receiving
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.states import Input, Role, State


class Presiding:
    """The half of Sending that concerns no stream. No constructor of its own."""

    _role: Role
    _machine: Machine
    _receiving: Receiving

    def authenticate(self, mechanism: str, token: str) -> bool:
        """Client: say who you are (SPEC 6), after AuthNeeded and again later, before the proof expires.

        The answer is Received(0, AuthOk), the first time followed by Ready. The server refuses with GOAWAY AUTH_FAILED.

        Raises LocalProtocolError for a mechanism that the server did not name, or while an AUTH waits for its answer;
        its text never has the token. False when the connection is over.
        """
        machine = self._machine
        if machine.over:
            return False
        offered = machine.peer.auth if isinstance(machine.peer, Welcome) else ()
        if mechanism not in offered:
            known = ", ".join(offered) or "none"
            raise LocalProtocolError(f"the server takes no AUTH {mechanism!r:.40}; its mechanisms: {known} (SPEC 6)")
        if machine.auth_pending:
            raise LocalProtocolError("an AUTH waits for its answer (SPEC 6)")
        frame = machine.encode(Auth(mechanism, token))
        machine.local(Input.SEND_AUTH)
        machine.auth_pending = True
        return self._control(frame)

    def accept_auth(self, principal: str, *, expires_ms: int | None = None, roles: tuple[str, ...] = ()) -> bool:
        """Server: the AUTH received last is right (SPEC 6). The first one makes the connection READY.

        expires_ms is told to the client; keeping it is the program's business (goaway(AUTH_EXPIRED)). roles replace
        those of before. When principal is another one than before, the connection fails with AUTH_FAILED. To refuse an
        AUTH: goaway(AUTH_FAILED), close.
        Raises LocalProtocolError when no AUTH waits. False when the connection is over.
        """
        machine = self._machine
        if machine.over:
            return False
        if not machine.auth_pending or self._role is Role.CLIENT:
            raise LocalProtocolError("no AUTH waits for an answer (SPEC 6)")
        frame = machine.encode(AuthOk(principal, expires_ms, roles))
        if machine.principal not in (None, principal):
            problem = "these credentials belong to another principal than the connection (SPEC 6)"
            machine.fail(RemoteProtocolError(ErrorCode.AUTH_FAILED, problem))
            return False
        machine.local(Input.SEND_AUTH_OK)
        machine.auth_pending, machine.authenticated = False, True
        machine.principal = principal
        machine.roles = roles
        self._receiving.be_ready()
        return self._control(frame)

    def ping(self, payload: bytes) -> bool:
        """Send PING with 8 bytes; the answer is Received(0, Pong(payload)). False when the connection is over."""
        if self._machine.over:
            return False
        frame = self._machine.encode(Ping(bytes(payload)))
        self._machine.local(Input.SEND_PING)
        return self._control(frame)

    def goaway(
        self,
        code: int = ErrorCode.NO_ERROR,
        message: str = "",
        *,
        last_stream: int | None = None,
        grace_ms: int | None = None,
        reconnect_after_ms: int | None = None,
    ) -> bool:
        """Announce the end (SPEC 12). Streams above last_stream are refused (default: everything seen goes on).

        A drain has two steps: last_stream=2**31-1 ("open no more"), and after a round trip the true value (leave it
        out). With any other code than NO_ERROR and DRAINING the connection is over: what had not left is dropped, and
        this GOAWAY is the last thing sent. Before the handshake is done it refuses the connection in the same way,
        whatever the code: a server's waits for the client's preface, a client's is not sent. False when the connection
        is over.
        """
        machine = self._machine
        if machine.over:
            return False
        message = clip(message)
        goaway = machine.goaway(code, message, last_stream, grace_ms=grace_ms, reconnect_after_ms=reconnect_after_ms)
        frame = machine.encode(goaway)
        machine.goaway_sent = goaway
        if machine.state is State.START and self._role is Role.SERVER:
            return True  # sent when the preface has shown that somebody there understands it
        possible = Input.SEND_GOAWAY in machine.inputs
        if not possible or code not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING):
            machine.end(b"".join(encode(goaway)) if possible or self._role is Role.SERVER else b"")
            return True
        machine.local(Input.SEND_GOAWAY)
        return self._control(frame)

    # ------------------------------------------------------------------ helpers

    def _control(self, frame: Encoded) -> bool:
        """Queue a control frame; when the peer reads nothing and too many wait, the connection fails."""
        try:
            self._machine.outbox.control(frame)
        except RemoteProtocolError as error:
            self._machine.fail(error)
            return False
        return True
