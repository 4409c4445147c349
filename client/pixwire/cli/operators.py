"""How the commands for those who look after a server are called: `top` and the group `admin`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o
from .admin import admin
from .running import execute
from .target import Target, with_target
from .top import SHOWN, picture, top

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

commands = typer.Typer(
    name="admin",
    help="Look after a server: take no new jobs, stop, cancel, run again, load models. Needs the role admin.",
    rich_markup_mode=None,
    context_settings=_HELP,
)
models = typer.Typer(
    name="models",
    help="Load, unload, add and remove models (pixwire models lists them).",
    rich_markup_mode=None,
    context_settings=_HELP,
)
commands.add_typer(models)

_Wait = Annotated[
    float | None, o.Flag("--timeout", min=0.0, help="Seconds to wait for the answer. [default: no limit]")
]
_Reason = Annotated[str | None, o.Flag("--reason", help="Why: told to those who are refused or cancelled, and logged.")]
_Owner = Annotated[str | None, o.Flag("--principal", help="Whose job it is. [default: ours]")]
_Model = Annotated[str, typer.Argument(metavar="MODEL", help="The name of the model.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `pixwire`."""
    app.command("top")(_top)
    app.add_typer(commands)


@with_target
def _top(
    target: Target,
    interval: Annotated[float, o.Flag("--interval", min=0.1, max=3600.0, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, o.Flag("--once", help="Print it once, for paper and scripts.")] = False,
    limit: Annotated[
        int, o.Flag("--limit", "-n", min=1, max=1000, help="Waiting jobs shown, with --once or --json.")
    ] = SHOWN,
    svg: Annotated[Path | None, o.Flag("--svg", help="Save the screen once, as a picture in this file.")] = None,
    as_json: o.Json = False,
) -> int:
    """Watch a server: queue, passes as they form, rates, models, people.

    Needs the role admin. The keys are shown at the bottom: cancel, pause, run again. With --json, one object per look.

    \b
    Examples:
      pixwire top
      pixwire top --url pixwire+unix:///run/pixwire.sock --interval 0.5
      pixwire top --once
      pixwire top --svg top.svg
      pixwire top --once --json | jq '.queue, .engine.images_per_minute'
    """
    work = top(target, interval, once, as_json, limit) if svg is None else picture(target, svg, as_json)
    return execute(work, as_json=as_json)


@commands.command("pause")
@with_target
def _pause(target: Target, reason: _Reason = None, timeout: _Wait = None, as_json: o.Json = False) -> int:
    """Take no new jobs for a while.

    Who submits one is told to come back. Accepted jobs run on, images can be fetched. Ends with a restart.

    \b
    Example:
      pixwire admin pause --reason "new drivers until 14:00"
    """
    return _do(target, "pause", as_json, timeout, reason=reason)


@commands.command("resume")
@with_target
def _resume(target: Target, timeout: _Wait = None, as_json: o.Json = False) -> int:
    """Take new jobs again.

    \b
    Example:
      pixwire admin resume
    """
    return _do(target, "resume", as_json, timeout)


@commands.command("drain")
@with_target
def _drain(target: Target, timeout: _Wait = None, as_json: o.Json = False) -> int:
    """Stop the server in peace, as SIGTERM does.

    Running jobs may finish within its --drain-grace-s; waiting ones stay on its disk for the next start.

    \b
    Example:
      pixwire admin drain && echo "it is stopping"
    """
    return _do(target, "drain", as_json, timeout)


@commands.command("cancel")
@with_target
def _cancel(
    target: Target,
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="The id of the job. [default: all of them]")
    ] = None,
    principal: Annotated[
        str | None, o.Flag("--principal", help="Whose job, or whose jobs. [default with JOB: ours]")
    ] = None,
    reason: _Reason = None,
    timeout: _Wait = None,
    as_json: o.Json = False,
) -> int:
    """Cancel a job of anybody, or all that a principal has.

    \b
    Examples:
      pixwire admin cancel 0193-abc --principal alice
      pixwire admin cancel --principal alice --reason "asked by mail"
    """
    return _do(target, "cancel", as_json, timeout, job=job, principal=principal, reason=reason)


@commands.command("requeue")
@with_target
def _requeue(
    target: Target, job: o.JobId, principal: _Owner = None, timeout: _Wait = None, as_json: o.Json = False
) -> int:
    """Run a job again that failed, expired or was cancelled.

    It becomes a new job of the same owner, with the same parameters, seed and images; its id is printed. pixwire top
    shows what has failed.

    \b
    Example:
      pixwire admin requeue 0193-abc --principal alice
    """
    return _do(target, "requeue", as_json, timeout, job=job, principal=principal)


@models.command("load")
@with_target
def _load(target: Target, model: _Model, timeout: _Wait = None, as_json: o.Json = False) -> int:
    """Load a model and wait until it is there. Exit code 1: it cannot be loaded.

    \b
    Example:
      pixwire admin models load sdxl
    """
    return _do(target, "load", as_json, timeout, model=model)


@models.command("unload")
@with_target
def _unload(target: Target, model: _Model, timeout: _Wait = None, as_json: o.Json = False) -> int:
    """Free the memory of a model once its last job has ended. The next job for it loads it again.

    \b
    Example:
      pixwire admin models unload sdxl
    """
    return _do(target, "unload", as_json, timeout, model=model)


@models.command("add")
@with_target
def _add(
    target: Target,
    model: _Model,
    path: Annotated[str, typer.Argument(metavar="FOLDER", help="A diffusers folder on the server, as absolute path.")],
    timeout: _Wait = None,
    as_json: o.Json = False,
) -> int:
    """Serve one more model, or another folder under a known name, until the server stops.

    \b
    Example:
      pixwire admin models add sdxl /srv/models/sdxl
    """
    return _do(target, "add_model", as_json, timeout, model=model, path=path)


@models.command("remove")
@with_target
def _remove(target: Target, model: _Model, timeout: _Wait = None, as_json: o.Json = False) -> int:
    """Serve a model no more: jobs that wait for it fail, those that run end as they would.

    \b
    Example:
      pixwire admin models remove sdxl
    """
    return _do(target, "remove_model", as_json, timeout, model=model)


def _do(target: Target, action: str, as_json: bool, timeout: float | None, **fields: Any) -> int:
    return execute(admin(target, action, as_json, timeout, **fields), as_json=as_json)
