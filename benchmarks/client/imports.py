"""What it costs a program to import a client: time and memory of a fresh interpreter."""

import os
import re
import subprocess
import sys
import time

BARE = "bare Python"
IMPORTS = {
    BARE: "pass",
    "pixwire": "import pixwire",
    "pixwire.connect": "import pixwire; pixwire.connect",
    "pixwire.Client": "import pixwire; pixwire.Client",
    "asyncio": "import asyncio",
    "grpc.aio": "import grpc.aio",
    "aiohttp": "import aiohttp",
    "httpx": "import httpx",
}
"""pixwire loads what is asked for, when it is: with `connect` the asyncio client, with `Client` the other one."""


LAST = "\nprint(open('/proc/self/status').read())"
"""Says what memory it has."""


def interpreter(code: str) -> dict[str, float]:
    """Run it in a new interpreter: milliseconds from start to end, those of them on a core, and memory at the end.

    Raises ImportError when the code fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code + LAST], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as out:
        said = out.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    resident = re.search(r"VmRSS:\s+(\d+) kB", said)
    if process.returncode or resident is None:
        raise ImportError(f"{code!r} failed with status {process.returncode}; see above")
    return {
        "cpu_ms": (usage.ru_utime + usage.ru_stime) * 1000,
        "wall_ms": wall * 1000,
        "resident_mib": int(resident[1]) / 1024,
    }
