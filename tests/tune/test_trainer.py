"""The loss is transformers' own on the answers' tokens, and neither parts nor accumulation change a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from harness.serve.engine.tiny import tiny_model
from harness.spec.adapters import WEIGHTS
from harness.tune.batches import IGNORED, chunks, collate
from harness.tune.child import train, training_arguments
from harness.tune.encoded import Encoded, dataset_of
from harness.tune.trainer import AnswerTrainer, answer_loss
from tests.tune.small import job, letters, recipe


def rows(count: int, seed: int = 0) -> list[Encoded]:
    """Rows of random tokens and lengths."""
    random = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length, answer = (int(torch.randint(low, high, (), generator=random)) for low, high in ((8, 40), (1, 8)))
        made.append(Encoded(tuple(torch.randint(0, 256, (length,), generator=random).tolist()), answer))
    return made


def batch_of(encoded: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """They as the trainer is given them."""
    return collate([{"input_ids": row.tokens, "answer": row.answer} for row in encoded], 0)


def tuned() -> Any:
    """The tiny model with an adapter that does something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(tiny_model(), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    return model


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """What was collected, and forget it."""
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}
    model.zero_grad()
    return found


@pytest.fixture
def trainer(tmp_path: Path) -> AnswerTrainer:
    """A trainer of that model on seventeen rows, with as many to validate on."""
    data = dataset_of(rows(17))
    arguments = training_arguments(recipe(), tmp_path, 17)
    return AnswerTrainer(
        tuned(), padding=0, lengths=[len(ids) for ids in data["input_ids"]], args=arguments,
        train_dataset=data, eval_dataset=dataset_of(rows(17, seed=1)),
    )  # fmt: skip


def count(batch: dict[str, torch.Tensor]) -> int:
    """The learned tokens."""
    return int((batch["labels"] != IGNORED).sum())


@pytest.mark.parametrize("size", [1, 2, 9])
def test_the_loss_is_that_of_transformers(size: int) -> None:
    """The loss is transformers' own mean, times the tokens that it is the mean of, and so is its gradient."""
    model, batch = tuned().eval(), batch_of(rows(size))
    theirs = model(**batch).loss * count(batch)
    theirs.backward()
    expected = gradients(model)
    ours = answer_loss(model, batch)
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for name, found in gradients(model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 60, 200])
def test_parts_have_the_gradient_of_the_whole(
    trainer: AnswerTrainer, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that goes through the model in parts has the loss and the gradient of the batch at once."""
    batch = batch_of(rows(12, seed=2))
    assert len(chunks(batch, tokens)) > 1
    whole = answer_loss(trainer.model.train(), batch) / count(batch)
    whole.backward()
    expected = gradients(trainer.model)
    monkeypatch.setattr("harness.tune.trainer.chunks", partial(chunks, tokens=tokens))
    loss = trainer.training_step(trainer.model, batch, torch.tensor(count(batch)))
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    for name, found in gradients(trainer.model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_the_validation_loss_is_a_mean_over_tokens(
    trainer: AnswerTrainer, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the rows are grouped, the loss is the sum over all answers' tokens, divided by their number."""
    batch = batch_of(rows(17, seed=1))
    with torch.no_grad():
        expected = answer_loss(trainer.model.eval(), batch).item() / count(batch)
    monkeypatch.setattr("harness.tune.trainer._EVALUATED", at_once)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)


def test_accumulated_batches_are_one(tmp_path: Path, model: Path) -> None:
    """Two halves of a batch make the step that the batch makes, also where answers have unequal lengths."""
    few = [row | {"topic": "refund" * (place % 4 + 1)} for place, row in enumerate(letters(11))]
    found = []
    for size, accumulate in ((9, 1), (3, 3), (5, 2)):
        training = {"batch_size": size, "accumulate": accumulate, "epochs": 4, "warmup": 0.0}
        made = job(tmp_path / str(size), model, recipe(method={"dropout": 0.0}, training=training), few)
        train(made)
        found.append(load_file(made.work / WEIGHTS))
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=0.02, atol=2e-3)


def test_the_base_is_not_trained(trainer: AnswerTrainer) -> None:
    """Only the adapter's weights have gradients."""
    trained = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
