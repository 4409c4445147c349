"""Where the thread of the connections leaves what a call has to say."""

import time
from concurrent.futures import ThreadPoolExecutor

from server_thread import SECONDS

import pixwire
from pixwire.sync.mailbox import Mailbox


def test_a_slow_reader_is_never_behind() -> None:
    box: Mailbox[int] = Mailbox(listening=True)
    for step in range(1, 1000):
        box.push(pixwire.Progress("j", step, step, 1000))
    box.push(pixwire.Progress("j", 1001, 1000, 1000))
    box.succeed(7)
    first = box.next()
    assert isinstance(first, pixwire.Progress)
    assert first.seq == 1001
    assert box.next() is None
    assert box.outcome == 7


def test_several_readers_get_everything_once_and_all_end() -> None:
    from pixwire_protocol.status import JobStatus

    state = JobStatus.from_map(
        {"job": "j", "kind": "txt2img", "state": "running", "seq": 1, "attempt": 1, "step": 0, "steps": 4}
    )
    box: Mailbox[None] = Mailbox(listening=True)
    with ThreadPoolExecutor(4) as pool:

        def read() -> list[int]:
            found = []
            while (event := box.next()) is not None:
                found.append(event.seq)
            return found

        readers = [pool.submit(read) for _ in range(4)]
        for seq in range(2000):
            box.push(pixwire.StateChange("j", seq, state))
            if seq % 100 == 0:
                time.sleep(0)
        box.succeed(None)
        assert sorted(seq for reader in readers for seq in reader.result(SECONDS)) == list(range(2000))
