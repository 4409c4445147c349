"""Timesteps on the CPU: no scheduler in use waits for the device in a step.

The latents are on the meta device, which has no values: whoever asks for one, as a lookup by a timestep on the device
or a comparison would, gets an error. On a GPU that question is where the host waits.
"""

import sys
from typing import Any

import diffusers
import pytest
import torch
from hub_lab import FAMILIES, QUIET

pytestmark = [
    *QUIET,
    # numpy on how torch implements its array protocol
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

SCHEDULERS = (
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "EDMEulerScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler", "LCMScheduler", "PNDMScheduler", "SASolverScheduler", "TCDScheduler",
    "UniPCMultistepScheduler",
)  # fmt: skip


def steps_without_values(scheduler: Any, **options: Any) -> None:
    """All steps of a scheduler whose timesteps are on the CPU, with latents that have no values."""
    scheduler.set_timesteps(4, device="cpu", **options)
    latents = torch.empty(1, 4, 8, 8, device="meta")
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            latents = scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(torch.empty_like(latents), timestep, latents, return_dict=False)[0]
    assert latents.shape == (1, 4, 8, 8)
    assert latents.device.type == "meta"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_no_step_reads_the_latents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise_without_values(monkeypatch)
    steps_without_values(getattr(diffusers, name)())


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"sana_sprint"}))  # its timesteps have to be on the device
def test_no_scheduler_of_a_family_reads_the_latents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise_without_values(monkeypatch)
    scheduler = FAMILIES[name].build().scheduler
    options: dict[str, Any] = {"mu": 0.7} if scheduler.config.get("use_dynamic_shifting") else {}
    steps_without_values(type(scheduler).from_config(scheduler.config), **options)


def noise_without_values(patch: pytest.MonkeyPatch) -> None:
    """What samplers with noise draw, they draw on the CPU in the engine, from the request's generator."""

    def drawn(shape: Any, generator: Any = None, device: Any = None, dtype: Any = None, **_: Any) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    for module in [m for n, m in list(sys.modules.items()) if n.startswith("diffusers.schedulers.")]:
        if hasattr(module, "randn_tensor"):
            patch.setattr(module, "randn_tensor", drawn)


def test_a_scheduler_that_reads_the_latents_is_caught() -> None:
    class Reading(diffusers.DDIMScheduler):
        def step(self, model_output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            float(model_output.mean())
            return super().step(model_output, *args, **kwargs)

    with pytest.raises(RuntimeError):
        steps_without_values(Reading())
