"""Decodes in a stream of their own.

On a GPU a pass is work that the device does behind the processor's back, one stream in order. A large decode in the
stream of the denoiser would make the next step of everybody else wait. In a second stream the device fills its gaps
with it. On a CPU there is one order of work, and nothing here does anything.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from pixwire_server.engine.request import Call

_cuda: Any = torch.cuda


class DecodeLane:
    """The stream of the decodes, one for each device. Belongs to the hub's thread."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, Any] = {}

    @contextlib.contextmanager
    def taken(self, group: Sequence[Call]) -> Iterator[None]:
        """Decode `group` inside, and let its pipelines run on inside, too: what they do with the picture belongs there.

        Whoever reads the images of a request waits for the stream (`Request.end`, `Request.images`). A request that
        parks again, as in a chain of pipelines, goes back to the common stream, which then waits for this one.
        """
        given = _tensors(group)
        if not given or given[0].device.type != "cuda" or _moves_its_weights(group[0]):
            yield
            return
        device = given[0].device
        side, main = self._stream(device), _cuda.current_stream(device)
        side.wait_stream(main)
        for tensor in given:
            tensor.record_stream(side)  # else its memory could be given away while this stream still reads it
        requests = [call.request for call in group]
        for request in requests:
            request.stream = side
        with _cuda.stream(side):
            yield
        for request in requests:
            request.stream = None
        if any(request.parked is not None or request.error is not None for request in requests):
            # Nobody waits for what a failed one left under way here, and its model may go.
            main.wait_stream(side)

    def _stream(self, device: torch.device) -> Any:
        if device not in self._streams:
            self._streams[device] = _cuda.Stream(device)
        return self._streams[device]


def _tensors(group: Sequence[Call]) -> list[torch.Tensor]:
    leaves = [leaf for call in group for leaf in pytree.tree_leaves(dict(call.arguments))]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _moves_its_weights(call: Call) -> bool:
    """Whether the module is carried to the device for its passes (offload): that is done in the common stream."""
    return hasattr(getattr(call.run, "__self__", None), "_hf_hook")
