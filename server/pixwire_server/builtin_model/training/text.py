"""The text encoder, taught on prompts alone.

It learns to tell what each prompt says: colour, shape, size and place of the things, their relation, the background.
Linear heads read this off the last token and off the mean over all tokens, which is what the denoiser's own pooling
starts from.  After that the encoder is frozen: the denoiser learns pictures from conditions that are already separable.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import CLIPTextConfig, CLIPTextModel

from .. import language, scenes
from . import tokenizer as tokens
from .loop import Budget, Loop, is_main, log, rank, replace
from .options import Options

WIDTH = 128
EMPTY_SHARE = 0.02

_COLOURS = (None, *scenes.COLOURS)
_SHAPES = (None, *scenes.SHAPES)
_SIZES = (None, *scenes.RADII)
#: What the heads answer, in the order of :func:`answers`.
QUESTIONS: tuple[tuple[str | None, ...], ...] = (
    _COLOURS,
    _SHAPES,
    _SIZES,
    (None, *scenes.POSITIONS),
    _COLOURS,
    _SHAPES,
    (None, *scenes.RELATIONS, "inside", "and"),
    (None, "solid", "gradient", "stripes"),
    _COLOURS,
    _COLOURS,
    (None, "vertical"),
    (None, "outlined"),
)


def answers(spec: scenes.Spec | None) -> list[int]:
    """The class per question; ``None`` is the empty prompt."""
    if spec is None:
        return [0] * len(QUESTIONS)
    first, second = spec.things[0], spec.things[1] if len(spec.things) > 1 else None
    ground = spec.background
    said: list[str | None] = [first.colour, first.shape, first.size, first.position]
    said += [second.colour, second.shape] if second else [None, None]
    said.append(spec.relation)
    said += [ground.kind, ground.first, ground.second] if ground else [None, None, None]
    said.append("vertical" if ground and ground.second and ground.vertical else None)
    said.append("outlined" if first.outlined else None)
    return [question.index(answer) for question, answer in zip(QUESTIONS, said, strict=True)]


def build() -> Any:
    """A new encoder."""
    vocab, _ = tokens.vocabulary()
    config = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokens.MAX_TOKENS,
        hidden_act="gelu",
        bos_token_id=vocab[tokens.START],
        eos_token_id=vocab[tokens.END],
        pad_token_id=vocab[tokens.END],
    )
    model: Any = CLIPTextModel(config)
    with torch.no_grad():  # transformers starts at a deviation of 0.02 and less, slow for a model this narrow
        for name, weights in model.named_parameters():
            if name.endswith("embedding.weight"):
                weights.normal_(0, 0.3 if "token" in name else 0.1)
            elif weights.ndim == 2:
                nn.init.xavier_uniform_(weights)
    return model


class Heads(nn.Module):
    """Reads the answers off the hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(question) for question in QUESTIONS]
        self.mean = nn.Linear(WIDTH, sum(self.sizes))
        self.last = nn.Linear(WIDTH, sum(self.sizes))

    def forward(self, hidden: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        read = (self.mean(hidden.mean(1)), self.last(hidden[:, -1]))
        return [logits.split(self.sizes, -1) for logits in read]


def sample(rng: random.Random, count: int) -> tuple[list[str], torch.Tensor]:
    """Fresh prompts of a broader mix than the scenes have, and their answers (count, questions)."""
    prompts, wanted = [], []
    for _ in range(count):
        if rng.random() < EMPTY_SHARE:
            prompts.append("")
            wanted.append(answers(None))
            continue
        kind = rng.choices(("single", "pair", "inside"), (0.75, 0.2, 0.05))[0]
        ground = rng.choices(("solid", "none", "gradient", "stripes"), (0.7, 0.1, 0.1, 0.1))[0]
        asked: dict[str, Any] = {key: rng.random() < 0.4 for key in ("position", "size", "outlined")}
        spec = scenes.sample_spec(rng, kind=kind, background=ground, **asked)
        prompts.append(language.phrase(spec, rng))
        wanted.append(answers(spec))
    return prompts, torch.tensor(wanted)


def train(options: Options) -> None:
    """Teach the encoder and write work/text.pt."""
    torch.manual_seed(options.seed + 1)
    model, heads = build().to(options.device), Heads().to(options.device)
    loop = Loop("text", [model, heads], Budget(options.text_minutes, options.text_steps, options.text_rate), options)
    rng = random.Random(f"text/{options.seed}/{rank()}/{loop.step_count}")
    tokenizer = tokens.build()
    size = max(2, options.text_batch // options.workers)
    while loop.running:
        prompts, wanted = sample(rng, size)
        wanted = wanted.to(options.device)
        hidden = model(tokens.encode(tokenizer, prompts).to(options.device)).last_hidden_state
        read = heads(hidden)
        losses = [cross_entropy(logits[q], wanted[:, q]) for logits in read for q in range(len(QUESTIONS))]
        right = torch.stack([logits.argmax(-1) == wanted[:, q] for q, logits in enumerate(read[0])]).all(0)
        loop.step(torch.stack(losses).mean(), exact=right.float().mean().item())
    if is_main():
        replace(options.work / "text.pt", lambda p: torch.save(loop.averages[0].state_dict(), p))
        share = measure(loop.averages[0], loop.averages[1], options)
        log(options, stage="text", steps=loop.step_count, seconds=round(loop.seconds), exact_on_new_prompts=share)


@torch.no_grad()
def measure(model: nn.Module, heads: nn.Module, options: Options, count: int = 2000) -> float:
    """Share of new prompts whose every answer is right, read off the mean."""
    tokenizer, rng, right = tokens.build(), random.Random("text measure"), 0
    for _ in range(max(1, count // 200)):
        prompts, wanted = sample(rng, 200)
        read = heads(model(tokens.encode(tokenizer, prompts).to(options.device)).last_hidden_state)[0]
        found = torch.stack([logits.argmax(-1).cpu() for logits in read], 1)
        right += int((found == wanted).all(1).sum())
    return right / (200 * max(1, count // 200))


def load(options: Options) -> Any:
    """The taught encoder, frozen."""
    model = build()
    model.load_state_dict(torch.load(options.work / "text.pt", map_location="cpu", weights_only=True))
    return model.to(options.device).eval().requires_grad_(False)
