"""The tokenizer of the shipped folder has tokens for any text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixwire_server import builtin_model
from pixwire_server.builtin_model import language
from pixwire_server.builtin_model.training import tokenizer as tokens


@pytest.fixture(scope="module")
def shipped() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(builtin_model.path() / "tokenizer", local_files_only=True)


def _bytes_of(tokenizer: Any, text: str) -> bytes:
    """What the tokens of a text stand for, byte by byte."""
    value = {character: byte for byte, character in enumerate(tokens.byte_alphabet())}
    pieces = "".join(piece.removesuffix("</w>") for piece in tokenizer.tokenize(text))
    return bytes(value[character] for character in pieces)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_but_for_case_and_spaces(shipped: Any, text: str) -> None:
    backend = shipped.backend_tokenizer.normalizer.normalize_str(text)
    expected = "".join(backend.split())
    for special in (tokens.START, tokens.END):
        if special in text:
            return
    assert "".join(_bytes_of(shipped, text).decode("utf-8").split()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "日本語の丸",
        "🎉🎉",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        "naïve cafe\u0301",
        "دائرة حمراء \u202e על רקע",
        "\x00\x07",
        "\ufeff\ufffe\U0010ffff\ue000",
        "a\u0300\u0301\u0302" * 100,
        "a" * 10_000,
        "<|endoftext|> red",
    ],
)
def test_ids_fit_the_model(shipped: Any, text: str) -> None:
    ids = tokens.encode(shipped, [text])
    assert ids.shape == (1, tokens.MAX_TOKENS)
    assert int(ids.min()) >= 0
    assert int(ids.max()) < len(tokens.vocabulary()[0])


def test_words_of_the_language_are_single_tokens(shipped: Any) -> None:
    text = "a crimson rhombus on an azure background"
    assert shipped.tokenize(text) == [f"{word}</w>" for word in text.split()]


def test_the_shipped_tokenizer_is_the_one_the_recipe_builds(shipped: Any) -> None:
    assert shipped.get_vocab() == tokens.build().get_vocab() == tokens.vocabulary()[0]
    assert set(language.vocabulary()) <= {token.removesuffix("</w>") for token in shipped.get_vocab()}
