"""Writes docs/families.md: what becomes of every pipeline class of the installed diffusers.

    python tests/server/engine/write_families.py

Each family with a tiny model in tests/server/engine is run: a mixed set of requests in the hub, against the plain
diffusers pipeline alone. All other classes are asked whether they would be served.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / part) for part in ("server", "tests/server/engine")]

from pixwire_server.engine.loader import quiet_libraries  # noqa: E402

quiet_libraries()

import diffusers  # noqa: E402
import torch  # noqa: E402
from hub_lab import FAMILIES, Family, Lab, distance, plain  # noqa: E402
from test_control import MODELS, controlled  # noqa: E402
from test_variants import TASKS, job  # noqa: E402
from tiny_rare import flux_fill  # noqa: E402

from pixwire_server.engine import proxy  # noqa: E402
from pixwire_server.engine.api import INPAINT, TXT2IMG  # noqa: E402
from pixwire_server.engine.batch_key import Signature  # noqa: E402
from pixwire_server.engine.card import check_pipeline_class  # noqa: E402
from pixwire_server.engine.folder import ModelRefusedError  # noqa: E402
from pixwire_server.engine.variants import variants  # noqa: E402

TABLE = ROOT / "docs" / "families.md"

HEAD = """# Pipeline families

Made by `python tests/server/engine/write_families.py` with diffusers {version}, torch {torch}. Do not edit.

A model folder is served by its pipeline class. Below is what every class that makes images from text gets:

- **batches**: requests share forward passes at every step, whatever their prompts, seeds, samplers, step counts and
  guidance scales. Tested with a tiny model of random weights: a mixed set in the engine against the plain diffusers
  pipeline alone, same seeds. The difference is the largest of any colour value (0..1); 0 means equal bits. It is
  measured in float64, where rounding cannot hide a mistake in joining or dividing rows.
- **runs alone**: correct, but every request has its forward passes to itself; the reason is given.
- **not tested**: would be served; nobody has compared its images yet. Calls with arguments that the engine has no rule
  for run alone.
- **refused**: the server does not start with such a model; the reason is given.

Arguments are joined by explicit rules (`server/pixwire_server/engine/batch_key.py`). One without a rule, or of another
form than its rule expects, makes its call run alone: batching degrades, it does not guess.
"""


@dataclass(frozen=True)
class Outcome:
    """How a set of requests went."""

    requests: int
    passes: int
    own: int
    difference: float
    why: str

    @property
    def cells(self) -> str:
        alone = self.passes == self.own
        word = f"runs alone: {self.why or 'no two calls were alike'}" if alone else "batches"
        return f"{word} | {self.own} in {self.passes} | {self.difference:.1g}"


def measure(jobs: list[tuple[Any, dict[str, Any]]]) -> Outcome:
    """Run (pipeline, arguments) pairs together and alone. Arguments are made twice: generators are used up."""
    reasons: list[str] = []
    sign = proxy.sign

    def listening(name: str, *args: Any, **options: Any) -> Signature:
        signature = sign(name, *args, **options)
        if signature.alone and "." not in name:
            reasons.append(signature.why)
        return signature

    proxy.sign = listening
    lab = Lab(jobs[0][0])
    for handle, (pipeline, arguments) in enumerate(jobs):
        lab.submit(handle, fresh(arguments), pipeline=pipeline)
    lab.run()
    proxy.sign = sign
    differences = [distance(lab.images(i), plain(p, fresh(arguments))) for i, (p, arguments) in enumerate(jobs)]
    own = sum(request.passes for request in lab.requests.values())
    return Outcome(len(jobs), lab.runner.passes, own, max(differences), "; ".join(sorted(set(reasons))))


def fresh(arguments: dict[str, Any]) -> dict[str, Any]:
    seed = arguments["generator"].initial_seed()
    return arguments | {"generator": torch.Generator("cpu").manual_seed(seed)}


def of_family(name: str, family: Family) -> Iterator[tuple[str, str, Outcome]]:
    """(class, what it does, outcome) for a family's pipeline and its variants."""
    pipeline = family.pipeline(family.dtype)
    yield type(pipeline).__name__, TXT2IMG, measure([(pipeline, family.job(k, family.dtype)) for k in (0, 1, 3)])
    for (kind, with_control), variant in variants(pipeline).items():
        if kind != TXT2IMG and not with_control:
            ks = [k for k, task in enumerate(TASKS) if task[0] == kind]
            ks += ks[:1]  # twice the same task: the others may differ in size
            jobs = [(variant.pipeline, job(family, k, variant, family.dtype)) for k in ks]
            yield type(variant.pipeline).__name__, kind, measure(jobs)


def for_inpainting() -> Iterator[tuple[str, str, Outcome]]:
    """The one class of models that can do nothing else and that is no other family's."""
    family, variant = FAMILIES["flux"], variants(flux_fill().to(torch.float64))[INPAINT, False]
    jobs = [(variant.pipeline, job(family, k, variant, family.dtype)) for k in (2, 4, 2)]
    yield type(variant.pipeline).__name__, INPAINT, measure(jobs)


def with_control(name: str) -> Iterator[tuple[str, str, Outcome]]:
    build, _ = MODELS[name]
    for (kind, has_control), variant in variants(build().to(torch.float64)).items():
        if has_control:
            ks = [k for k, task in enumerate(TASKS) if task[0] == kind]
            jobs = [(variant.pipeline, controlled(name, k, variant)) for k in (*ks, ks[0])]
            yield type(variant.pipeline).__name__, f"{kind} with control", measure(jobs)


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


def table(head: Iterable[str], rows: Iterable[str]) -> list[str]:
    columns = list(head)
    return [" | ".join(columns).join(("| ", " |")), "|" + " --- |" * len(columns), *(f"| {row} |" for row in rows), ""]


def main() -> None:
    rows: dict[tuple[str, str], str] = {}
    for name, family in FAMILIES.items():
        for pipeline, kind, outcome in of_family(name, family):
            print(name, pipeline, kind, outcome, flush=True)
            known = rows.get((pipeline, kind))
            rows[pipeline, kind] = outcome.cells if known is None or "alone" in outcome.cells else known
    for pipeline, kind, outcome in chain(for_inpainting(), *(with_control(name) for name in MODELS)):
        print(pipeline, kind, outcome, flush=True)
        rows[pipeline, kind] = outcome.cells
    tested = {pipeline for pipeline, _ in rows}
    untested = [(name, found) for name, found in image_classes() if name not in tested]
    text = HEAD.format(version=diffusers.__version__, torch=torch.__version__.split("+")[0])
    lines = [text, "## Tested", ""]
    cells = [f"`{pipeline}` | {kind} | {outcome}" for (pipeline, kind), outcome in sorted(rows.items())]
    lines += table(("class", "kind", "result", "forward passes: needed in computed", "difference"), cells)
    lines += [
        "## Not tested",
        "",
        *(f"- `{n}`" for n, c in untested if not verdict(c) and makes_images_from_text(c)),
        "",
    ]
    lines += ["## Refused", ""]
    refused = [f"`{n}` | {verdict(c)}" for n, c in untested if verdict(c) and makes_images_from_text(c)]
    lines += table(("class", "why"), refused)
    others = [f"`{name}`" for name, found in untested if not makes_images_from_text(found)]
    lines += [f"Not about images from text, and refused: {len(others)} more classes (video, sound, upscaling, ...)."]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
