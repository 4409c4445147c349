"""The transition tables as SPEC.md shows them: diagrams for the eye, tables to look things up. For spec_tables.py."""

from collections.abc import Iterable, Mapping

from pixwire_protocol.states import CONNECTION, STREAMS, UPLOAD, Input, State
from pixwire_protocol.status import JOB_TRANSITIONS, JobState
from spec_markdown import code, diagram, grid


def job_states() -> str:
    """The life of a job: a diagram, and the same as a table."""
    arrows = ["    [*] --> queued"]
    arrows += [f"    {state} --> {after}" for state, row in JOB_TRANSITIONS.items() for after in inorder(row)]
    arrows += [f"    {state} --> [*]" for state in JobState if state.terminal]
    rows = [[code(state), ", ".join(map(code, inorder(row))) or "(terminal)"] for state, row in JOB_TRANSITIONS.items()]
    return diagram(arrows) + "\n" + grid(["state", "may be followed by"], rows)


# What the inputs of the transition tables are called in the document.
INPUTS = {
    "AUTH_NEEDED": "HELLO and WELCOME exchanged, `auth` not empty",
    "SEND_DATA": "PONG, CREDIT, RESET, or DATA of an upload sent",
    "RECV_ERROR": "ERROR on stream 0 received",
    "RECV_REQUEST": "request received",
    "RECV_STREAM": "other stream frame received",
    "RECV_EXTENSION": "unknown type received",
    "RECV_EOF": "end of byte stream",
    "SEND_REQUEST": "request sent",
    "SEND_REPLY": "PONG, CREDIT, or other stream frame sent",
    "FAIL": "connection error detected",
}
STREAM_TITLES = {
    "UNARY": "plain: STATUS, CANCEL, LIST, ADMIN, SUBMIT without `watch` and `deliver`",
    "WATCH": "watched: WATCH, SUBMIT with `watch` or `deliver`",
    "TRANSFER": "fetched: FETCH",
}
UPLOADS = {
    "DATA": "DATA",
    "DATA_END": "DATA with END",
    "RESULT": "the server's RESULT",
    "LATE": "DATA that crossed the RESULT: the server ignores it",
}


def spoken(name: str) -> str:
    """An input in words: RECV_PING -> PING received."""
    verb, _, rest = name.partition("_")
    return INPUTS.get(name) or f"{rest} {'received' if verb == 'RECV' else 'sent'}"


def connection_states() -> str:
    """Per role: the changes of state as a diagram, and what is legal where as a table."""
    return "\n".join(f"{role.value.capitalize()}:\n\n{one_role(table)}" for role, table in CONNECTION.items())


def one_role(table: Mapping[State, Mapping[Input, State]]) -> str:
    labels: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for event, after in row.items():
            if after is not state:
                labels.setdefault((state.name, after.name), []).append(spoken(event.name))
    arrows = ["    [*] --> START"]
    arrows += [f"    {before} --> {after}: {', '.join(words)}" for (before, after), words in labels.items()]
    states = [state for state, row in table.items() if row]
    used = [event for event in Input if any(event in row for row in table.values())]
    rows = [
        [spoken(event.name), *(table[state][event].name if event in table[state] else "" for state in states)]
        for event in used
    ]
    return diagram(arrows) + "\n" + grid(["", *(state.name for state in states)], rows)


def stream_states() -> str:
    """Per kind of request: what the server may send in which state of the stream."""
    parts = []
    for kind, table in STREAMS.items():
        rows = []
        for state, row in table.items():
            for event, after in row.items():
                rows.append([state.name, event.name.replace("_END", " with END"), after.name])
        parts.append(f"{STREAM_TITLES[kind.name]}\n\n" + grid(["state", "the server sends", "then"], rows))
    return "\n".join(parts)


def upload_states() -> str:
    """What a client may do on the stream of a SUBMIT with attachments: a diagram, and the same as a table."""
    arrows, rows = ["    [*] --> SENDING: SUBMIT with attachments"], []
    for state, row in UPLOAD.items():
        for event, after in row.items():
            arrows.append(f"    {state.name} --> {after.name}: {UPLOADS[event.name].partition(':')[0]}")
            rows.append([state.name, UPLOADS[event.name], after.name])
        arrows.append(f"    {state.name} --> [*]: ERROR or RESET, of either side")
        rows.append([state.name, "ERROR or RESET, of either side", "the stream is over"])
    return diagram(arrows) + "\n" + grid(["state", "happens", "then"], rows)


def inorder(states: Iterable[JobState]) -> list[JobState]:
    """Sets have no order; the enumeration has."""
    return sorted(states, key=list(JobState).index)
