"""Digests: equal content, equal digest, and nothing else."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store import canonical, digest_bytes, digest_file, digest_of, lf_text, seed_for, short

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """A form in which Python's equality tells kinds apart too: 1, 1.0, True and -0.0."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return [typed(item) for item in value] if isinstance(value, list) else (type(value).__name__, repr(value))


@given(VALUES, st.randoms(use_true_random=False))
def test_key_order_does_not_matter(value: Any, order: random.Random) -> None:
    """A value has one digest, whatever order its keys came in at every depth."""
    assert digest_of(shuffled(value, order)) == digest_of(value)


@given(VALUES, VALUES)
def test_different_values_differ(one: Any, other: Any) -> None:
    """Two values have the same canonical bytes exactly when they are the same, number kinds included."""
    assert (canonical(one) == canonical(other)) == (typed(one) == typed(other))


def test_the_form_is_pinned() -> None:
    """The canonical bytes are compact JSON in UTF-8 with sorted keys: a change makes every recorded digest stale."""
    value = {"b": [1, 1.5, True, None], "a": "é\n", "ä": {}}
    assert canonical(value) == '{"a":"é\\n","b":[1,1.5,true,null],"ä":{}}'.encode()
    assert digest_of({}) == hashlib.sha256(b"{}").hexdigest()


@dataclass
class Holder:
    value: float


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {"a": [float("-inf")]},
        ({"x": float("nan")},),
        {1: "x"},
        {"a": {None: 1}},
        2**64,
        {1, 2},
        Holder(1.0),
        "\ud800",
    ],
    ids=repr,
)
def test_what_json_blurs_is_refused(value: Any) -> None:
    """What JSON would turn into null, merge with another key or cannot hold raises TypeError instead of a digest."""
    with pytest.raises(TypeError):
        digest_of(value)


def test_line_ends_are_one() -> None:
    """Text of a Windows or old Mac checkout normalises to the LF text."""
    assert lf_text("a\r\nb\rc\n\r\n") == "a\nb\nc\n\n"


def test_file_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    """A file has the digest of its bytes, also beyond one buffer and when empty."""
    for content in (b"", bytes(range(256)) * 20_000):
        (tmp_path / "file").write_bytes(content)
        assert digest_file(tmp_path / "file") == digest_bytes(content) == hashlib.sha256(content).hexdigest()
    assert short("0123456789abcdef") == "0123456789ab"


def test_seeds_are_31_bits_and_depend_on_every_part() -> None:
    """A seed fits 31 bits, is the same again, and changes with app seed, case, step and repeat."""
    base = seed_for(1, "c1", "reply", 0)
    others = {
        seed_for(2, "c1", "reply", 0),
        seed_for(1, "c2", "reply", 0),
        seed_for(1, "c1", "edit", 0),
        seed_for(1, "c1", "reply", 1),
    }
    assert base == seed_for(1, "c1", "reply", 0)
    assert len(others | {base}) == 5
    seeds = [seed_for(7, f"c{n}", "s", 0) for n in range(2000)]
    assert all(0 <= seed < 2**31 for seed in seeds) and max(seeds) > 2**30 and len(set(seeds)) == 2000


def test_seed_parts_do_not_run_together() -> None:
    """Case and step are apart in the hash: moving a letter from one to the other changes the seed."""
    assert seed_for(1, "ab", "c", 0) != seed_for(1, "a", "bc", 0)
