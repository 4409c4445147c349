"""`pixwire.Pipeline`: calls a server the way one calls a diffusers pipeline; one line changes.

    pipe = pixwire.Pipeline("pixwire://localhost")          # was: StableDiffusionPipeline.from_pretrained("...")
    image = pipe("a red circle", num_inference_steps=20, generator=torch.Generator().manual_seed(7)).images[0]

Text to image; with `image`, image to image; with `mask_image` too, inpainting. Needs pillow, and torch only if the
program uses it itself. The seed is the same, and so is the image, as far as the server's machine computes the same.
"""

import hashlib
import operator
from collections.abc import Callable, Sequence
from time import monotonic as now
from types import TracebackType
from typing import Any, Self

from pixwire_protocol.record import record

from .arguments import new_job_id
from .core.handle import left_of
from .errors import ConnectionLost, PixwireError, RequestFailed, RequestTimeout, invalid
from .events import Preview
from .image import Image
from .sync.client import Client
from .sync.job import Job
from .url import DEFAULT_URL

MAX_SEED = 2**63 - 1
CANCEL_SECONDS = 5.0  # how long an interrupted call waits for the server to take the cancellation
OUTPUTS = ("pil", "np", "pt")
_IGNORED = ("enable_", "disable_", "set_progress_bar_config", "unload_")
"""Beginnings of methods that tell a local pipeline how to use its machine. The server knows that for itself."""

StepCallback = Callable[["Pipeline", int, float | None, dict[str, Any]], Any]


@record
class PipelineOutput:
    """What a call returns, as a diffusers pipeline does.

    Attributes:
        images: a list of PIL images, or an array (float32, 0 to 1, images x height x width x 3), or a tensor (images x
            3 x height x width).
        nsfw_content_detected: None; nothing looks for it.
        results: the same as `pixwire.Image`, which knows seed, steps and timings.
    """

    images: Any
    nsfw_content_detected: None = None
    results: tuple[Image, ...] = ()

    def __getitem__(self, index: int) -> Any:
        return (self.images, self.nsfw_content_detected)[index]


class Pipeline:
    """A server in the place of a local pipeline. May be called from many threads; use it in a `with`, or `close` it.

    Args:
        url: of the server, or a `pixwire.Client` to use (which `close` then leaves open).
        model: the model of the server to use; None: the server's default.
        options: of `pixwire.Client`: token, cafile, ...
    """

    def __init__(self, url: str | Client = DEFAULT_URL, *, model: str | None = None, **options: Any) -> None:
        self._is_mine = isinstance(url, str)
        self._client = Client(url, **options) if isinstance(url, str) else url
        self.model = model
        self._interrupt = False

    @classmethod
    def from_pretrained(cls, url: str | Client = DEFAULT_URL, **options: Any) -> Self:
        """The same as `Pipeline(url, ...)`."""
        return cls(url, **options)

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        image: Any = None,
        mask_image: Any = None,
        control_image: Any = None,
        ip_adapter_image: Any = None,
        height: int | None = None,
        width: int | None = None,
        strength: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        controlnet_conditioning_scale: float | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: Any = None,
        seed: int | Sequence[int] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (),
        timeout: float | None = None,
        **submit: Any,
    ) -> Any:
        """Makes images; the names mean what they mean in diffusers. What is left out is the server's choice.

        generator: a `torch.Generator`, of which the seed is taken, or a list with one for each image; `seed` is the
            same without torch. With one seed for several images, image i is made with seed + i (diffusers draws them
            all from one generator, so only the first is the same).
        callback_on_step_end: called as `callback(pipe, step, timestep, {})` after each denoising step of the first
            prompt; the timestep is a number, or None where the server does not know it (any more), and there are no
            tensors to change. `pipe._interrupt = True` in it, an exception from it and Ctrl-C cancel the jobs.
        timeout: seconds for the whole call, however many images it makes.
        submit: more arguments of `Client.submit`: priority, deadline, tags, adapters, ...

        Returns a PipelineOutput, or `(images, None)` when not `return_dict`. Raises as `Client.generate` does.
        """
        _check(output_type, callback_on_step_end_tensor_inputs)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise invalid("prompt", None, "a prompt, or a list of them", "there is no prompt in the list; give one")
        shared = {"steps": num_inference_steps, "guidance_scale": guidance_scale, "strength": strength, **submit}
        shared |= {"image": image, "mask": mask_image, "control": control_image, "style": ip_adapter_image}
        shared |= {"control_scale": controlnet_conditioning_scale, "height": height, "width": width}
        negatives = _each(negative_prompt, len(prompts), "negative_prompt")
        requests = [
            {"model": self.model, **shared, "prompt": text, "negative_prompt": no}
            for text, no in zip(prompts, negatives, strict=True)
        ]
        seeds = _seeds(generator, seed, len(prompts), num_images_per_prompt)
        made = self._make(requests, seeds, num_images_per_prompt, callback_on_step_end, timeout)
        images = _as(output_type, made)
        return PipelineOutput(images, None, tuple(made)) if return_dict else (images, None)

    def _make(
        self,
        requests: list[dict[str, Any]],
        seeds: list[list[int] | int | None],
        count: int,
        callback: StepCallback | None,
        timeout: float | None,
    ) -> list[Image]:
        """Submits everything first, so that the server can work at all of it at once."""
        self._interrupt = False
        left = _clock(timeout)
        jobs: list[Job] = []
        try:
            for request, chosen in zip(requests, seeds, strict=True):
                if isinstance(chosen, list):
                    for one in chosen:
                        self._submit(jobs, {**request, "seed": one}, left())
                else:
                    self._submit(jobs, {**request, "seed": chosen, "count": count}, left())
            if callback is not None:
                self._follow(jobs, callback, left())
            return [image for job in jobs for image in job.images(timeout=left())]
        except BaseException:
            self._cancel(jobs, "the call was given up")
            raise

    def _submit(self, jobs: list[Job], request: dict[str, Any], left: float | None) -> None:
        """Adds a job to those that are cancelled when the call ends early: also one that was being sent just then."""
        job_id = request.get("job_id") or new_job_id()
        time = {} if left is None else {"timeout": left}  # else that of `submit`
        try:
            jobs.append(self._client.submit(**{**request, "job_id": job_id, **time}))
        except (TypeError, RequestFailed):  # nothing was taken
            raise
        except BaseException:
            jobs.append(self._client.job(job_id))
            raise

    def _follow(self, jobs: Sequence[Job], callback: StepCallback, timeout: float | None) -> None:
        told = 0
        with jobs[0].events(timesteps=True, timeout=timeout) as events:
            for event in events:
                if isinstance(event, Preview):
                    continue
                for step in range(told, event.step):
                    known = step < len(event.timesteps)
                    callback(self, step, event.timesteps[step] if known else None, {})
                    told = step + 1
                    if self._interrupt:
                        self._cancel(jobs, "the callback wants no more")
                        return

    @staticmethod
    def _cancel(jobs: Sequence[Job], reason: str) -> None:
        for job in jobs:
            try:
                job.cancel(reason, timeout=CANCEL_SECONDS)
            except (ConnectionLost, RequestTimeout):
                return  # there is no connection: the others cannot be cancelled either
            except PixwireError:
                continue  # that one is not there (any more)

    @property
    def client(self) -> Client:
        """The client that makes the calls."""
        return self._client

    def to(self, *where: Any, **how: Any) -> Self:
        """Nothing: the server knows its devices."""
        return self

    def close(self) -> None:
        """Closes the connection, unless the client was given."""
        if self._is_mine:
            self._client.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_IGNORED):
            return lambda *args, **more: None
        raise AttributeError(f"a pixwire.Pipeline has no {name!r}; it is a server's, not a local pipeline")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check(output_type: str, tensors: Sequence[str]) -> None:
    if output_type not in OUTPUTS:
        allowed = ", ".join(OUTPUTS)
        raise invalid("output_type", output_type, allowed, f"output_type must be one of {allowed}")
    if tensors:
        text = "callback_on_step_end_tensor_inputs must be empty: the tensors are at the server"
        raise invalid("callback_on_step_end_tensor_inputs", None, "empty", text)


def _each(value: Any, count: int, name: str) -> list[Any]:
    """One for each prompt."""
    if value is None or isinstance(value, str):
        return [value] * count
    if len(value) != count:
        text = f"{name} has {len(value)} entries for {count} prompts; give one, or one for each"
        raise invalid(name, len(value), f"{count} entries", text)
    return list(value)


def _seeds(generator: Any, seed: Any, prompts: int, count: int) -> list[list[int] | int | None]:
    """What to pass as seed for each prompt: none, that of its first image, or a list with one for each image."""
    if generator is not None and seed is not None:
        raise invalid("seed", None, "generator or seed", "generator and seed are two names of the same; give one")
    given = generator if generator is not None else seed
    if given is None:
        return [None] * prompts
    if isinstance(given, Sequence):
        found = [_seed(one) for one in given]
        if len(found) != prompts * count:
            text = f"{len(found)} generators were given for {prompts * count} images; give one, or one for each"
            raise invalid("generator", len(found), f"{prompts * count} of them", text)
        return [found[start : start + count] for start in range(0, len(found), count)]
    first = _seed(given)
    wanted = [first + number * count for number in range(prompts)]
    return [one if one <= MAX_SEED else one - MAX_SEED - 1 for one in wanted]


def _seed(given: Any) -> int:
    """The seed of a generator: the one it was made with, if it was not used since. It counts as used after this."""
    if not hasattr(given, "initial_seed"):
        try:
            return operator.index(given)  # also numpy's whole numbers
        except TypeError:
            allowed = "a torch.Generator, a whole number, or a list of them"
            raise invalid("generator", type(given).__name__, allowed, f"generator must be {allowed}") from None
    import torch  # type: ignore[import-not-found,unused-ignore]

    state = given.get_state()
    seed = int(given.initial_seed())
    if not torch.equal(state, torch.Generator(device=given.device).manual_seed(seed).get_state()):
        seed = int.from_bytes(hashlib.sha256(bytes(state.tolist())).digest()[:8], "big")
    torch.randint(2, (1,), generator=given, device=given.device)  # the next call is to make another image
    return seed & MAX_SEED


def _clock(timeout: float | None) -> Callable[[], float | None]:
    """What is left of the time from now on; None: any time."""
    start = now()
    return lambda: left_of(timeout, now() - start)


def _as(output_type: str, images: list[Image]) -> Any:
    """The images in the form that the caller wants."""
    if output_type == "pil":
        return [image.to_pil() for image in images]
    import numpy as np

    array = np.stack([image.to_numpy() for image in images]).astype(np.float32) / 255
    if output_type == "np":
        return array
    import torch

    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())
