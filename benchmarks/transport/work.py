"""What every peer serves: the four operations of a job, kept in memory, without any transport.

submit    takes parameters, answers with the status of a new job
status    answers with the status and the parameters
events    the present state, then whatever happens (nothing does: these jobs wait for ever)
fetch     the bytes of an image

The answers have the fields that pixwire's have. Peers keep jobs in a dict and images in memory; pixwire journals jobs
on disk and sends images from files: what differs beside the transport is in favour of the peers.
"""

import itertools
import random
import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

KIB, MIB = 1024, 1024 * 1024
SIZES: Final = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB)
"""Of the images that are fetched."""
LARGEST: Final = 64 * MIB
PROMPT: Final = "a red circle on a blue background"
PARAMS: Final[dict[str, Any]] = {"prompt": PROMPT, "seed": 1, "steps": 12}
DEFAULTS: Final[dict[str, Any]] = {
    "negative_prompt": "",
    "model": "none",
    "width": 64,
    "height": 64,
    "guidance_scale": 1.0,
    "count": 1,
    "media_type": "image/png",
}
_seeds = itertools.count(1 << 32)


def new_params() -> dict[str, Any]:
    """Of one SUBMIT that is measured: a seed of its own, so that no server answers out of what it knows of the last."""
    return PARAMS | {"seed": next(_seeds)}


STANDING: Final = "standing"
"""The job that STATUS and events are asked about where a peer needs one that is there from the start."""


def image_job(size: int) -> str:
    """The id of the job whose artifact 0 has this size."""
    return f"image-{size}"


@cache
def image(size: int) -> bytes:
    """Its bytes: incompressible, the same in every process (and what `benchmarks.stored_job` stores)."""
    return random.Random(size).randbytes(size)


@dataclass(slots=True)
class Job:
    """One job of a peer."""

    job: str
    params: dict[str, Any]
    queue_position: int
    kind: str = "txt2img"
    state: str = "queued"
    seq: int = 1
    attempt: int = 1
    step: int = 0
    eta_ms: int = 0

    def status(self) -> dict[str, Any]:
        """The map that answers STATUS."""
        return {
            "job": self.job,
            "kind": self.kind,
            "state": self.state,
            "seq": self.seq,
            "attempt": self.attempt,
            "step": self.step,
            "steps": self.params["steps"],
            "seed": self.params["seed"],
            "queue_position": self.queue_position,
            "params": self.params,
            "eta_ms": self.eta_ms,
        }


@dataclass(slots=True)
class Board:
    """The jobs of one peer."""

    jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add(STANDING, PARAMS)

    def submit(self, params: dict[str, Any]) -> dict[str, Any]:
        """A new job; its status."""
        return self._add(uuid.uuid4().hex, params).status()

    def _add(self, name: str, params: dict[str, Any]) -> Job:
        position = len(self.jobs) + 1
        job = self.jobs[name] = Job(name, DEFAULTS | params, position, eta_ms=40 * position)
        return job

    def status(self, job: str) -> dict[str, Any] | None:
        """None: there is no such job."""
        found = self.jobs.get(job)
        return None if found is None else found.status()

    def image(self, job: str) -> bytes | None:
        """Artifact 0 of the job; None: there is none."""
        name, _, size = job.rpartition("-")
        return image(int(size)) if name == "image" and size.isdecimal() and int(size) <= LARGEST else None
