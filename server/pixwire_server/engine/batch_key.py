"""Batch keys: which parked calls may be concatenated into one forward pass, and how each argument is joined.

`sign` looks every argument up in an explicit table of rules. An argument that its rule does not recognise, or that no
rule names and that is not a plain scalar, makes the whole call run alone: batching degrades, it never guesses.

Part of the key is everything that has to be equal in one pass: the module, the set of arguments, data types, shapes
beyond the batch dimension (so resolution and text length), the contents of tensors without batch dimension, constant
values. Not part of it: prompt, seed, step, sampler, guidance scale, number of rows.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch.utils import _pytree as pytree


class Rule(Enum):
    """How the values of one argument from several calls become one value."""

    ROWS = auto()  # tensor [rows, ...]: concatenated
    ROWS_SECOND = auto()  # tensor [n, rows, ...]: concatenated along the second dimension
    TIME = (
        auto()
    )  # tensor without rows, or one value a row: expanded to rows, concatenated, moved to the module's device
    SHARED = auto()  # tensor(s) that describe positions, not rows: equal contents required
    LEAVES = auto()  # dict, list or tuple of ROWS tensors and constants: joined leaf by leaf
    LIST = auto()  # list of one tensor a row, equal shapes: lists joined
    RAGGED_LIST = auto()  # the same, first dimension free
    REPEATED = auto()  # list of one equal constant a row
    PADDED = auto()  # text [rows, length, ...] of any length: padded at the end
    PADDED_MASK = auto()  # its mask [rows, length] (true keeps), or None for "keep all"
    SCALE = auto()  # factor of the answer: one value a row where they differ
    SAME = auto()  # constant: equal values required
    DROP = auto()  # ignored by the module: left out

    __hash__ = (
        object.__hash__
    )  # members are compared by identity; Enum's own is Python, and keys are hashed all the time


ARGUMENTS: Mapping[str, Rule] = {
    # the sample
    "sample": Rule.ROWS,
    "hidden_states": Rule.ROWS,
    "z": Rule.ROWS,
    "x": Rule.ROWS,
    "h": Rule.ROWS,
    # text to be encoded
    "input_ids": Rule.ROWS,
    "token_type_ids": Rule.ROWS,
    # time and guidance
    "timestep": Rule.TIME,
    "timesteps": Rule.TIME,
    "timestep_r": Rule.TIME,
    "timestep_ratio": Rule.TIME,
    "timestep_cond": Rule.ROWS,
    "guidance": Rule.ROWS,
    # conditioning
    "encoder_hidden_states": Rule.ROWS,
    "encoder_hidden_states_mask": Rule.ROWS,
    "encoder_hidden_states_2": Rule.ROWS,
    "encoder_attention_mask_2": Rule.ROWS,
    "encoder_hidden_states_t5": Rule.ROWS,
    "encoder_attention_mask": Rule.ROWS,
    "encoder_mask": Rule.ROWS,
    "attention_mask": Rule.ROWS,
    "text_embedding_mask": Rule.ROWS,
    "text_embedding_mask_t5": Rule.ROWS,
    "pooled_projections": Rule.ROWS,
    "class_labels": Rule.ROWS,
    "pooled_embeds": Rule.ROWS,
    "encoder_hidden_states_llama3": Rule.ROWS_SECOND,
    "text_encoder_layers": Rule.LEAVES,
    "context_latents": Rule.LEAVES,
    "text_bth": Rule.ROWS,
    "text_lens": Rule.ROWS,
    "segment_ids": Rule.ROWS,
    "indicator": Rule.ROWS,
    "prior_token_id": Rule.ROWS,
    "prior_token_drop": Rule.ROWS,
    "proj_embedding": Rule.ROWS,
    "clip_text_pooled": Rule.ROWS,
    "clip_text": Rule.ROWS,
    "clip_img": Rule.ROWS,
    "effnet": Rule.ROWS,
    "image_meta_size": Rule.ROWS,
    "style": Rule.ROWS,
    "original_size": Rule.ROWS,
    "target_size": Rule.ROWS,
    "crop_coords": Rule.ROWS,
    "added_cond_kwargs": Rule.LEAVES,
    # control
    "controlnet_cond": Rule.ROWS,
    "mid_block_additional_residual": Rule.ROWS,
    "down_block_additional_residuals": Rule.LEAVES,
    "down_intrablock_additional_residuals": Rule.LEAVES,
    "control_type": Rule.ROWS,
    "control_type_idx": Rule.SAME,
    "block_controlnet_hidden_states": Rule.LEAVES,
    "controlnet_block_samples": Rule.LEAVES,
    "controlnet_single_block_samples": Rule.LEAVES,
    "conditioning_scale": Rule.SAME,
    # positions
    "img_ids": Rule.SHARED,
    "txt_ids": Rule.SHARED,
    "position_ids": Rule.SHARED,
    "image_rotary_emb": Rule.SHARED,
    "visual_rope_pos": Rule.SHARED,
    "text_rope_pos": Rule.SHARED,
    "img_mask": Rule.SHARED,
    # switches
    "scale_factor": Rule.SAME,
    "skip_layers": Rule.SAME,
    "attention_kwargs": Rule.SAME,
    "cross_attention_kwargs": Rule.SAME,
    "joint_attention_kwargs": Rule.LEAVES,  # embeddings for an IP-Adapter are among them
}

_QWEN = {
    "img_shapes": Rule.REPEATED,
    "encoder_hidden_states": Rule.PADDED,
    "encoder_hidden_states_mask": Rule.PADDED_MASK,
}

BY_MODEL: Mapping[str, Mapping[str, Rule]] = {
    "ZImageTransformer2DModel": {"x": Rule.LIST, "t": Rule.TIME, "cap_feats": Rule.RAGGED_LIST},
    # What a ControlNet made for texts of one length does not fit to texts padded to another.
    "ZImageControlNetModel": {"x": Rule.LIST, "t": Rule.TIME, "cap_feats": Rule.LIST, "control_context": Rule.ROWS},
    "QwenImageTransformer2DModel": _QWEN,
    "QwenImageControlNetModel": _QWEN,
    "QwenImage21Transformer2DModel": {"img_shapes": Rule.REPEATED},
    "NucleusMoEImageTransformer2DModel": {"img_shapes": Rule.REPEATED},
    "Lumina2Transformer2DModel": {"encoder_hidden_states": Rule.PADDED, "encoder_attention_mask": Rule.PADDED_MASK},
    "PixArtTransformer2DModel": {"encoder_hidden_states": Rule.PADDED, "encoder_attention_mask": Rule.PADDED_MASK},
    "ControlNetModel": {"conditioning_scale": Rule.SCALE},
    "SanaTransformer2DModel": {"encoder_hidden_states": Rule.PADDED, "encoder_attention_mask": Rule.PADDED_MASK},
    # These decoders take a generator and never use it.
    "AutoencoderKL": {"generator": Rule.DROP},
    "AutoencoderKLFlux2": {"generator": Rule.DROP},
    "AutoencoderTiny": {"generator": Rule.DROP},
}

ALONE: Mapping[str, str] = {
    "ControlNetUnionModel": "its transformer for the control images attends across the rows of a pass",
}
"""Models whose rows depend on each other, so that no two requests may share a pass of them."""

_INDEPENDENT = {
    Rule.PADDED: Rule.ROWS,
    Rule.PADDED_MASK: Rule.ROWS,
    Rule.RAGGED_LIST: Rule.LIST,
    Rule.SCALE: Rule.SAME,
}
"""What takes the place of rules by which the neighbours decide how a row's values are represented."""

_FITTED = "controlnet_block_samples"
"""Answers of a ControlNet; to a list of texts they are as long as the longest of them."""

_LEADING = ("sample", "hidden_states", "z", "x", "h", "input_ids")
_SCALARS = (bool, int, float, str, type(None), torch.dtype)
_REFUSED = object()


class Fingerprints:
    """Contents of position tensors as digests, computed once per tensor.

    A pipeline passes the same tensor at every step, and reading it back from a GPU is not free. The tensor is kept
    alive with its digest, since the memory of a freed one could come back with other contents.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[torch.Tensor, bytes | None]] = {}

    def of(self, tensor: torch.Tensor) -> bytes:
        """Digest of shape, type and contents."""
        return self._get("whole", tensor, _digest) or b""

    def of_repeated(self, tensor: torch.Tensor) -> bytes | None:
        """Digest of the first row of a tensor whose rows are all alike; None when they are not."""
        return self._get("repeated", tensor, _digest_of_repeated)

    def _get(self, kind: str, tensor: torch.Tensor, compute: Callable[[torch.Tensor], bytes | None]) -> bytes | None:
        identity = (kind, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor._version)
        if identity not in self._known:
            self._known[identity] = (tensor, compute(tensor))
        return self._known[identity][1]


def _digest(tensor: torch.Tensor) -> bytes:
    digest = hashlib.blake2b(f"{tuple(tensor.shape)} {tensor.dtype} ".encode(), digest_size=16)
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _digest_of_repeated(tensor: torch.Tensor) -> bytes | None:
    return _digest(tensor[:1]) if torch.equal(tensor, tensor[:1].expand_as(tensor)) else None


@dataclass(frozen=True, slots=True)
class Signature:
    """What one call may share a pass with. Without `rules` it was not understood (`why`) and runs alone."""

    key: Hashable
    rows: int
    rules: Mapping[str, Rule]
    why: str = ""

    @property
    def alone(self) -> bool:
        return not self.rules


def alone(name: str, why: str = "") -> Signature:
    """The signature of a call that shares with nobody."""
    return Signature((name, object()), 1, {}, why)


def sign(
    name: str, model_class: str, arguments: Mapping[str, Any], fingerprints: Fingerprints, *, ragged: bool = True
) -> Signature:
    """The signature of calling module `name` with `arguments` (bound to parameter names).

    `ragged` False forbids padding text to the longest of the pass: the shapes a row meets then depend on no neighbour.
    """
    if model_class in ALONE:
        return alone(name, ALONE[model_class])
    rows = _count_rows(arguments)
    if rows is None:
        return alone(name, f"none of {', '.join(_LEADING)} tells the number of rows")
    special = BY_MODEL.get(model_class, {})
    rules: dict[str, Rule] = {}
    parts: list[Hashable] = [name]
    for argument, value in arguments.items():
        rule = special.get(argument) or ARGUMENTS.get(argument)
        if not ragged and rule is not None:
            rule = _INDEPENDENT.get(rule, rule)
        if rule is Rule.RAGGED_LIST and arguments.get(_FITTED) is not None:
            rule = Rule.LIST
        if rule is None or (value is None and rule is not Rule.PADDED_MASK):
            if not isinstance(value, _SCALARS):
                return alone(name, f"no rule for {argument} ({type(value).__name__})")
            rule = Rule.SAME
        part = _PARTS[rule](value, rows, fingerprints)
        if part is _REFUSED:
            return alone(name, f"{argument} is not what its rule {rule.name} expects")
        rules[argument] = rule
        parts.append((argument, rule, part))
    return Signature(tuple(parts), rows, rules)


def _count_rows(arguments: Mapping[str, Any]) -> int | None:
    for name in _LEADING:
        value = arguments.get(name)
        if isinstance(value, torch.Tensor) and value.ndim > 0:
            return int(value.shape[0])
        if isinstance(value, list):
            return len(value)
    return None


def _is_rows(value: Any, rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[0] == rows


def _rows_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    return (value.dtype, value.device, tuple(value.shape[1:])) if _is_rows(value, rows) else _REFUSED


def _rows_second_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    fits = isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[1] == rows
    return (value.dtype, value.device, value.shape[0], tuple(value.shape[2:])) if fits else _REFUSED


def _time_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    if isinstance(value, int | float):
        return (type(value), value)
    if not isinstance(value, torch.Tensor) or tuple(value.shape) not in {(), (1,), (rows,)}:
        return _REFUSED
    # Samplers with whole timesteps and samplers with fractional ones share: float32 holds both exactly.
    return torch.float32 if not value.is_floating_point() else value.dtype


def _shared_part(value: Any, rows: int, fingerprints: Fingerprints) -> Hashable:
    tensors = value if isinstance(value, tuple | list) else (value,)
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        return _REFUSED
    if isinstance(value, torch.Tensor) and value.ndim == 3 and value.shape[0] == rows:
        digest = fingerprints.of_repeated(value)  # positions given once a row: their number is free
        return ("repeated", digest) if digest is not None else _REFUSED
    return tuple(fingerprints.of(tensor) for tensor in tensors)


def _leaves_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    if not value and isinstance(value, dict):
        return ("{}",)  # what most pipelines give, in every step
    leaves, spec = pytree.tree_flatten(value)
    parts: list[Hashable] = [repr(spec)]
    for leaf in leaves:
        if _is_rows(leaf, rows):
            parts.append((leaf.dtype, tuple(leaf.shape[1:])))
        elif isinstance(leaf, _SCALARS):
            parts.append((type(leaf), leaf))
        else:
            return _REFUSED
    return tuple(parts)


def _list_of(value: Any, rows: int, first_free: bool) -> Hashable:
    if not isinstance(value, list) or len(value) != rows or not all(isinstance(row, torch.Tensor) for row in value):
        return _REFUSED
    kinds = {(row.dtype, row.ndim, tuple(row.shape[1 if first_free else 0 :])) for row in value}
    return kinds.pop() if len(kinds) == 1 else _REFUSED


def _list_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    return _list_of(value, rows, first_free=False)


def _ragged_list_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    return _list_of(value, rows, first_free=True)


def _repeated_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    if not isinstance(value, list) or len(value) != rows:
        return _REFUSED
    entries = {_constant(row) for row in value}
    return entries.pop() if len(entries) == 1 else _REFUSED


def _padded_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    if not _is_rows(value, rows) or value.ndim < 2:
        return _REFUSED
    return (value.dtype, value.device, tuple(value.shape[2:]))


def _padded_mask_part(value: Any, rows: int, _: Fingerprints) -> Hashable:
    return "mask" if value is None or (_is_rows(value, rows) and value.ndim == 2) else _REFUSED


def _scale_part(value: Any, _rows: int, _: Fingerprints) -> Hashable:
    return "scale" if isinstance(value, int | float) else _REFUSED


def _same_part(value: Any, _rows: int, _: Fingerprints) -> Hashable:
    return _constant(value)


def _drop_part(_value: Any, _rows: int, _: Fingerprints) -> Hashable:
    return None


def _constant(value: Any) -> Hashable:
    """A hashable image of nested plain values; `_REFUSED` when anything else is inside."""
    if isinstance(value, _SCALARS):
        return (type(value), value)
    if isinstance(value, dict):
        items = tuple((key, _constant(value[key])) for key in sorted(value, key=str))
        return _REFUSED if any(part is _REFUSED for _, part in items) else items
    if isinstance(value, list | tuple):
        parts = tuple(_constant(item) for item in value)
        return _REFUSED if any(part is _REFUSED for part in parts) else parts
    return _REFUSED


_PARTS: Mapping[Rule, Callable[[Any, int, Fingerprints], Hashable]] = {
    Rule.ROWS: _rows_part,
    Rule.ROWS_SECOND: _rows_second_part,
    Rule.TIME: _time_part,
    Rule.SHARED: _shared_part,
    Rule.LEAVES: _leaves_part,
    Rule.LIST: _list_part,
    Rule.RAGGED_LIST: _ragged_list_part,
    Rule.REPEATED: _repeated_part,
    Rule.PADDED: _padded_part,
    Rule.PADDED_MASK: _padded_mask_part,
    Rule.SCALE: _scale_part,
    Rule.SAME: _same_part,
    Rule.DROP: _drop_part,
}
