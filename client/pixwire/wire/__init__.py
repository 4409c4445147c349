"""`pixwire wire`: tools for people who look at the bytes of PXW/1 (SPEC.md) themselves.

    pure    annotate (bytes -> frames with offsets), shown (frames -> JSON and text), build (JSON -> frames),
            capture and pcap (files -> connections), lint, diff, faults
    I/O     transport (one raw byte stream to a server), talk (handshake and frames on it), proxy
    shell   cli and the command_* modules

Nothing here uses the client library's session: no reconnecting, no hidden requests. Needs the extra `cli`.
"""
