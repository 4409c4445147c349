"""`pixwire wire conform`: names and options; what it does is in the modules beside.

`register` adds the command to the typer application of `pixwire wire`.
"""

import asyncio
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ...cli.exits import ExitCode, print_json
from ..errors import InputError, WireError, report
from ..transport import TlsOptions
from . import options as o
from .cases import Case, UnknownAddressError, select
from .report import case_map, print_cases, print_coverage, print_outcomes, report_map, write_junit
from .runner import Outcome, run
from .subject import Subject
from .verdicts import Unreachable


@dataclass(frozen=True, slots=True)
class Request:
    """The command line. `words`: the URL and sections, or, with `client`, the COMMAND."""

    words: tuple[str, ...]
    only: tuple[str, ...]
    client: bool
    listen: str
    jobs: int
    level: int
    strict: bool
    slow: bool
    dry_run: bool
    deadline: float
    token: str | None
    insecure_token: bool
    drain: str
    operate: bool
    coverage: bool
    tls: TlsOptions
    as_json: bool
    junit: Path | None


Advance = Callable[[Outcome], None]


def carry_out(request: Request) -> int:
    """Runs what was asked for. Returns the exit code: 0 it conforms, 1 it does not, or those of the wire tool."""
    if request.coverage:
        print_coverage(Console(), "client" if request.client else "server", as_json=request.as_json)
        return int(ExitCode.OK)
    try:
        cases, begin = _client(request) if request.client else _server(request)
        if request.dry_run:
            return _list(request, cases)
        start = time.perf_counter()
        with _progress(len(cases), hidden=request.as_json) as advance:
            target, outcomes = asyncio.run(begin(advance))
        seconds = time.perf_counter() - start
    except UnknownAddressError as error:
        return int(report(InputError(str(error)), as_json=request.as_json))
    except WireError as error:
        return int(report(error, as_json=request.as_json))
    except Unreachable as error:
        return int(report(WireError(str(error)), as_json=request.as_json))
    _show(request, target, outcomes, seconds)
    try:
        if request.junit is not None:
            write_junit(request.junit, "client" if request.client else "server", outcomes)
    except OSError as error:  # when all else was told
        problem = InputError(f"cannot write {str(request.junit)!r}: {error.strerror}")
        return int(report(problem, as_json=False))
    return int(ExitCode.FAILED if any(outcome.verdict == "failed" for outcome in outcomes) else ExitCode.OK)


Begin = Callable[[Advance], Any]


def _chosen(request: Request, cases: Sequence[Case], words: Sequence[str]) -> list[Case]:
    return select(cases, words, level=request.level, strict=request.strict, slow=request.slow)


def _server(request: Request) -> tuple[list[Case], Begin]:
    from .server import SERVER

    if not request.words and not request.dry_run:
        raise InputError("the URL of the server is missing", "pixwire wire conform pixwire://host")
    url = request.words[0] if request.words and "://" in request.words[0] else None
    if url is None and not request.dry_run:
        raise InputError(f"{request.words[0]!r} is no URL", "the URL comes first, sections follow")
    sections = (*request.words[0 if url is None else 1 :], *request.only)
    cases = _chosen(request, SERVER.all(), sections)
    try:
        drain = tuple(shlex.split(request.drain))
    except ValueError as error:
        raise InputError(f"--drain {request.drain!r}: {error}: a quote is not closed?") from None

    async def begin(advance: Advance) -> tuple[str, list[Outcome]]:
        subject = Subject.at(
            url or "",
            request.tls,
            token=request.token,
            deadline=request.deadline,
            drain_command=drain,
            operate=request.operate,
        )
        if request.token and not request.insecure_token and not subject.target.private:
            hint = "use pixwires://, or say --insecure-token"
            raise InputError("the token would be sent in cleartext over a network", hint)
        return subject.target.url, await run(subject, cases, advance)

    return cases, begin


def _client(request: Request) -> tuple[list[Case], Begin]:
    from .client import CLIENT, Bench, run_all

    cases = _chosen(request, CLIENT.all(), request.only)

    async def begin(advance: Advance) -> tuple[str, list[Outcome]]:
        several = request.words and request.listen.endswith(":0")
        count = min(request.jobs, len(cases)) if several else 1
        benches = [Bench(request.words, request.listen, deadline=request.deadline) for _ in range(max(count, 1))]
        return benches[0].name, await run_all(benches, cases, advance)

    return cases, begin


def _list(request: Request, cases: Sequence[Case]) -> int:
    if request.as_json:
        print_json([case_map(case) for case in cases])
    else:
        print_cases(Console(), cases)
    return int(ExitCode.OK)


def _show(request: Request, target: str, outcomes: Sequence[Outcome], seconds: float) -> None:
    role = "client" if request.client else "server"
    if request.as_json:
        print_json(report_map(role, target, outcomes, seconds))
    else:
        print_outcomes(Console(highlight=False), outcomes, target, seconds)


class _progress:  # noqa: N801 - used like a function
    """A bar on stderr while cases run; nothing where that is no terminal."""

    def __init__(self, total: int, *, hidden: bool) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        off = hidden or not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=off)
        self._total = total

    def __enter__(self) -> Advance:
        self._bar.start()
        task = self._bar.add_task("conform", total=self._total)

        def advance(outcome: Outcome) -> None:
            self._bar.update(task, advance=1, description=f"{outcome.case.address:<9}")

        return advance

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


def conform(
    words: o.Words = None,
    only: o.Only = None,
    client: o.Client = False,
    listen: o.Listen = "127.0.0.1:0",
    jobs: o.Jobs = 4,
    level: o.UpTo = o.Level.L3,
    strict: o.Strict = False,
    slow: o.Slow = False,
    dry_run: o.DryRun = False,
    timeout: o.Timeout = 10.0,
    token: o.Token = None,
    insecure_token: o.InsecureToken = False,
    drain: o.Drain = None,
    operate: o.Operate = False,
    coverage: o.Coverage = False,
    ca: o.Ca = None,
    cert: o.Cert = None,
    key: o.Key = None,
    insecure: o.Insecure = False,
    server_name: o.ServerName = None,
    as_json: o.Json = False,
    junit: o.Junit = None,
) -> int:
    """Test whether a server, or a client, keeps to PXW/1.

    A server is sent right and wrong frames, section by section of SPEC.md, and what it answers is judged. It gets some
    tiny jobs; none is left running. To a client a server is played.

    \b
    Examples:
      pixwire wire conform pixwire://localhost
      pixwire wire conform pixwire://localhost 7.4 PXW-HSK-014 5/3 --json
      pixwire wire conform --client -- node client.js {url} {out}
    """
    tls = TlsOptions(ca, cert, key, insecure, server_name)
    request = Request(
        words=tuple(words or ()),
        only=tuple(only or ()),
        client=client,
        listen=listen,
        jobs=jobs,
        level=int(level.value[1]),
        strict=strict,
        slow=slow,
        dry_run=dry_run,
        deadline=timeout,
        token=token,
        insecure_token=insecure_token,
        drain=drain or "",
        operate=operate,
        coverage=coverage,
        tls=tls,
        as_json=as_json,
        junit=junit,
    )
    return carry_out(request)


def register(app: typer.Typer) -> None:
    """Add the command `conform`."""
    app.command("conform", epilog=o.CONTRACT)(conform)


def run_alone(arguments: Sequence[str]) -> int:
    """The command as a program of its own. Returns its exit code."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    register(app)
    return int(app(list(arguments), prog_name="conform", standalone_mode=False) or 0)
