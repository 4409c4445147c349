"""Forward passes: one group of calls in, every call with its result or its error out.

Two modes. *Fast*: the rows of the group in one pass, or in as few as its row cap allows. *Exact*: every denoiser pass
has exactly `max_rows` rows, filled up with copies, and every pass of the VAE exactly one, because kernels choose their
order of summation by the number of rows and their layout in memory: with one for everybody no image depends on its
neighbours.

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
from pixwire_server.engine.adapters import Adapters
from pixwire_server.engine.request import Call
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

log = logging.getLogger(__name__)

VAE_CELLS: Mapping[str, int] = {DECODE: 64 * 64, ENCODE: 512 * 512}
"""Latent cells (height x width) decoded at once, pixels encoded at once: one 512 x 512 image of an 8x VAE. Beyond it
a shared pass saves next to nothing and its memory grows to gigabytes; small images gain from sharing."""

_REMEMBERED = 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host ran out of memory (on the host torch says so in a plain RuntimeError)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class PassRunner:
    """Runs groups of calls of one key. Not thread-safe: belongs to the denoise thread."""

    def __init__(self, max_rows: int, exact: bool, adapters: Adapters | None = None) -> None:
        self.adapters = adapters
        self.max_rows = max_rows
        self.exact = exact
        self.passes = 0
        self.rows = 0
        self._learned: OrderedDict[Hashable, int] = OrderedDict()
        self._indivisible: OrderedDict[Hashable, None] = OrderedDict()

    def cap(self, call: Call) -> int:
        """Rows that one pass of this call's key may have."""
        if call.signature.alone or call.signature.key in self._indivisible:
            return call.signature.rows
        cap = self.max_rows
        if call.stage in VAE_CELLS:
            cap = 1 if self.exact else min(cap, max(1, VAE_CELLS[call.stage] // _cells(call.arguments)))
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
            if isinstance(error, collate.NotRowsError):
                _remember(self._indivisible, group[0].signature.key, None)
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
        _remember(self._learned, call.signature.key, cap)
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
        if first.signature.alone or first.signature.key in self._indivisible:
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
        if self.adapters is not None and call.stage != DECODE:
            self.adapters.switch(call.request.adapters)
        if self.exact:
            arguments = collate.contiguous(arguments)
        start = time.perf_counter()
        output = call.run(**arguments)
        elapsed = (time.perf_counter() - start) * 1000
        if arguments or call.stage != ENCODE:  # a text is encoded after the turn was given, see `view`
            log.debug("pass %s requests=%d rows=%d %.1f ms", call.name, len(sharers), rows, elapsed)
        if call.stage == DENOISE:
            self.passes += 1
            self.rows += rows
            for sharer in sharers:
                sharer.request.took_part(len(sharers))
        return output


def _remember(table: OrderedDict[Hashable, Any], key: Hashable, value: Any) -> None:
    """Note something about a batch key; the oldest notes are forgotten."""
    table[key] = value
    if len(table) > _REMEMBERED:
        table.popitem(last=False)


def _cells(arguments: Mapping[str, Any]) -> int:
    """Cells of one row of a VAE pass: the product of the last two dimensions."""
    grids = [v for v in arguments.values() if isinstance(v, torch.Tensor) and v.ndim > 2]
    return int(grids[0].shape[-1] * grids[0].shape[-2]) if grids else max(VAE_CELLS.values())


def _within(group: Sequence[Call], start: int, end: int) -> list[Call]:
    """The calls that have a row in [start, end)."""
    found, position = [], 0
    for call in group:
        if position < end and position + call.signature.rows > start:
            found.append(call)
        position += call.signature.rows
    return found
