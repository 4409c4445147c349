"""The commands that list: `models` and `jobs`."""

from rich.console import Console
from rich.table import Table

from pixwire_protocol.status import JobSummary, ModelInfo

from .exits import print_json, printable
from .target import Target

MODEL_COLUMNS = ("model", "pipeline", "kinds", "attachments", "steps", "size", "at most", "state", "memory", "adapters")
BOUNDLESS = 10_000  # columns
JOB_COLUMNS = ("job", "kind", "model", "state", "priority", "step", "images", "age", "tags")


async def models(target: Target, as_json: bool) -> int:
    """Prints which models the server has."""
    async with target.connect() as client:
        found = await client.models()
    if as_json:
        print_json({"models": [model.to_map() for model in found]})
    else:
        _print(MODEL_COLUMNS, [_model_row(model) for model in found])
    return 0


async def jobs(target: Target, states: tuple[str, ...], tag: str | None, limit: int | None, as_json: bool) -> int:
    """Prints the caller's jobs, newest first."""
    async with target.connect() as client:
        found = [job async for job in client.jobs(states=states, tag=tag, limit=limit)]
    if as_json:
        print_json({"jobs": [job.to_map() for job in found]})
    elif found:
        _print(JOB_COLUMNS, [_job_row(job) for job in found])
    else:
        print("no jobs")
    return 0


def _print(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table; on anything but a terminal it is as wide as it needs to be, so that nothing is cut."""
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    if not console.is_terminal:
        console.width = BOUNDLESS
    console.print(table)


def _model_row(model: ModelInfo) -> tuple[str, ...]:
    defaults, limits = model.defaults, model.limits
    return (
        f"{model.name} (default)" if model.default else model.name,
        model.pipeline,
        " ".join(model.kinds),
        " ".join(model.attachments) or "-",
        f"{defaults['steps']}",
        f"{defaults['width']}x{defaults['height']}",
        f"{limits['max_width']}x{limits['max_height']}, {limits['max_steps']} steps",
        f"{model.state}, pinned" if model.pinned else model.state,
        f"{model.bytes / 1e9:.3g} GB" if model.bytes else "-",
        model.message or " ".join(model.adapters) or "-",
    )


def _job_row(job: JobSummary) -> tuple[str, ...]:
    return (
        job.job,
        job.kind,
        job.model or "-",
        job.state.value,
        job.priority,
        f"{job.step}/{job.steps}",
        f"{job.artifacts}",
        age(job.age_ms),
        " ".join(job.tags) or "-",
    )


def age(milliseconds: int) -> str:
    """A duration as people say it: `42 s`, `5 min`, `3 h`, `12 d`."""
    seconds = milliseconds // 1000
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
