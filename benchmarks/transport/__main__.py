"""Requests and images over PXW, HTTP and gRPC, against bare sockets, in one run.

    python -m benchmarks.transport                                  # about ten minutes
    python -m benchmarks.transport --quick                          # all of it in short, under a minute
    python -m benchmarks.transport --only round-trip,fetch          # some parts
    python -m benchmarks.transport --json FILE --plots DIR          # record and plots

Parts: round-trip (STATUS and SUBMIT), fetch (64 KiB to 16 MiB), small (a small request beside large fetches),
watchers (a thousand, and one that does not read), connections (memory to 10,000), circumstances (torch, TLS, Unix).
`contestants.py` says who is compared, `targets.py` what was to be reached; benchmarks/README.md has the method.
"""

import argparse
import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import processes, record
from benchmarks.transport import native, outcome, targets
from benchmarks.transport.contestants import CONTESTANTS
from benchmarks.transport.parts import circumstances, crowds, fetch, round_trip, small
from benchmarks.transport.plan import FULL, QUICK, Context, Part, Rounds

ROUNDS: Final = 5
PARTS: Final[Sequence[Part]] = (round_trip, fetch, small, crowds.watchers, crowds.connections, circumstances)
Paths = tuple[str, str, str]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """From the command line."""
    parser = record.parser(__doc__, ROUNDS)
    names = ",".join(part.name for part in PARTS)
    parser.add_argument("--only", type=_names, default=(), metavar="PARTS", help=f"some of {names}")
    parser.add_argument("--who", type=_names, default=(), metavar="NAMES", help="some of the contestants, by name")
    parser.add_argument("--folder", type=Path, help="where servers write: on the disk that is to be measured")
    given = record.parse(parser, arguments, quick_rounds=1)
    unknown = [name for name in given.only if name not in names.split(",")]
    unknown += [name for name in given.who if name not in CONTESTANTS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; parts: {names}; contestants: {'; '.join(CONTESTANTS)}")
    return given


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(";" if ";" in text else ","))))


def pair_maker(folder: Path) -> Callable[[], Paths] | None:
    """Makes a certificate for this machine, its key, and the authority to trust. None without the package trustme."""
    try:
        import trustme
    except ImportError:
        return None

    def make() -> Paths:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        files = [folder / name for name in ("cert.pem", "key.pem", "ca.pem")]
        files[0].write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files[1])
        authority.cert_pem.write_to_path(files[2])
        cert, key, trusted = map(str, files)
        return cert, key, trusted

    return make


def file_system(folder: Path) -> str:
    """The kind that the folder lies on: what fdatasync costs depends on it."""
    stat = shutil.which("stat")
    if stat is None:
        return "unknown"
    done = subprocess.run([stat, "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


async def measure_parts(context: Context, parts: Sequence[Part]) -> Rounds:
    """All of them, one after the other."""
    rounds: Rounds = {}
    for part in parts:
        rounds |= await part.run(context)
    return rounds


def run(given: argparse.Namespace) -> tuple[Rounds, dict[str, str]]:
    """Measure; the rounds, and what is to be said about the run."""
    parts = [part for part in PARTS if not given.only or part.name in given.only]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.folder)))
        stack.enter_context(processes.congestion("cubic"))
        pair = pair_maker(folder)
        about = {
            "file_system": file_system(folder),
            "c_floor": "compiled" if native.compiler() else "no compiler: not measured",
            "tls": "measured" if pair else "the package trustme is missing: not measured",
        }
        context = Context(QUICK if given.quick else FULL, given.rounds, folder, pair=pair, only=given.who)
        total = sum(part.steps(context) for part in parts)
        context.step = stack.enter_context(record.bar("transport", total))
        stack.enter_context(context)
        return asyncio.run(measure_parts(context, parts)), about


def main(given: argparse.Namespace) -> None:
    rounds, about = run(given)
    found = outcome.tables(rounds)
    for title, table in found.items():
        record.show(title, [{"": who, **row} for who, row in table.items()])
    met = targets.measured(rounds)
    record.show_targets(met)
    drawn: list[str] = []
    if given.plots is not None:
        from benchmarks.transport import pictures

        drawn = pictures.draw(given.plots, found)
    record.write(
        given,
        "transport",
        results={},
        ratios=outcome.ratios(rounds),
        targets=met,
        title="Transport",
        notes=[*outcome.NOTES, *outcome.contestants()],
        why=outcome.why(found),
        plots=drawn,
        settings=about,
        **found,
    )


if __name__ == "__main__":
    main(options())
