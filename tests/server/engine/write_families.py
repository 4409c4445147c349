"""Writes docs/families.md: what becomes of every pipeline class of the installed diffusers.

    python tests/server/engine/write_families.py

Each family with a tiny model in tests/server/engine is run: a mixed set of requests in the hub, against the plain
diffusers pipeline alone. All other classes are asked whether they would be served. Takes about ten minutes.
"""

import contextlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / part) for part in ("server", "tests/server/engine")]

from pixwire_server.engine.loader import quiet_libraries  # noqa: E402

quiet_libraries()
warnings.simplefilter("ignore")

import diffusers  # noqa: E402
import torch  # noqa: E402
from hub_lab import FAMILIES, Family, Lab, distance  # noqa: E402
from picture_lab import STEPS, Kind, alone, patched, task  # noqa: E402
from test_control import MODELS, controlled  # noqa: E402
from test_kinds import KINDS  # noqa: E402
from test_pitfalls import PITFALLS  # noqa: E402
from test_variants import TASKS, job  # noqa: E402
from tiny_rare import flux_fill  # noqa: E402

from pixwire_server.engine import proxy  # noqa: E402
from pixwire_server.engine.api import INPAINT, TXT2IMG  # noqa: E402
from pixwire_server.engine.batch_key import Signature  # noqa: E402
from pixwire_server.engine.card import check_pipeline_class  # noqa: E402
from pixwire_server.engine.families import FAMILIES as CLASSES  # noqa: E402
from pixwire_server.engine.families import ONLY, Task  # noqa: E402
from pixwire_server.engine.folder import ModelRefusedError  # noqa: E402
from pixwire_server.engine.variants import Variant, variants  # noqa: E402

TABLE = ROOT / "docs" / "families.md"

HEAD = """# Pipeline families

Made by `python tests/server/engine/write_families.py` with diffusers {version}, torch {torch}. Do not edit.

A model folder is served by its pipeline class. Below is what every class that makes images from text gets:

- **batches**: requests share forward passes at every step, whatever their prompts, seeds, samplers, step counts and
  guidance scales. Tested with a tiny model of random weights: a mixed set in the engine against the plain diffusers
  pipeline alone, same seeds. The difference is the largest of any colour value (0..1); 0 means equal bits after the
  conversion to float32. In float64 rounding cannot hide a mistake in joining or dividing rows; float32 and bfloat16
  show what the order of summation makes of it (mode `fast`; in mode `exact` there is no difference between a request
  alone and in any company). Tiny random models differ more than trained ones of size: they do not average.
- **runs alone**: correct, but every request has its forward passes to itself; the reason is given. A class of which
  one model of two runs alone (perturbed attention with a ControlNet) counts as batching.
- **served as a sibling**: a class of the same family over the same weights; the kinds it stands for are tested with the
  class named there.
- **refused**: the server does not start with such a model; the reason is given.

Arguments are joined by explicit rules (`server/pixwire_server/engine/batch_key.py`). One without a rule, or of another
form than its rule expects, makes its call run alone: batching degrades, it does not guess.

`control` is a control image: for a ControlNet, a T2I-Adapter, or channels of the model itself. Models of the families
of Stable Diffusion 1 and 2, SDXL, Kolors and FLUX.1 also take a `style` picture when their folder holds an IP-Adapter
(`ip_adapter/` with one `.safetensors` file and its `image_encoder/`): tasks of equal `ip_scale` share passes, and tasks
without a picture compute on the model as it was.
"""

DTYPES = (torch.float32, torch.bfloat16)
Jobs = list[tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class Subject:
    """A class doing one kind of task: `make` builds requests for a number type, `exact` is the type to compare in."""

    name: str
    kind: str
    exact: torch.dtype
    make: Callable[[torch.dtype], Jobs]
    context: Callable[[], Any]


@dataclass(frozen=True)
class Outcome:
    """How a set of requests went."""

    passes: int
    own: int
    difference: float
    rounding: tuple[str, ...]
    why: str

    @property
    def cells(self) -> str:
        shared = self.passes < self.own
        word = "batches" if shared else f"runs alone: {self.why or 'no two calls were alike'}"
        return " | ".join([word, f"{self.own} in {self.passes}", f"{self.difference:.1g}", *self.rounding])


def measure(subject: Subject) -> Outcome:
    """Run the requests together and alone."""
    reasons: set[str] = set()
    sign = proxy.sign

    def noting(*args: Any, **kwargs: Any) -> Signature:
        signature = sign(*args, **kwargs)
        if signature.alone:
            reasons.add(signature.why)
        return signature

    with subject.context():
        proxy.sign = noting
        try:
            lab, difference = together(subject.make(subject.exact))
        finally:
            proxy.sign = sign
        rounding = tuple(in_type(subject, dtype) for dtype in DTYPES)
    own = sum(request.passes for request in lab.requests.values())
    worn = any(overlay.key is None for request in lab.requests.values() for overlay in request.overlays)
    reasons |= {"its attention processors divide the rows of a pass among themselves"} if worn else set()
    return Outcome(lab.runner.passes, own, difference, rounding, "; ".join(sorted(reasons)))


def together(jobs: Jobs) -> tuple[Lab, float]:
    """All requests in one hub; the largest difference from the plain pipelines."""
    lab = Lab(jobs[0][0])
    for handle, (pipeline, arguments) in enumerate(jobs):
        lab.submit(handle, fresh(arguments), pipeline=pipeline)
    lab.run()
    return lab, max(distance(lab.images(i), seeded(p, fresh(arguments))) for i, (p, arguments) in enumerate(jobs))


def in_type(subject: Subject, dtype: torch.dtype) -> str:
    """The difference in another number type; "-" where the plain pipeline does not run in it."""
    jobs = subject.make(dtype)
    try:
        seeded(jobs[0][0], fresh(jobs[0][1]))
    except (RuntimeError, ValueError, TypeError) as error:
        print(f"   {subject.name} in {dtype}: {type(error).__name__}: {str(error)[:100]}", flush=True)
        return "-"
    return f"{together(jobs)[1]:.1g}"


def seeded(pipeline: Any, arguments: Mapping[str, Any]) -> torch.Tensor:
    return alone(Variant(pipeline, {}), arguments)


def fresh(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments with an unused generator."""
    return arguments | {"generator": torch.Generator("cpu").manual_seed(arguments["generator"].initial_seed())}


# ---------------------------------------------------------------------------------------------- subjects


def nothing() -> Any:
    return contextlib.nullcontext()


def of_family(family: Family) -> Iterator[Subject]:
    """A family's pipeline and its variants without control."""

    def texts(dtype: torch.dtype) -> Jobs:
        pipeline = family.pipeline(dtype)
        return [(pipeline, family.job(k, dtype)) for k in (0, 1, 3)]

    yield Subject(family.pipeline_class.__name__, TXT2IMG, family.dtype, texts, nothing)
    for wanted, variant in variants(family.pipeline()).items():
        if wanted[0] != TXT2IMG and not wanted[1]:
            make = pictured(family.pipeline, family, wanted)
            yield Subject(type(variant.pipeline).__name__, wanted[0], family.dtype, make, nothing)


def pictured(build: Callable[[torch.dtype], Any], family: Family, wanted: Task) -> Callable[[torch.dtype], Jobs]:
    def make(dtype: torch.dtype) -> Jobs:
        variant = variants(build(dtype))[wanted]
        ks = [k for k, kind in enumerate(TASKS) if kind[0] == wanted[0]]
        return [(variant.pipeline, job(family, k, variant, dtype)) for k in (*ks, ks[0])]

    return make


def with_control(name: str) -> Iterator[Subject]:
    build, _ = MODELS[name]
    for wanted, variant in variants(build()).items():
        if wanted[1]:

            def make(dtype: torch.dtype, wanted: Task = wanted) -> Jobs:
                made = variants(build().to(dtype))[wanted]
                ks = [k for k, kind in enumerate(TASKS) if kind[0] == wanted[0]]
                return [(made.pipeline, controlled(name, k, made, dtype)) for k in (*ks, ks[0])]

            yield Subject(type(variant.pipeline).__name__, f"{wanted[0]} with control", torch.float64, make, nothing)


def of_kind(kind: Kind) -> Iterator[Subject]:
    """What a class of `test_kinds` and its siblings do."""
    for wanted, variant in kind.variants().items():
        label = f"{wanted[0]} with control" if wanted[1] else wanted[0]

        def make(dtype: torch.dtype, wanted: Task = wanted) -> Jobs:
            made = kind.variants(dtype)[wanted]
            return [(made.pipeline, task(kind, k, wanted, made, dtype)) for k in range(len(STEPS))]

        def context() -> Any:
            return patched(kind, kind.variants())

        yield Subject(type(variant.pipeline).__name__, label, kind.dtype, make, context)


def subjects() -> Iterator[Subject]:
    """Everything there is a tiny model for; of several for one class and kind the first one counts."""
    for family in FAMILIES.values():
        yield from of_family(family)
    fill = lambda dtype: flux_fill().to(dtype)  # noqa: E731
    flux = FAMILIES["flux"]
    make = pictured(fill, flux, (INPAINT, False))
    yield Subject("FluxFillPipeline", INPAINT, flux.dtype, make, nothing)
    for name in MODELS:
        yield from with_control(name)
    for kind in KINDS.values():
        yield from of_kind(kind)


# ---------------------------------------------------------------------------------------------- classes


def image_classes() -> Iterator[tuple[str, type[Any]]]:
    """Everything diffusers exports that calls itself a pipeline."""
    for name in sorted(dir(diffusers)):
        found = getattr(diffusers, name, None) if name.endswith("Pipeline") else None
        if found is None or found is diffusers.DiffusionPipeline or ".dummy_" in found.__module__:
            continue
        if isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline):
            yield name, found


def verdict(found: type[Any]) -> str:
    """ "" for a class that would be served, else why not."""
    try:
        check_pipeline_class(found)
    except ModelRefusedError as error:
        return str(error).split("cannot be served: ", 1)[-1].split(". Served are", 1)[0].rstrip(".")
    return ""


def makes_images_from_text(found: type[Any]) -> bool:
    parameters = inspect.signature(found.__call__).parameters
    return {"prompt", "num_images_per_prompt"} <= set(parameters) and "num_frames" not in parameters


def sibling_of(name: str) -> str:
    """The class whose folders a class that is named in a family only is served from."""
    family = next((family for family in CLASSES if name in family.classes().values()), None)
    return "" if family is None else ", ".join(f"`{n}`" for n in sorted(family.named() | (set(ONLY) & {name})))


def table(head: Iterable[str], rows: Iterable[str]) -> list[str]:
    columns = list(head)
    return [" | ".join(columns).join(("| ", " |")), "|" + " --- |" * len(columns), *(f"| {row} |" for row in rows), ""]


def main() -> None:
    rows: dict[tuple[str, str], str] = {}
    for subject in subjects():
        if (subject.name, subject.kind) not in rows:
            rows[subject.name, subject.kind] = measure(subject).cells
            print(subject.name, subject.kind, rows[subject.name, subject.kind], flush=True)
    TABLE.write_text(document(rows), encoding="utf-8")


def document(rows: Mapping[tuple[str, str], str]) -> str:
    """The page, from the cells by class and kind."""
    tested = {pipeline for pipeline, _ in rows}
    others = [(name, found) for name, found in image_classes() if name not in tested and makes_images_from_text(found)]
    siblings = [(name, home) for name, found in others if (home := sibling_of(name))]
    rest = [(name, verdict(found)) for name, found in others if not sibling_of(name)]
    text = HEAD.format(version=diffusers.__version__, torch=torch.__version__.split("+")[0])
    cells = [f"`{pipeline}` | {kind} | {outcome}" for (pipeline, kind), outcome in sorted(rows.items())]
    head = ("class", "kind", "result", "forward passes: needed in computed", "difference", "float32", "bfloat16")
    lines = [text, "## Tested", "", *table(head, cells)]
    if untested := [name for name, why in rest if not why]:
        lines += ["## Not tested", "", *(f"- `{name}`" for name in untested), ""]
    if siblings:
        lines += [
            "## Served as a sibling",
            "",
            *table(("class", "folders name"), (f"`{n}` | {h}" for n, h in siblings)),
        ]
    lines += ["## Refused", "", *table(("class", "why"), (f"`{name}` | {why}" for name, why in rest if why))]
    count = sum(not makes_images_from_text(found) for _, found in image_classes())
    lines += [f"Not about images from text, and refused: {count} more classes (video, sound, upscaling, ...).", ""]
    lines += [
        "## What goes wrong when requests share a pipeline",
        "",
        "Each with the test that shows that it does not.",
    ]
    lines += ["", *table(("pitfall", "test"), (f"{pitfall} | `tests/{where}`" for pitfall, where in PITFALLS))]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
