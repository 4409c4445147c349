"""All benchmarks, in the order in which they run and are reported."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One command. `record` is its JSON in the results, without the suffix; `seconds` what it takes on two cores.

    Without `quick` arguments it has no quick form, and --quick leaves it out.
    """

    record: str
    title: str
    about: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...] | None
    seconds: int
    quick_seconds: int = 0
    plots: bool = False
    bundled: bool = True
    """Whether `python -m benchmarks` runs it; the others are run by hand, for the time or the machine they need."""

    def command(self, folder: str, *, quick: bool = False) -> tuple[str, ...]:
        """After `python -m`; records and plots go into the folder."""
        chosen = self.quick if quick and self.quick is not None else ()
        drawn = ("--plots", folder) if self.plots else ()
        return (*self.arguments, *chosen, "--json", f"{folder}/{self.record}.json", *drawn)


def _engine(name: str, title: str, about: str, *arguments: str, **more: int | bool) -> Benchmark:
    """One of the engine's: its plot, if any, is an option of its own among the arguments."""
    command = (f"benchmarks.engine.{name}", *arguments)
    return Benchmark(f"engine_{name}", title, about, command, ("--quick",), **more)  # type: ignore[arg-type]


QUICK = ("--quick",)
BENCHMARKS: Sequence[Benchmark] = (
    Benchmark(
        "transport",
        "Transport",
        "The same four operations (submit, status, follow, fetch) over PXW, HTTP and gRPC, against bare sockets.",
        ("benchmarks.transport",), QUICK, 700, 45, plots=True,
    ),
    Benchmark(
        "paper",
        "REST, gRPC and PXW: small and large payloads",
        "The kind of table of Bolanowski et al. (2022), with PXW as a third column.",
        ("benchmarks.paper",), QUICK, 75, 8, plots=True,
    ),
    Benchmark(
        "deployments",
        "Deployments",
        "Five ways to run one model for the same users: where the time goes, what overload does, what a kill loses.",
        ("benchmarks.deployments",), QUICK, 520, 25, plots=True,
    ),
    Benchmark(
        "peers",
        "Peers",
        "The same model and the same requests behind FastAPI with a lock, LitServe, mosec, threads, and pixwire.",
        ("benchmarks.peers",), QUICK, 410, 30, plots=True,
    ),
    Benchmark(
        "client",
        "The client library",
        "What the library costs over bare frames on the same socket, beside grpc.aio, httpx and aiohttp.",
        ("benchmarks.client",), QUICK, 150, 10, plots=True,
    ),
    Benchmark(
        "roundtrip",
        "Round trip of a submit",
        "SUBMIT to its durable answer against a bare uvloop echo of the same bytes and a bare SQLite commit.",
        ("benchmarks.roundtrip",), ("--rounds", "1", "--requests", "200"), 150, 8,
    ),
    Benchmark(
        "flow_control",
        "A PING behind a slow fetch",
        "An image of 16 MiB is read at 2 MB/s; PINGs on the same connection wait no longer than the window allows.",
        ("benchmarks.flow_control",), ("--rounds", "1", "--rate", "32000000"), 90, 6,
    ),
    Benchmark(
        "journal",
        "What \"on disk\" costs",
        "The journal with 1, 16 and 64 submitters against a bare SQLite loop that commits each record by itself.",
        ("benchmarks.journal",), QUICK, 60, 4,
    ),
    Benchmark(
        "deep_queue",
        "A hundred thousand waiting jobs",
        "Memory for each waiting job, and one more submit to a full queue against one to an empty queue.",
        ("benchmarks.deep_queue",), ("--jobs", "1000", "--rounds", "1", "--requests", "64"), 240, 6,
    ),
    Benchmark(
        "scheduling",
        "Scheduling",
        "Seven traces on two simulated machines, four policies; pixwire over the best of the others, seed by seed.",
        ("benchmarks.scheduling", "--workers", "2"), ("--quick", "--seeds", "1"), 60, 6, plots=True,
    ),
    _engine(
        "overhead", "Engine: step batching against plain diffusers",
        "The same images by the engine and by the plain pipeline with a fixed batch.",
        "--threads", "2", "--rounds", "5", "--steps", "5", "--images", "1", "--images", "4", "--plot",
        "docs/engine_overhead.png", seconds=420, bundled=False,
    ),
    _engine(
        "throughput", "Engine: images a second against rows",
        "How many images a second the model makes when more of them share a pass.",
        "--threads", "2", "--model", "built-in", seconds=60, quick_seconds=6,
    ),
    _engine(
        "host", "Engine: Python for one step of one request",
        "The denoiser costs nothing here: what is left is the engine's own work, against a loop written by hand.",
        seconds=60, quick_seconds=6,
    ),
    _engine(
        "exactness", "Engine: what exact mode costs", "Bit-identical images for any batch, against the fast mode.",
        "--threads", "1", "--images", "1", "--images", "4", "--rounds", "3", "--steps", "4", "--most", "8",
        "--model", "built-in", "--model", "sd15", "--model", "flux", seconds=240, bundled=False,
    ),
    _engine(
        "lag", "Engine: the event loop beside it", "Delay of the server's loop while all cores denoise.", seconds=360,
        bundled=False,
    ),
    _engine(
        "latecomer", "Engine: who comes late", "Latency under random arrivals: steps, static batches, one at a time.",
        seconds=400, bundled=False,
    ),
    _engine(
        "image_files", "Engine: image files", "Encoders: time against size, one core.", seconds=120, quick_seconds=4,
    ),
    Benchmark(
        "replay",
        "Scheduling: simulator against server",
        "The same traces on the real server with the built-in model and in the simulator.",
        ("benchmarks.scheduling.replay",), None, 120, bundled=False,
    ),
)  # fmt: skip
"""`soak` and the guard are no benchmarks of speed: `make soak`, `python -m benchmarks.guard`."""
