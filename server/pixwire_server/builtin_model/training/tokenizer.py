"""The tokenizer: byte-level BPE in CLIP's format whose alphabet holds every byte, so that any UTF-8 text has tokens."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer

from .. import language
from .files import FilesError
from .loop import replace
from .options import Options

MAX_TOKENS = 40
START, END = "<|startoftext|>", "<|endoftext|>"
MOST_MERGES = 1500


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte, as in GPT-2 and CLIP."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


def learn_merges(words: dict[str, int]) -> list[tuple[str, str]]:
    """Byte pair merges in the order learnt; stops when every word is one token."""
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while len(merges) < MOST_MERGES:
        counts: dict[tuple[str, str], int] = {}
        for word, parts in split.items():
            for pair in itertools.pairwise(parts):
                counts[pair] = counts.get(pair, 0) + words[word]
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        split = {word: _merge(parts, best) for word, parts in split.items()}
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    index = 0
    while index < len(parts):
        width = 2 if tuple(parts[index : index + 2]) == pair else 1
        merged.append("".join(parts[index : index + width]))
        index += width
    return merged


@functools.cache
def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(token -> id, merges)."""
    alphabet = byte_alphabet()
    merges = learn_merges(language.vocabulary())
    tokens = [*alphabet, *(c + "</w>" for c in alphabet), *(a + b for a, b in merges), START, END]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def keep(options: Options) -> None:
    """Note the vocabulary of a run that begins, in work/vocab.json; raise FilesError if it began with another one.

    Any change of language.py may number the tokens anew, and what has been learnt would no longer fit them.
    """
    file = options.work / "vocab.json"
    if not file.exists():
        replace(file, _write_vocabulary)
    elif json.loads(file.read_text(encoding="utf-8")) != vocabulary()[0]:
        raise FilesError(
            f"{file} is not of the tokens that language.py makes now: undo its changes or give another --out"
        )


def _write_vocabulary(file: Path) -> None:
    file.write_text(json.dumps(vocabulary()[0], ensure_ascii=False), encoding="utf-8")


def build() -> CLIPTokenizer:
    """The tokenizer of :func:`vocabulary`."""
    vocab, merges = vocabulary()
    known: Any = merges  # annotated too narrowly in transformers
    return CLIPTokenizer(vocab=vocab, merges=known, model_max_length=MAX_TOKENS)


def save(folder: Path) -> None:
    """Write the tokenizer with the plain vocab.json and merges.txt beside tokenizer.json, for older readers."""
    build().save_pretrained(folder)
    _write_vocabulary(folder / "vocab.json")
    lines = "\n".join(" ".join(pair) for pair in vocabulary()[1])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")


def encode(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Token ids, int64 (n, MAX_TOKENS), padded and cut as the pipeline does it."""
    made = tokenizer(prompts, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    ids: torch.Tensor = made["input_ids"]
    return ids
