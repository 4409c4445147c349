"""Several processes train as one, or share work."""

import importlib
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from pixwire_server.builtin_model.training.children import ChildLostError, share
from pixwire_server.builtin_model.training.loop import Budget, Loop, launch
from pixwire_server.builtin_model.training.options import Options

STAGE = """
import torch
from pixwire_server.builtin_model.training.children import ChildLostError, share
from pixwire_server.builtin_model.training.loop import Budget, Loop, rank

def train(options):
    torch.manual_seed(0)
    module = torch.nn.Linear(2, 1)
    loop = Loop("toy", [module], Budget(10, 3, 0.1), options)
    while loop.running:
        loop.step(module(torch.full((1, 2), 1.0 + rank())).square().mean())
    torch.save(module.state_dict(), options.work / f"weights-{rank()}.pt")
"""


def test_two_processes_in_a_relative_folder_learn_what_one_learns_from_both_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stage_of_two.py").write_text(STAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # which the processes take over
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # launch sets it for good
    options = Options(Path("a/run"), processes=2)
    options.work.mkdir(parents=True)
    launch(importlib.import_module("stage_of_two").train, options)
    assert not multiprocessing.active_children()
    first, second = (torch.load(options.work / f"weights-{rank}.pt", weights_only=True) for rank in range(2))

    torch.manual_seed(0)
    module = torch.nn.Linear(2, 1)
    loop = Loop("alone", [module], Budget(10, 3, 0.1), options)
    while loop.running:
        loop.step(module(torch.tensor([[1.0, 1.0], [2.0, 2.0]])).square().mean())
    for key, weights in module.state_dict().items():
        assert torch.equal(first[key], second[key])
        assert torch.allclose(first[key], weights)
    assert not torch.equal(torch.nn.init.zeros_(module.weight), first["weight"])


def _square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory is short
    return number * number


def test_shared_work_comes_back_in_order() -> None:
    assert list(share(_square, [3, 1, 2], processes=2)) == [9, 1, 4]


def test_a_process_that_is_killed_ends_the_work_with_a_word() -> None:
    with pytest.raises(ChildLostError, match=r"a process was killed.*fewer --processes"):
        list(share(_square, [1, -1, 2], processes=1))
