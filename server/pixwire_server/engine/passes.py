"""Forward passes: one group of calls in, every call with its result or its error out.

Two modes. *Fast*: the rows of the group in one pass, or in as few as its row cap allows. *Exact*: the same, but only in
numbers of rows that give the bits of all others (`exactness`), and every pass of the VAE has one row. Kernels choose
their order of summation by the number of rows and their layout in memory, so an image would depend on its neighbours.

When a shared pass fails its calls are retried alone, so that only the culprit fails. When memory runs out the rows of
a pass are halved, and the smaller cap is remembered for that batch key.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from pixwire_server.engine import collate
from pixwire_server.engine.device import free_memory, is_out_of_memory
from pixwire_server.engine.exactness import CANONICAL_ROWS, Exactness
from pixwire_server.engine.request import TURN, Call
from pixwire_server.engine.stopwatch import Stopwatch
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

log = logging.getLogger(__name__)

VAE_CELLS: Mapping[str, int] = {DECODE: 64 * 64, ENCODE: 512 * 512}
"""Latent cells (height x width) decoded at once, pixels encoded at once: one 512 x 512 image of an 8x VAE. Beyond it
a shared pass saves next to nothing and its memory grows to gigabytes; small images gain from sharing."""

_REMEMBERED = 1024


Seen = Callable[[Call, Sequence[Call], int, Stopwatch], None]
"""Hears of every pass that was computed: whose call was run, for whom, with how many rows, and what it took."""


class PassRunner:
    """Runs groups of calls of one key. Not thread-safe: belongs to the denoise thread."""

    def __init__(self, max_rows: int, exact: bool, seen: Seen = lambda *ignored: None) -> None:
        self.seen = seen
        self.max_rows = max_rows
        self.exact = exact
        self.exactness = Exactness()
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
            cells = _cells(call.arguments)
            if self.exact:
                cap = 1
            elif cells:
                cap = min(cap, max(1, VAE_CELLS[call.stage] // cells))
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
                tried = min(cap, max(sum(call.signature.rows for call in group), self._least(first)))
                divisible = tried > 1 and not first.signature.alone
                if not is_out_of_memory(error) or not (divisible or _may_be_tiled(first)):
                    raise
            # Outside the except block: its traceback holds the pass's tensors.
            if divisible:
                self._lower_cap(first, tried // 2)
            else:
                _tile(first)

    def _exactly(self, call: Call) -> bool:
        """Whether the number of rows must not show in the answer of this call."""
        return self.exact and call.stage == DENOISE

    def _fills(self, call: Call) -> bool:
        """Whether passes of this call are filled up with copies to a few sizes, for which the model is compiled."""
        return call.request.fill is not None and call.stage == DENOISE

    def _least(self, call: Call) -> int:
        """Rows that its smallest pass may have."""
        return CANONICAL_ROWS if self._exactly(call) else 1

    def _lower_cap(self, call: Call, cap: int) -> None:
        _remember(self._learned, call.signature.key, cap)
        free_memory()
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
        if total <= cap and not self._exactly(first) and not self._fills(first):
            output = self._forward(first, arguments, group, total)
            return [output] if len(group) == 1 else collate.scatter(output, sizes, collate.answers_in_lists(rules))
        in_lists = collate.answers_in_lists(rules)
        outputs = [
            self._slice(group, arguments, range(start, min(start + cap, total)), cap) for start in range(0, total, cap)
        ]
        return collate.scatter(collate.concatenate(outputs, in_lists), sizes, in_lists)

    def _slice(self, group: Sequence[Call], arguments: Mapping[str, Any], rows: range, cap: int) -> Any:
        """The answer for some rows of the joined arguments."""
        passes = _Passes(self, group, arguments, rows)
        if self._exactly(group[0]):
            return self.exactness.compute(group[0].signature.key, len(rows), cap, passes)
        fill = group[0].request.fill
        return passes(fill(len(rows), cap) if fill is not None and self._fills(group[0]) else len(rows))

    def _forward(self, call: Call, arguments: Mapping[str, Any], sharers: Sequence[Call], rows: int) -> Any:
        """The real call. Its cost is accounted to everybody in it once it has succeeded."""
        if call.request.switch is not None and call.stage != DECODE:
            call.request.switch(call.request.adapters)
        watch = Stopwatch()
        output = self._compute(call, arguments)
        watch.stop()
        if call.name != TURN:
            log.debug("pass %s requests=%d rows=%d %.1f ms", call.name, len(sharers), rows, watch.processor * 1000)
            self.seen(call, sharers, rows, watch)
        if call.stage == DENOISE:
            self.passes += 1
            self.rows += rows
            for sharer in sharers:
                sharer.request.took_part(len(sharers), rows)
        return output

    def _compute(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        """The real call alone."""
        answer = self._answer(call, arguments)
        # A model compiled with CUDA graphs writes its next answer where this one is: nobody may keep that.
        return _copied(answer) if self._fills(call) else answer

    def _answer(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        if not self.exact:
            return call.run(**arguments)
        arguments = collate.contiguous(arguments)
        if not self._exactly(call):
            return call.run(**arguments)
        with self.exactness.layers:
            return call.run(**arguments)


@dataclass(frozen=True, slots=True)
class _Passes:
    """Some rows of the joined arguments of a group, to be computed in passes of any size; see `exactness.Passes`."""

    runner: PassRunner
    group: Sequence[Call]
    arguments: Mapping[str, Any]
    rows: range

    def __call__(self, size: int, *, checking: bool = False) -> Any:
        in_lists = collate.answers_in_lists(self.group[0].signature.rules)
        answers = []
        for start in range(self.rows.start, self.rows.stop, size):
            wanted = range(start, min(start + size, self.rows.stop))
            filling = size - len(wanted)
            picked = self._pick([*wanted, *[wanted[-1]] * filling])
            if checking:
                answer = self.runner._compute(self.group[0], picked)
            else:
                answer = self.runner._forward(self.group[0], picked, _within(self.group, start, wanted.stop), size)
            answers.append(collate.scatter(answer, [len(wanted), filling], in_lists)[0] if filling else answer)
        return collate.concatenate(answers, in_lists)

    def copies(self, size: int) -> Sequence[Any]:
        answer = self.runner._compute(self.group[0], self._pick([self.rows.start] * size))
        return collate.scatter(answer, [1] * size, collate.answers_in_lists(self.group[0].signature.rules))

    def _pick(self, rows: list[int]) -> dict[str, Any]:
        return collate.pick(self.arguments, self.group[0].signature.rules, rows)


def _remember(table: OrderedDict[Hashable, Any], key: Hashable, value: Any) -> None:
    """Note something about a batch key; the oldest notes are forgotten."""
    table[key] = value
    if len(table) > _REMEMBERED:
        table.popitem(last=False)


def _cells(arguments: Mapping[str, Any]) -> int:
    """Cells of one row of a VAE pass: the product of the last two dimensions. 0 for the words of a text."""
    grids = [v for v in arguments.values() if isinstance(v, torch.Tensor) and v.ndim > 2]
    return int(grids[0].shape[-1] * grids[0].shape[-2]) if grids else 0


def _may_be_tiled(call: Call) -> bool:
    """Whether the call is one of a VAE that can work on tiles of the picture and does not yet."""
    vae = getattr(call.run, "__self__", None)
    return call.stage in VAE_CELLS and hasattr(vae, "enable_tiling") and not getattr(vae, "use_tiling", True)


def _tile(call: Call) -> None:
    """From now on the VAE works on tiles: seams are blended, so large pictures differ a little from earlier ones."""
    free_memory()
    call.run.__self__.enable_tiling()  # type: ignore[attr-defined]  # a bound method, see `_may_be_tiled`
    log.warning("out of memory in %s: the VAE works on tiles from now on; large images can differ", call.name)


def _copied(answer: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, answer)


def _within(group: Sequence[Call], start: int, end: int) -> list[Call]:
    """The calls that have a row in [start, end)."""
    found, position = [], 0
    for call in group:
        if position < end and position + call.signature.rows > start:
            found.append(call)
        position += call.signature.rows
    return found
