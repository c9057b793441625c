"""Loading a model folder, and what identifies what was loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SignoffError, UsageError
from harness.serve.engine.loader import (
    DEVICE,
    THREADS,
    device,
    load_transformers,
    prepare_process,
    tokenizer_template_digest,
)
from harness.serve.engine.tiny import CHAT_TEMPLATE, save_tiny, tiny_model, tiny_tokenizer
from tests.serve.helpers import Solo, ask, run_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on disk."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_a_loaded_folder_answers_as_the_model(folder: Path, solo: Solo) -> None:
    """A model that was saved and loaded gives the answers of the original."""
    engine = load_transformers(folder, threads=1)
    request = ask("hello there", max_tokens=15)
    assert run_all(engine, [request])[0].text == solo(request)
    assert engine.identity.dtype == "float32"
    assert engine.identity.tokenizer_digest == tokenizer_template_digest(tiny_tokenizer())


def test_the_tiny_model_depends_on_its_seed_alone() -> None:
    """Equal seeds give equal weights, other seeds others, and torch's own random state is left alone."""
    import torch

    before = torch.random.get_rng_state()
    first, again, other = (tiny_model(seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_digest_sees_tokenizer_and_template() -> None:
    """Another template or another token changes the digest; the same ones do not."""
    plain, template, token = tiny_tokenizer(), tiny_tokenizer(), tiny_tokenizer()
    template.chat_template = CHAT_TEMPLATE.replace("assistant", "bot")
    token.add_tokens(["hello"])
    digests = [tokenizer_template_digest(each) for each in (plain, tiny_tokenizer(), template, token)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_digest_does_not_depend_on_use() -> None:
    """Padding or truncating a text with a tokenizer leaves its digest as it was."""
    tokenizer = tiny_tokenizer()
    before = tokenizer_template_digest(tokenizer)
    tokenizer(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert tokenizer_template_digest(tokenizer) == before


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """A folder that lacks files is a user's mistake, with the names of what is missing."""
    with pytest.raises(UsageError, match=r"config\.json, tokenizer\.json"):
        load_transformers(tmp_path)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    """Weights that lack a tensor are an error, where transformers would fill it with random numbers."""
    from safetensors.torch import load_file, save_file

    folder = save_tiny(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SignoffError, match=r"lm_head\.weight"):
        load_transformers(folder, threads=1)


def test_a_missing_template_is_refused(tmp_path: Path) -> None:
    """A tokenizer without chat template is an error at load, not at the first request."""
    folder = save_tiny(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(SignoffError, match="chat template"):
        load_transformers(folder, threads=1)


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_wrong_number_of_threads_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The environment variable for threads must be a positive whole number."""
    monkeypatch.setenv(THREADS, value)
    with pytest.raises(UsageError, match=f"{THREADS} is '{value}'"):
        prepare_process()


def test_the_environment_sets_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable decides unless the caller names a number."""
    import torch

    before = torch.get_num_threads()
    try:
        monkeypatch.setenv(THREADS, "1")
        assert prepare_process() == torch.get_num_threads() == 1
        assert prepare_process(2) == 2
    finally:
        torch.set_num_threads(before)


def test_a_device_is_never_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Models run on the CPU unless told otherwise; a device that is unknown or absent is an error that names it."""
    monkeypatch.delenv(DEVICE, raising=False)
    assert device() == "cpu"
    monkeypatch.setenv(DEVICE, "gpu")
    with pytest.raises(UsageError, match="SIGNOFF_DEVICE is 'gpu'"):
        device()
    monkeypatch.setenv(DEVICE, "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no CUDA device"):
        load_transformers(save_tiny(tmp_path / "tiny"))
