"""PXW/1 without I/O: the protocol between pixwire clients and servers, described in SPEC.md.

    connection  Connection: bytes <-> messages, both roles      messages   the messages and their bytes
    params      kinds of job and their parameters                status     job status, lists of jobs and models
    attachments files that belong to a job                       rates      what a client may do per second
    keepalive   when to ping and when to give up                 registry   every number of the wire
    errors      ProtocolError and its children                   job_ids, grease, limits, settings, states, texts

Import the module you need: this one loads none of them. Nothing but the standard library and msgpack is imported; no
socket is opened, no clock read, no random number drawn.
"""
