"""PXW/1 without I/O: the protocol between pixwire clients and servers, described in SPEC.md.

    connection  Connection: bytes <-> messages, both roles      messages   the messages and their bytes
    params      parameters of a job                              status     job status
    keepalive   when to ping and when to give up                 registry   every number of the wire
    errors      ProtocolError and its children                   job_ids, grease, limits, settings, states

Imports the standard library and msgpack; opens no socket, reads no clock, draws no random numbers.
"""

from pixwire_protocol.connection import Closed, Connection, Failed, Incoming, Ready, Received, Role, Settings, State
from pixwire_protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from pixwire_protocol.registry import ErrorCode, Flag, FrameType

__all__ = [
    "Closed",
    "Connection",
    "ErrorCode",
    "Failed",
    "Flag",
    "FrameType",
    "Incoming",
    "LocalProtocolError",
    "ProtocolError",
    "Ready",
    "Received",
    "RemoteProtocolError",
    "Role",
    "Settings",
    "State",
]
