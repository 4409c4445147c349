"""Files that are kept open because they were just written or read: the next request for one need not wait for a thread.

An open file costs a descriptor and no memory: its bytes are in the kernel's cache, which gives them up when it needs
the room. That of a removed file would keep its room on the disk, so whoever removes one says so.
"""

import threading
from collections import OrderedDict

from .stored_file import StoredFile

MOST = 64
"""Files kept open."""


class KeptFiles:
    """The files used last, by name. Any thread may use it; nothing here waits for the disk.

    What is given out stays open as long as it is referred to, whatever happens here.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._files: OrderedDict[str, StoredFile] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._files)

    def find(self, name: str) -> StoredFile | None:
        """The file, if it is kept and still what it was."""
        with self._lock:
            file = self._files.get(name)
            if file is None:
                return None
            if file.current:
                self._files.move_to_end(name)
                return file
            del self._files[name]
            return None

    def keep(self, name: str, file: StoredFile) -> None:
        """Keep it open; of too many, the one that was not used for the longest time is let go."""
        with self._lock:
            self._files[name] = file
            self._files.move_to_end(name)
            if len(self._files) > self._most:
                self._files.popitem(last=False)

    def drop(self, name: str) -> None:
        """Let it go, if it is kept: it was removed."""
        with self._lock:
            self._files.pop(name, None)

    def clear(self) -> None:
        """Let all go."""
        with self._lock:
            self._files.clear()
