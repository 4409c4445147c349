"""How the commands are called: names, options, help. What they do is in the modules beside."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .._version import __version__
from ..arguments import Terms
from . import batch, context_commands, jobs, lists, operators
from . import options as o
from .asking import Asked, prompts_of, with_asked
from .exits import MEANINGS, ExitCode, print_json
from .generate import Order
from .pictures import Way
from .running import execute
from .submit import submit
from .target import Target, with_target, with_terms

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<5}{meaning}" for code, meaning in MEANINGS.items())

app = typer.Typer(
    name="pixwire",
    help="Generate images on a pixwire server.",
    epilog=_EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def run(arguments: list[str], commands: typer.Typer = app, name: str = "pixwire") -> int:
    """Parses and carries out a command line. Returns the exit code; every error is one line on stderr."""
    try:
        return int(commands(arguments or ["--help"], prog_name=name, standalone_mode=False) or 0)
    except Exception as error:
        # typer raises click's exceptions or, in later versions, its own copies of them: known by what they can do
        if not hasattr(error, "format_message"):
            raise
        command = "".join(f"{word} " for word in _named(arguments, commands))
        text, code = error.format_message(), int(getattr(error, "exit_code", ExitCode.USAGE))
        print(f"{name}: {text} (see {name} {command}--help)", file=sys.stderr)
        if "--json" in arguments:
            print_json({"error": {"class": "UsageError", "message": text, "exit_code": code}})
        return code


def _named(arguments: list[str], commands: typer.Typer) -> list[str]:
    """The words at the beginning of a command line that name a command, and the groups it is in."""
    if not arguments:
        return []
    word, rest = arguments[0], arguments[1:]
    for group in commands.registered_groups:
        if group.typer_instance is not None and group.typer_instance.info.name == word:
            return [word, *_named(rest, group.typer_instance)]
    return [word] if any(command.name == word for command in commands.registered_commands) else []


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
@with_target
@with_terms
@with_asked
def _generate(
    target: Target,
    terms: Terms,
    asked: Asked,
    prompt: o.Prompts = None,
    prompts: o.PromptFile = None,
    output: o.Output = None,
    count: o.Count = 1,
    grid: o.Grid = None,
    open_files: o.Open = False,
    like: o.Like = None,
    preview: o.Previews = Way.AUTO,
    preview_file: o.PreviewFile = None,
    job: o.NewJobId = None,
    timeout: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Make images and save them. Ctrl-C cancels the job.

    \b
    Examples:
      pixwire generate "a red circle on a blue background" -o circle.png
      pixwire generate "a green star" -n 4 --seed 7 -o star.png      star-1.png to star-4.png
      pixwire generate "a red star" "a blue star" --grid stars.png   an image each, and all on one
      pixwire generate --prompts prompts.txt --seed 7                a prompt on each line; - is stdin
      pixwire generate "a yellow heart" --json | jq -r '.images[].path'
      pixwire generate "a red hat" --image cat.png --strength 0.6 -o hat.png     paint over a picture
      pixwire generate "a red hat" --image cat.png --mask head.png               only where the mask is white
      pixwire generate "a red hat" --priority high --deadline 20 --tag web       in 20 seconds or not at all
      pixwire generate --like hat.png --seed 8                                   another one made in the same way
    """

    async def work() -> int:
        given = asked.options, count, output, preview_file, timeout, job, as_json, asked.images, asked.traceparent
        order = Order(target, None, *given, terms, like, preview)
        return await batch.run(order, prompts_of(prompt, prompts), grid, open_files)

    return execute(work(), as_json=as_json)


@app.command("submit")
@with_target
@with_terms
@with_asked
def _submit(
    target: Target,
    terms: Terms,
    asked: Asked,
    prompt: o.Prompts = None,
    prompts: o.PromptFile = None,
    count: o.Count = 1,
    job: o.NewJobId = None,
    timeout: o.Timeout = 30.0,
    as_json: o.Json = False,
) -> int:
    """Hand jobs to the server and print their ids, without waiting for the images.

    \b
    Examples:
      pixwire submit "a green star" --tag night
      pixwire fetch $(pixwire submit "a green star") -o star.png
      pixwire submit --prompts prompts.txt --priority low --json | jq -r '.jobs[].job'
    """

    async def work() -> int:
        return await submit(target, prompts_of(prompt, prompts), asked, count, terms, job, timeout, as_json)

    return execute(work(), as_json=as_json)


@app.command("status")
@with_target
def _status(target: Target, job: o.JobId, as_json: o.Json = False) -> int:
    """Print how a job is.

    \b
    Example:
      pixwire status 0193-abc --json
    """
    return execute(jobs.status(target, job, as_json), as_json=as_json)


@app.command("watch")
@with_target
def _watch(
    target: Target,
    job: o.JobId,
    preview: o.Previews = Way.AUTO,
    timeout: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Follow a job until it ends.

    A bar shows how far it is, and in a terminal that can, previews show the image as it comes along. With --json,
    one object per event. Ctrl-C ends the watching, not the job.

    \b
    Examples:
      pixwire watch 0193-abc
      pixwire watch 0193-abc --preview off
      pixwire watch 0193-abc --json | jq -r '.state // empty'
    """
    return execute(jobs.watch(target, job, timeout, as_json, preview), as_json=as_json)


@app.command("cancel")
@with_target
def _cancel(target: Target, job: o.JobId, reason: o.Reason = None, as_json: o.Json = False) -> int:
    """End a job, waiting or running.

    Prints its state at that moment; watch tells the final one.

    \b
    Example:
      pixwire cancel 0193-abc --reason "the wrong prompt"
    """
    return execute(jobs.cancel(target, job, reason, as_json), as_json=as_json)


@app.command("fetch")
@with_target
def _fetch(
    target: Target,
    job: o.JobId,
    output: o.FetchOutput = None,
    index: o.Index = None,
    timeout: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Wait for the end of a job and save its images.

    \b
    Example:
      pixwire fetch 0193-abc -o star.png
    """
    return execute(jobs.fetch(target, job, output, index, timeout, as_json), as_json=as_json)


@app.command("ping")
@with_target
def _ping(target: Target, count: o.Pings = 3, as_json: o.Json = False) -> int:
    """Connect to a server and measure the round trip.

    \b
    Example:
      pixwire ping --url pixwires://images.example.org
    """
    return execute(jobs.ping(target, count, as_json), as_json=as_json)


@app.command("models")
@with_target
def _models(target: Target, as_json: o.Json = False) -> int:
    """List the models of the server and what they can do.

    \b
    Example:
      pixwire models --json | jq -r '.models[].name'
    """
    return execute(lists.models(target, as_json), as_json=as_json)


@app.command("jobs")
@with_target
def _jobs(
    target: Target, state: o.States = None, tag: o.Tag = None, limit: o.Limit = None, as_json: o.Json = False
) -> int:
    """List your jobs, newest first.

    \b
    Examples:
      pixwire jobs --state running --state queued
      pixwire jobs --tag web
      pixwire jobs --limit 5 --json
    """
    return execute(lists.jobs(target, tuple(state or ()), tag, limit, as_json), as_json=as_json)


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


operators.register(app)
context_commands.register(app)

_ELSEWHERE = {"ignore_unknown_options": True, "allow_extra_args": True}


@app.command("serve", context_settings=_ELSEWHERE)
def _serve() -> None:
    """Start a server (see pixwire serve --help)."""
    raise AssertionError("main takes this command before it gets here")


@app.command("token", context_settings=_ELSEWHERE)
def _token() -> None:
    """Make a token for somebody who may use your server (see pixwire token --help)."""
    raise AssertionError("main takes this command before it gets here")


@app.command("wire", context_settings=_ELSEWHERE)
def _wire() -> None:
    """Look at the bytes of the protocol (see pixwire wire --help)."""
    raise AssertionError("main takes this command before it gets here")
