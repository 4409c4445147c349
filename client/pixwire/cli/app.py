"""How the commands are called: names, options, help. What they do is in the modules beside."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from .._version import __version__
from ..errors import PixwireError
from ..requests import GenerateOptions
from ..url import DEFAULT_URL
from . import jobs
from . import options as o
from .exits import MEANINGS, ExitCode, report
from .generate import Order, generate

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<5}{meaning}" for code, meaning in MEANINGS.items())

app = typer.Typer(
    name="pixwire",
    help="Generate images on a pixwire server.",
    epilog=_EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def run(arguments: list[str]) -> int:
    """Parses and carries out a command line. Returns the exit code; every error is one line on stderr."""
    try:
        return int(app(arguments or ["--help"], prog_name="pixwire", standalone_mode=False) or 0)
    except Exception as error:
        # typer raises click's exceptions or, in later versions, its own copies of them: known by what they can do
        if not hasattr(error, "format_message"):
            raise
        command = next((name for name in arguments[:1] if name in COMMANDS), None)
        print(
            f"pixwire: {error.format_message()} (see pixwire {f'{command} ' if command else ''}--help)", file=sys.stderr
        )
        return int(getattr(error, "exit_code", ExitCode.USAGE))


def execute(work: Coroutine[Any, Any, int], *, as_json: bool) -> int:
    """Runs a command's coroutine; what goes wrong becomes a line, or JSON, and an exit code."""
    try:
        return asyncio.run(work)
    except (PixwireError, OSError, ImportError, KeyboardInterrupt) as error:
        return report(error if str(error) else KeyboardInterrupt("interrupted"), as_json=as_json)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pixwire {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("generate")
def _generate(
    prompt: o.Prompt,
    output: o.Output = None,
    negative: o.Negative = None,
    steps: o.Steps = None,
    guidance: o.Guidance = None,
    seed: o.Seed = None,
    width: o.Width = None,
    height: o.Height = None,
    count: o.Count = 1,
    model: o.Model = None,
    media_type: o.MediaType = None,
    preview: o.PreviewFile = None,
    job: o.NewJobId = None,
    url: o.Url = DEFAULT_URL,
    timeout: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Make images and save them. Ctrl-C cancels the job.

    \b
    Examples:
      pixwire generate "a red circle on a blue background" -o circle.png
      pixwire generate "a green star" -n 4 --seed 7 -o star.png      star-1.png to star-4.png
      pixwire generate "a yellow heart" --json | jq -r '.images[].path'
    """
    options: GenerateOptions = {
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance_scale": guidance,
        "seed": seed,
        "model": model,
        "media_type": media_type,
    }
    order = Order(url, prompt, options, count, output, preview, timeout, job, as_json)
    return execute(generate(order), as_json=as_json)


@app.command("status")
def _status(job: o.JobId, url: o.Url = DEFAULT_URL, as_json: o.Json = False) -> int:
    """Print how a job is.

    \b
    Example:
      pixwire status 0193-abc --json
    """
    return execute(jobs.status(url, job, as_json), as_json=as_json)


@app.command("watch")
def _watch(job: o.JobId, url: o.Url = DEFAULT_URL, timeout: o.Timeout = None, as_json: o.Json = False) -> int:
    """Follow a job until it ends.

    With --json, one object per event. Ctrl-C ends the watching, not the job.
    """
    return execute(jobs.watch(url, job, timeout, as_json), as_json=as_json)


@app.command("cancel")
def _cancel(job: o.JobId, reason: o.Reason = None, url: o.Url = DEFAULT_URL, as_json: o.Json = False) -> int:
    """End a job, waiting or running.

    Prints its state at that moment; watch tells the final one.
    """
    return execute(jobs.cancel(url, job, reason, as_json), as_json=as_json)


@app.command("fetch")
def _fetch(
    job: o.JobId,
    output: o.FetchOutput = None,
    index: o.Index = None,
    url: o.Url = DEFAULT_URL,
    timeout: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Wait for the end of a job and save its images.

    \b
    Example:
      pixwire fetch 0193-abc -o star.png
    """
    return execute(jobs.fetch(url, job, output, index, timeout, as_json), as_json=as_json)


@app.command("ping")
def _ping(count: o.Pings = 3, url: o.Url = DEFAULT_URL, as_json: o.Json = False) -> int:
    """Connect to a server and measure the round trip."""
    return execute(jobs.ping(url, count, as_json), as_json=as_json)


@app.command("demo")
def _demo(
    prompt: o.DemoPrompts = None,
    out: o.DemoFolder = Path("demo-output"),
    seed: o.DemoSeed = 7,
    model: o.DemoModel = None,
) -> int:
    """See it work: six pictures at once, from a server of its own.

    Starts a server on a free port, makes the pictures, saves them and a contact sheet, stops the server. Needs
    pixwire-server.

    \b
    Examples:
      pixwire demo
      pixwire demo --prompt "a green star on a white background"
    """
    from ..demo import Plan, demo

    plan = Plan(prompts=tuple(prompt or ()), folder=out, seed=seed, model=model)
    return execute(demo(plan), as_json=False)


@app.command("serve", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def _serve() -> None:
    """Start a server (see pixwire serve --help)."""
    raise AssertionError("main takes this command before it gets here")


COMMANDS = {command.name for command in app.registered_commands}
