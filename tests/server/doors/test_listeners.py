"""What a door listens on, when somebody else wants the same place."""

from pathlib import Path

import pytest

from pixwire_server.doors.address import TcpAddress, UnixAddress
from pixwire_server.doors.listeners import ListenError, bind_all


async def test_a_port_taken_between_bind_and_listen_is_told() -> None:
    """Two servers that start at the same time can both bind a port; one of them only can listen."""
    (first,) = await bind_all([TcpAddress("127.0.0.1", 0)])
    (second,) = await bind_all([first.address])
    try:
        first.listen()
        with pytest.raises(ListenError, match="Address already in use"):
            second.listen()
    finally:
        first.close()
        second.close()


async def test_a_unix_socket_whose_server_is_still_starting_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    (starting,) = await bind_all([UnixAddress(str(path))])
    with pytest.raises(ListenError, match="Address already in use"):
        await bind_all([UnixAddress(str(path))])
    starting.listen()
    starting.close()
    assert not path.exists()


async def test_a_unix_socket_that_was_replaced_is_told_and_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    (first,) = await bind_all([UnixAddress(str(path))])
    path.rename(tmp_path / "moved.sock")
    (second,) = await bind_all([UnixAddress(str(path))])
    with pytest.raises(ListenError, match="replaced"):
        first.listen()
    first.close()
    assert path.is_socket()
    second.close()


async def test_a_file_in_the_place_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(ListenError, match="no socket: remove it, or choose another path"):
        await bind_all([UnixAddress(str(path))])
    with pytest.raises(ListenError, match="make the folder first"):
        await bind_all([UnixAddress(str(tmp_path / "none" / "door.sock"))])
    assert path.read_text() == "mine"


@pytest.mark.parametrize("host", ["a..example", "a" * 70])
async def test_a_name_that_no_machine_can_have_is_told(host: str) -> None:
    with pytest.raises(ListenError, match=f"cannot listen on pixwire://{host}:1: this is no name of a machine; write"):
        await bind_all([TcpAddress(host, 1)])
