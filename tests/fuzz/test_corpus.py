"""Every input that the fuzzer kept, and every one that once showed a defect, is taken as it should be."""

import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "protocol")]

from target import PLACES, run  # noqa: E402  (its folder is not on the path before)

CORPUS = [bytes.fromhex(text) for text in json.loads((HERE / "corpus.json").read_text(encoding="utf-8"))]


def test_the_corpus_reaches_every_state_of_both_roles() -> None:
    assert {data[0] % len(PLACES) for data in CORPUS if data} == set(range(len(PLACES)))


@pytest.mark.parametrize("part", range(8))
@pytest.mark.req("PXW-FRM-010")
def test_every_kept_input_gives_events_or_one_error_however_it_is_cut(part: int) -> None:
    inputs = CORPUS[part::8]
    assert inputs
    for data in inputs:
        run(data)
