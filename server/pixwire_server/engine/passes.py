"""Forward passes: one group of calls in, every call with its result or its error out.

Two modes. *Fast*: the rows of the group in one pass, or in as few as its row cap allows. *Exact*: every denoiser pass
has exactly `max_rows` rows, filled up with copies, and every decode exactly one, because kernels choose their order of
summation by the number of rows: with one number for everybody no image depends on its neighbours.

When a shared pass fails its calls are retried alone, so that only the culprit fails. When memory runs out the rows of
a pass are halved, and the smaller cap is remembered for that batch key.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from pixwire_server.engine import collate
from pixwire_server.engine.request import Call
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

log = logging.getLogger(__name__)

DECODE_CELLS = 64 * 64
"""Latent cells (height x width) decoded at once: one 512 x 512 image of an 8x VAE. Beyond it a shared decode saves
next to nothing and its memory grows to gigabytes; small images gain from sharing."""

_REMEMBERED_CAPS = 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host ran out of memory (on the host torch says so in a plain RuntimeError)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class PassRunner:
    """Runs groups of calls of one key. Not thread-safe: belongs to the denoise thread."""

    def __init__(self, max_rows: int, exact: bool) -> None:
        self.max_rows = max_rows
        self.exact = exact
        self.passes = 0
        self.rows = 0
        self._learned: OrderedDict[Hashable, int] = OrderedDict()

    def cap(self, call: Call) -> int:
        """Rows that one pass of this call's key may have."""
        if call.signature.alone:
            return call.signature.rows
        cap = self.max_rows
        if call.stage == DECODE:
            cap = 1 if self.exact else min(cap, max(1, DECODE_CELLS // _cells(call.arguments)))
        return min(cap, self._learned.get(call.signature.key, cap))

    def run(self, group: Sequence[Call]) -> None:
        """Set `result` or `error` of every call. Raises nothing that one of them could have caused."""
        try:
            self._attempt(group)
            return
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            log.warning(
                "a pass of %s shared by %d requests failed, retrying each alone: %s", group[0].name, len(group), error
            )
        for call in group:
            try:
                self._attempt([call])
            except Exception as error:
                call.error = error

    def _attempt(self, group: Sequence[Call]) -> None:
        first = group[0]
        while True:
            cap = self.cap(first)
            try:
                for call, result in zip(group, self._results(group, cap), strict=True):
                    call.result = result
                return
            except Exception as error:
                tried = cap if self._fills_up(first) else min(cap, sum(call.signature.rows for call in group))
                if not is_out_of_memory(error) or tried <= 1 or first.signature.alone:
                    raise
            self._lower_cap(first, tried // 2)  # outside the except block: its traceback holds the pass's tensors

    def _fills_up(self, call: Call) -> bool:
        """Whether passes of this call are filled up to their cap with copies."""
        return self.exact and call.stage == DENOISE

    def _lower_cap(self, call: Call, cap: int) -> None:
        self._learned[call.signature.key] = cap
        if len(self._learned) > _REMEMBERED_CAPS:
            self._learned.popitem(last=False)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning(
            "out of memory in %s: its passes have at most %d rows from now on%s",
            call.name,
            cap,
            "; exact images of this shape can differ from earlier ones" if self.exact and call.stage == DENOISE else "",
        )

    def _results(self, group: Sequence[Call], cap: int) -> list[Any]:
        first = group[0]
        if first.signature.alone:
            return [self._forward(first, first.arguments, group, first.signature.rows)]
        arguments = collate.gather(group)
        sizes = [call.signature.rows for call in group]
        total, rules = sum(sizes), first.signature.rules
        padded = self._fills_up(first)
        if total <= cap and not padded:
            output = self._forward(first, arguments, group, total)
            return [output] if len(group) == 1 else collate.scatter(output, sizes, collate.answers_in_lists(rules))
        return self._in_slices(group, arguments, cap, padded)

    def _in_slices(self, group: Sequence[Call], arguments: Mapping[str, Any], cap: int, padded: bool) -> list[Any]:
        """Passes of at most (padded: exactly) `cap` rows one after the other, their answers joined and divided."""
        sizes = [call.signature.rows for call in group]
        rules = group[0].signature.rules
        in_lists = collate.answers_in_lists(rules)
        outputs = []
        for start in range(0, sum(sizes), cap):
            end = min(start + cap, sum(sizes))
            filling = [end - 1] * (cap - (end - start) if padded else 0)
            rows = [*range(start, end), *filling]
            output = self._forward(
                group[0], collate.pick(arguments, rules, rows), _within(group, start, end), len(rows)
            )
            if filling:
                output = collate.scatter(output, [end - start, len(filling)], in_lists)[0]
            outputs.append(output)
        return collate.scatter(collate.concatenate(outputs, in_lists), sizes, in_lists)

    def _forward(self, call: Call, arguments: Mapping[str, Any], sharers: Sequence[Call], rows: int) -> Any:
        """The real call. Its cost is accounted to everybody in it once it has succeeded."""
        start = time.perf_counter()
        output = call.run(**arguments)
        elapsed = (time.perf_counter() - start) * 1000
        if call.stage != ENCODE:  # a text is encoded after the turn was given, see `view`
            log.debug("pass %s requests=%d rows=%d %.1f ms", call.name, len(sharers), rows, elapsed)
        if call.stage == DENOISE:
            self.passes += 1
            self.rows += rows
            for sharer in sharers:
                sharer.request.took_part(len(sharers))
        return output


def _cells(arguments: Mapping[str, Any]) -> int:
    """Latent cells of one row of a decode: the product of the last two dimensions."""
    latents = [v for v in arguments.values() if isinstance(v, torch.Tensor) and v.ndim > 2]
    return int(latents[0].shape[-1] * latents[0].shape[-2]) if latents else DECODE_CELLS


def _within(group: Sequence[Call], start: int, end: int) -> list[Call]:
    """The calls that have a row in [start, end)."""
    found, position = [], 0
    for call in group:
        if position < end and position + call.signature.rows > start:
            found.append(call)
        position += call.signature.rows
    return found
