"""The client's costs: known figures in, the right tables and ratios out; and the parts work on a real server."""

import socket
import threading
from pathlib import Path

import pytest
from benchmarks import processes
from benchmarks.client import __main__ as costs
from benchmarks.client import idle, imports
from benchmarks.client.bare import Asker
from benchmarks.client.compared import BARE, COMPARED
from benchmarks.measure import Summary
from benchmarks.transport.clients.frames import status_frame
from benchmarks.transport.stage import Setting, Stage

from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.incoming import Received
from pixwire_protocol.messages import Result


def test_ratios_are_taken_over_the_floor_of_the_same_kind() -> None:
    figures = {
        f"{costs.ONE_STATUS}|bare frames, asyncio": [(10.0, 1.0), (20.0, 2.0)],
        f"{costs.ONE_STATUS}|bare frames, blocking": [(5.0, 1.0), (5.0, 1.0)],
        f"{costs.ONE_STATUS}|pixwire asyncio": [(20.0, 4.0), (60.0, 4.0)],
        f"{costs.ONE_STATUS}|pixwire sync": [(20.0, 3.0), (20.0, 5.0)],
        f"{costs.IMPORTING}|{imports.BARE}": [(10.0, 0.0), (10.0, 0.0)],
        f"{costs.IMPORTING}|pixwire": [(15.0, 0.0), (25.0, 0.0)],
    }
    rounds = {
        name: [{"p50_us": a, "client_cpu_us": b, "cpu_ms": a, "count": 9.0} for a, b in pairs]
        for name, pairs in figures.items()
    }
    found = costs.ratios(rounds)
    assert found["round trip over bare frames"]["pixwire asyncio"] == Summary(2.5, 2.0, 3.0)
    assert found["round trip over bare frames"]["pixwire sync"] == Summary(4.0, 4.0, 4.0)
    assert found["client CPU of a STATUS over bare frames"]["pixwire sync"] == Summary(4.0, 3.0, 5.0)
    assert found["CPU of an import over bare Python"] == {"pixwire": Summary(2.0, 1.5, 2.5)}
    tables = costs.tables(rounds)
    assert list(tables) == [costs.ONE_STATUS, costs.IMPORTING]
    assert tables[costs.ONE_STATUS]["pixwire asyncio"]["p50_us"] == Summary(40.0, 20.0, 60.0)
    assert "count" not in tables[costs.ONE_STATUS]["pixwire asyncio"]


def test_every_client_has_a_floor_and_says_what_it_is() -> None:
    names = [one.name for one in COMPARED]
    assert len(set(names)) == len(names)
    for one in COMPARED:
        assert BARE[one.name] in names
        assert one.what.startswith(one.name)
        assert one.server
        assert one.kind


def test_a_bare_request_puts_answers_together_that_come_in_pieces() -> None:
    near, far = socket.socketpair()
    server = Connection(Role.SERVER, Settings(agent="t", server_id="t", epoch="1"))
    streams: list[int] = []

    def serve() -> None:
        while data := far.recv(65536):
            for item in server.receive(data):
                if isinstance(item, Received):
                    streams.append(item.stream)
                    server.send(item.stream, Result({"job": "j", "state": "queued"}), end=True)
            out = b"".join(server.data_to_send())
            for at in range(len(out)) if streams else [None]:
                far.sendall(out if at is None else out[at : at + 1])

    thread = threading.Thread(target=serve)
    thread.start()
    asker = Asker(near)
    answers = [asker.ask(status_frame("j")) for _ in range(3)]
    asker.close()
    thread.join()
    far.close()
    assert streams == [1, 3, 5]
    assert all(b"queued" in answer for answer in answers)


def test_only_established_tcp_connections_count() -> None:
    before = idle.connections()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        one, other = socket.socketpair()
        with far, one, other:
            assert near.getpeername() == listener.getsockname()
            assert idle.connections() - before == 2


def test_an_interpreter_that_fails_gives_no_figure() -> None:
    found = imports.interpreter("pass")
    assert 1 < found["cpu_ms"] < 60_000
    assert 3 < found["resident_mib"] < 200
    with pytest.raises(ImportError, match="failed with status 1"):
        imports.interpreter("import sys; sys.exit(1)")


def test_bare_frames_and_the_library_ask_the_same_server(tmp_path: Path) -> None:
    chosen = {one.name: one for one in COMPARED}
    contest = costs.Contest(Stage(tmp_path / "stage", Setting(sizes=(costs.MIB,))), 0.02, 3)
    with contest._stage:
        try:
            for name in ("bare frames, blocking", "pixwire asyncio"):
                found = contest.one_status(chosen[name])
                assert found["client_cpu_us"] > 0
                assert contest.images(chosen[name])["mb_per_s"] > 0
            assert list(contest._stage.servers) == ["pxw"]
            held = contest.idle(chosen["pixwire sync"])
            assert held["connections"] == 3
            assert processes.family(contest._stage.servers["pxw"].child.pid)
        finally:
            contest.close()
