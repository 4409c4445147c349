"""Joining the arguments of several calls into one, and taking the rows of the answer apart again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from torch.utils import _pytree as pytree

from pixwire_server.engine.batch_key import Rule
from pixwire_server.engine.request import Call


class NotRowsError(Exception):
    """The module's answer has parts that do not belong to rows, so it cannot be divided among requests."""


def gather(calls: Sequence[Call]) -> dict[str, Any]:
    """One set of arguments for all calls (equal keys, in this order)."""
    first = calls[0]
    device = _device(first.arguments)
    joined: dict[str, Any] = {}
    for name, rule in first.signature.rules.items():
        values = [call.arguments[name] for call in calls]
        if rule is Rule.SHARED:
            joined[name] = _join_shared(values, first.signature.rows)
        elif rule is Rule.TIME:
            joined[name] = _join_time(values, [call.signature.rows for call in calls], device)
        elif rule is Rule.SCALE:
            joined[name] = _join_scales(calls, name)
        elif rule is Rule.PADDED_MASK:
            joined[name] = _join_masks(calls, name)
        else:
            joined[name] = _JOIN[rule](values)
    return joined


def _device(arguments: Mapping[str, Any]) -> torch.device | None:
    """Where the module computes: where its latents are, be they a tensor or a list of them."""
    for value in arguments.values():
        one = value[0] if isinstance(value, list) and value else value
        if isinstance(one, torch.Tensor) and one.ndim > 1:
            return one.device
    return None


def _join_rows(values: Sequence[torch.Tensor]) -> torch.Tensor:
    return values[0] if len(values) == 1 else torch.cat(list(values))


def _join_second(values: Sequence[torch.Tensor]) -> torch.Tensor:
    return values[0] if len(values) == 1 else torch.cat(list(values), dim=1)


def _join_first(values: Sequence[Any]) -> Any:
    return values[0]


def _join_nothing(_: Sequence[Any]) -> None:
    return None


def _join_lists(values: Sequence[list[Any]]) -> list[Any]:
    return [row for rows in values for row in rows]


def _join_shared(values: Sequence[Any], rows: int) -> Any:
    """Positions given once a row are joined (see `batch_key`), tables of positions are the same for all."""
    return _join_rows(values) if _is_given_by_row(values[0], rows) else values[0]


def _is_given_by_row(value: Any, rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[0] == rows


def _join_leaves(values: Sequence[Any]) -> Any:
    if len(values) == 1 or values[0] == {}:
        return values[0]
    flat = [pytree.tree_flatten(value) for value in values]
    leaves = [
        _join_rows(parts) if isinstance(parts[0], torch.Tensor) else parts[0]
        for parts in zip(*(f[0] for f in flat), strict=True)
    ]
    return pytree.tree_unflatten(leaves, flat[0][1])


def _join_time(values: Sequence[Any], rows: Sequence[int], device: torch.device | None) -> Any:
    if not isinstance(values[0], torch.Tensor):
        return values[0]
    if len({value.dtype for value in values}) > 1:
        values = [value if value.is_floating_point() else value.to(torch.float32) for value in values]
    return _join_rows([value.expand(count) for value, count in zip(values, rows, strict=True)]).to(device)


def _join_scales(calls: Sequence[Call], name: str) -> Any:
    """The factor, or [rows, 1, 1, 1] of them where the calls differ."""
    values = [call.arguments[name] for call in calls]
    if len(set(values)) == 1:
        return values[0]
    sample = calls[0].arguments["sample"]
    rows = [value for value, call in zip(values, calls, strict=True) for _ in range(call.signature.rows)]
    return sample.new_tensor(rows).reshape(-1, 1, 1, 1)


def _join_padded(values: Sequence[torch.Tensor]) -> torch.Tensor:
    length = max(value.shape[1] for value in values)
    return _join_rows([_pad_second(value, length) for value in values])


def _join_masks(calls: Sequence[Call], name: str) -> torch.Tensor | None:
    """The masks, made where a call has none; none at all when nobody has one and nothing was padded."""
    masks = [call.arguments[name] for call in calls]
    text = next(n for n, rule in calls[0].signature.rules.items() if rule is Rule.PADDED)
    texts = [call.arguments[text] for call in calls]
    length = max(value.shape[1] for value in texts)
    if all(mask is None for mask in masks) and all(value.shape[1] == length for value in texts):
        return None
    dtype = next((mask.dtype for mask in masks if mask is not None), torch.bool)
    full = [
        torch.ones(value.shape[:2], dtype=dtype, device=value.device) if mask is None else mask
        for mask, value in zip(masks, texts, strict=True)
    ]
    return _join_rows([_pad_second(mask, length) for mask in full])


def _pad_second(value: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - value.shape[1]
    return pad(value, (0, 0) * (value.ndim - 2) + (0, missing)) if missing else value


_JOIN: Mapping[Rule, Callable[[Sequence[Any]], Any]] = {
    Rule.ROWS: _join_rows,
    Rule.ROWS_SECOND: _join_second,
    Rule.LEAVES: _join_leaves,
    Rule.LIST: _join_lists,
    Rule.RAGGED_LIST: _join_lists,
    Rule.REPEATED: _join_lists,
    Rule.PADDED: _join_padded,
    Rule.SAME: _join_first,
    Rule.DROP: _join_nothing,
}

_TENSOR_ROWS = (Rule.ROWS, Rule.TIME, Rule.PADDED, Rule.PADDED_MASK, Rule.SCALE)
_LIST_ROWS = (Rule.LIST, Rule.RAGGED_LIST, Rule.REPEATED)


def pick(joined: Mapping[str, Any], rules: Mapping[str, Rule], rows: Sequence[int]) -> dict[str, Any]:
    """The joined arguments of these rows only, in this order; a row may be named more than once (padding)."""
    index = list(rows)
    total = next(len(joined[name]) for name, rule in rules.items() if rule in (Rule.ROWS, Rule.LIST))

    def take(value: Any, rule: Rule) -> Any:
        if value is None:
            return None
        if rule in _LIST_ROWS:
            return [value[row] for row in index]
        if rule is Rule.ROWS_SECOND:
            return value[:, index]
        if rule is Rule.LEAVES:
            return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, torch.Tensor) else leaf, value)
        if isinstance(value, torch.Tensor) and (
            rule in _TENSOR_ROWS or (rule is Rule.SHARED and _is_given_by_row(value, total))
        ):
            return value[index]
        return value

    return {name: take(value, rules[name]) for name, value in joined.items()}


def contiguous(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same values in memory order. Joining loses other layouts (pictures come as rows of RGB), a lone call would
    keep them."""
    return pytree.tree_map(  # type: ignore[no-any-return]  # a dict in, a dict out
        lambda leaf: leaf.contiguous() if isinstance(leaf, torch.Tensor) else leaf, dict(arguments)
    )


def answers_in_lists(rules: Mapping[str, Rule]) -> bool:
    """Whether the module takes, and then also returns, a list with one tensor a row.

    Decided by the module's rules and not by looking: a ControlNet returns a list of tensors too, and their number can
    be the number of rows by chance.
    """
    return Rule.LIST in rules.values()


def scatter(output: Any, sizes: Sequence[int], in_lists: bool) -> list[Any]:
    """Divide a module's answer: one of the same structure for each call. Raises NotRowsError."""
    total = sum(sizes)

    def is_rows(leaf: Any) -> bool:
        return in_lists and isinstance(leaf, list) and len(leaf) == total

    leaves, spec = pytree.tree_flatten(output, is_leaf=is_rows)
    divided = [_divide(leaf, sizes, total) for leaf in leaves]
    return [pytree.tree_unflatten([parts[i] for parts in divided], spec) for i in range(len(sizes))]


def _divide(leaf: Any, sizes: Sequence[int], total: int) -> Sequence[Any]:
    if leaf is None:
        return [None] * len(sizes)
    if is_gaussian(leaf):
        parts = _divide(leaf.parameters, sizes, total)
        return [type(leaf)(part, deterministic=leaf.deterministic) for part in parts]
    if isinstance(leaf, list):
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return [leaf[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    if isinstance(leaf, torch.Tensor) and leaf.ndim and leaf.shape[0] == total:
        return torch.split(leaf, list(sizes))
    raise NotRowsError(f"an answer of {type(leaf).__name__} {tuple(getattr(leaf, 'shape', ()))} has no {total} rows")


def is_gaussian(leaf: Any) -> bool:
    """A VAE's answer to an image, from which the pipeline samples; made of its parameters alone."""
    return type(leaf).__name__ == "DiagonalGaussianDistribution"


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, list):
        return _join_lists(parts)
    if is_gaussian(first):
        return type(first)(_join_rows([part.parameters for part in parts]), deterministic=first.deterministic)
    return _join_rows(parts)


def concatenate(outputs: Sequence[Any], in_lists: bool) -> Any:
    """The answers to consecutive slices of rows as one answer."""
    if len(outputs) == 1:
        return outputs[0]

    def is_rows(leaf: Any) -> bool:
        return in_lists and isinstance(leaf, list)

    flat = [pytree.tree_flatten(output, is_leaf=is_rows) for output in outputs]
    leaves = [_joined(parts) for parts in zip(*(leaves for leaves, _ in flat), strict=True)]
    return pytree.tree_unflatten(leaves, flat[0][1])
