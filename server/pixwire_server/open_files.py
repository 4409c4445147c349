"""How many files the process may have open: connections, which are two each when images leave by them, and every image
and upload under way.
"""

import logging
import os
import resource
from typing import Final

log = logging.getLogger(__name__)

ENOUGH: Final = 65_536
"""More is not asked for: some programs walk through all numbers they may use."""
OWN: Final = 128
"""Files of the server itself: journal, engine, sockets to listen on, images that are kept open."""


def keep_standard() -> None:
    """Open what was closed of stdin, stdout and stderr: another file would get its number, and the engine, whose
    output is for stderr, would write into a client's socket.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def goal(soft: int, hard: int) -> int:
    """The limit to set where `soft` holds now and `hard` is the most (RLIM_INFINITY: no limit)."""
    if soft == resource.RLIM_INFINITY:
        return soft
    return max(soft, ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH))


def allow_many(connections: int) -> None:
    """Raise the limit of this process as far as it may; warn when that is too little for so many connections, each
    with one image or upload under way.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = goal(soft, hard)
    if limit != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    needed = 3 * connections + OWN
    if limit != resource.RLIM_INFINITY and limit < needed:
        log.warning(
            "only %d files may be open at a time, and max_connections = %d may need %d: beyond that connections and"
            " images are refused; raise `ulimit -Hn` (LimitNOFILE of systemd), or lower max_connections",
            limit,
            connections,
            needed,
        )
