"""The loop that every stage shares: schedule, gradient averaging, EMA, progress and checkpoints."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from .options import Options

WARM_UP_STEPS = 150


@dataclass(frozen=True)
class Budget:
    """How long a stage runs and how fast it learns."""

    minutes: float
    steps: int
    rate: float
    ema: float = 0.999
    weight_decay: float = 1e-2
    cosine: bool = True
    """Whether the rate falls at all."""


class Loop:
    """AdamW with warm-up and a cosine to zero over the stage's budget, and a moving average (EMA) of the weights.

    Progress counts the seconds spent in this stage over all its runs, so a resumed stage goes on where it stopped and a
    changed budget stretches what is left of the schedule.  With several processes the gradients and the progress are
    averaged at every step: all take the same decision at the same step.
    """

    def __init__(self, stage: str, modules: Sequence[nn.Module], budget: Budget, options: Options) -> None:
        self.stage, self.options, self.budget = stage, options, budget
        self.modules = list(modules)
        self.averages = [copy.deepcopy(m).eval().requires_grad_(False) for m in modules]
        self._live: list[torch.Tensor] = [p for m in self.modules for p in m.parameters()]
        self._mean: list[torch.Tensor] = [p for m in self.averages for p in m.parameters()]
        self.optimiser = torch.optim.AdamW(
            self._live, budget.rate, betas=(0.9, 0.99), weight_decay=budget.weight_decay, fused=True
        )
        self.step_count, self.progress, self._spent = 0, 0.0, 0.0
        self._started = self._reported = self._saved = time.monotonic()
        self._trace: dict[str, float] = {}
        self._bar = tqdm(desc=stage, total=100, unit="%", leave=False, disable=None if is_main() else True)
        self.on_checkpoint: Callable[[], None] | None = None
        self._load()

    @property
    def path(self) -> Path:
        return self.options.work / f"{self.stage}.loop.pt"

    @property
    def running(self) -> bool:
        return self.progress < 1

    @property
    def seconds(self) -> float:
        """Time spent in this stage, earlier runs included."""
        return self._spent + time.monotonic() - self._started

    def step(self, loss: torch.Tensor, **trace: float) -> None:
        """One update; ``trace`` holds numbers to average and print."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.step_count += 1
        self._share_gradients()
        rate = self.budget.rate * min(1.0, self.step_count / WARM_UP_STEPS)
        if self.budget.cosine:
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(self._live, 1.0)
        self.optimiser.step()
        with torch.no_grad():
            decay = min(self.budget.ema, (1 + self.step_count) / (10 + self.step_count))
            torch._foreach_lerp_(self._mean, self._live, 1 - decay)
        self._report(loss=loss.item(), **trace)

    def _share_gradients(self) -> None:
        done = self._done(self.seconds)
        if dist.is_initialized():
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._live]
            flat = torch.cat([g.flatten() for g in grads] + [torch.tensor([done])])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            for p, g in zip(self._live, torch.split(flat[:-1], [p.numel() for p in self._live]), strict=True):
                p.grad = g.view_as(p)
            done = flat[-1].item()
        self.progress = done

    def _done(self, seconds: float) -> float:
        """The share of the budget that is used up."""
        return min(1.0, max(self.step_count / self.budget.steps, seconds / max(1e-9, self.budget.minutes * 60)))

    def _report(self, **trace: float) -> None:
        for key, value in trace.items():
            self._trace[key] = value if key not in self._trace else 0.98 * self._trace[key] + 0.02 * value
        now = time.monotonic()
        self._bar.update(int(100 * self.progress) - self._bar.n)
        if not self.running:
            self._bar.close()
        if is_main() and (not self.running or now - self._reported > self.options.report_seconds):
            self._reported = now
            figures = {k: float(f"{v:.4g}") for k, v in self._trace.items()}
            log(self.options, stage=self.stage, step=self.step_count, done=round(self.progress, 3), **figures)
        if is_main() and self.running and now - self._saved > self.options.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Write the checkpoint (first process only)."""
        self._saved = time.monotonic()
        state = {
            "live": [m.state_dict() for m in self.modules],
            "mean": [m.state_dict() for m in self.averages],
            "optimiser": self.optimiser.state_dict(),
            "step": self.step_count,
            "seconds": self.seconds,
        }
        replace(self.path, lambda p: torch.save(state, p))
        if self.on_checkpoint:
            self.on_checkpoint()

    def _load(self) -> None:
        if not self.path.exists():
            self._begin()
            return
        state: dict[str, Any] = torch.load(self.path, map_location=self.options.device, weights_only=True)
        for key, modules in (("live", self.modules), ("mean", self.averages)):
            for module, weights in zip(modules, state[key], strict=True):
                module.load_state_dict(weights)
        self.optimiser.load_state_dict(state["optimiser"])
        self.step_count, self._spent = state["step"], state["seconds"]
        self.progress = self._done(self._spent)  # without the time since: every process must find the same
        if is_main():
            log(self.options, stage=self.stage, resumed_at=self.step_count)

    def _begin(self) -> None:
        """Take the first weights from work/<stage>.init.pt, one state dict per module, if there is such a file."""
        given = self.options.work / f"{self.stage}.init.pt"
        if given.exists():
            states: list[dict[str, Any]] = torch.load(given, map_location=self.options.device, weights_only=True)
            for weights, *modules in zip(states, self.modules, self.averages, strict=False):
                for module in modules:
                    module.load_state_dict(weights)


def is_main() -> bool:
    """True in the process that prints and writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it is either the old one or the whole new one."""
    fresh = path.with_name(path.name + ".new")
    write(fresh)
    os.replace(fresh, path)


def log(options: Options, **fields: Any) -> None:
    """Print one line of progress and keep it in work/log.jsonl."""
    line = json.dumps({"at": time.strftime("%H:%M:%S"), **fields})
    print(line, flush=True)
    with (options.work / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def autocast(options: Options) -> torch.autocast:
    """bfloat16 where it pays: convolutions and matrix products."""
    return torch.autocast(torch.device(options.device).type, torch.bfloat16)


def launch(stage: Callable[[Options], None], options: Options) -> None:
    """Run a stage, as ``options.workers`` processes; several have one thread each and average their gradients."""
    if options.workers == 1:
        stage(options)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    meeting = options.work / "meeting"
    meeting.unlink(missing_ok=True)
    spawn(_worker, (stage, options, meeting), options.workers)  # type: ignore[no-untyped-call]


def _worker(index: int, stage: Callable[[Options], None], options: Options, meeting: Path) -> None:
    torch.set_num_threads(1)
    # not a file:// address, which loses the first folder of a relative path
    store = dist.FileStore(str(meeting), options.workers)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=index, world_size=options.workers)
    stage(options)
    dist.barrier()
    dist.destroy_process_group()
