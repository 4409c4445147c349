"""The journal's documents are plain JSON, with and without an encoder in C."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.jobs import json_text

DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(DATA)
def test_it_is_what_json_writes(data: Any) -> None:
    assert json_text.encoder()(data) == json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def test_where_there_is_no_encoder_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert json_text.encoder()({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'
