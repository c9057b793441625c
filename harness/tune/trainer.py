"""transformers' Trainer with a loss on the answers only, whose gradients come in parts that fit the memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from transformers import Trainer

from harness.tune.batches import IGNORED, LengthSampler, chunks, collate

_EVALUATED = 16


def answer_loss(model: Any, part: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The summed cross-entropy of the answers' tokens ``[]``; only their places go through the output layer."""
    labels = part["labels"][:, 1:]
    places = (labels != IGNORED).any(0).nonzero().flatten()
    # Weights that are kept in float32 are multiplied in the base's precision: half the memory, twice the speed. The
    # first weight is the base's; a model that several processes share states no dtype of its own.
    half = next(model.parameters()).dtype == torch.bfloat16
    with torch.autocast(part["input_ids"].device.type, torch.bfloat16, enabled=half):
        logits = model(input_ids=part["input_ids"], logits_to_keep=places, use_cache=False).logits
    wanted = labels[:, places]
    learned = wanted != IGNORED
    return torch.nn.functional.cross_entropy(logits[learned].float(), wanted[learned], reduction="sum")


def mean_loss(model: Any, rows: Any, together: Callable[[list[Any]], Mapping[str, torch.Tensor]]) -> float:
    """The mean loss over the tokens of all rows' answers; ``together`` makes a batch of some rows."""
    total, tokens = 0.0, 0
    with torch.no_grad():
        for at in range(0, len(rows), _EVALUATED):
            batch = together([rows[place] for place in range(at, min(at + _EVALUATED, len(rows)))])
            for part in chunks(batch):
                total += float(answer_loss(model, part))
                tokens += int((part["labels"][:, 1:] != IGNORED).sum())
    return total / tokens


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """Trains on ``input_ids`` and ``answer`` (tokens of the answer at the end of each row)."""

    def __init__(self, model: Any, *, padding: int, lengths: list[int], **settings: Any) -> None:
        super().__init__(model, data_collator=partial(collate, padding=padding), **settings)
        # The batch's number of learned tokens is counted over all processes and accumulated batches.
        self.model_accepts_loss_kwargs = True
        self._lengths = lengths

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # Processes take turns along this order: what they read together is what one process would read.
        return LengthSampler(self._lengths, self.args.train_batch_size * self.args.world_size, self.args.seed)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Gradients of the mean loss over the learned tokens of the whole batch, one part after the other."""
        model.train()
        parts = chunks(self._prepare_inputs(inputs))
        # Gradients of several processes are averaged afterwards; their sum is what belongs to the shared count.
        scale = self.accelerator.num_processes / num_items_in_batch
        total = torch.zeros((), device=self.args.device)
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            with self._waiting(model, last):
                loss = answer_loss(model, part) * scale
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def _waiting(self, model: Any, last: bool) -> Any:
        # Processes meet once a batch, after the last part.
        return nullcontext() if last else self.accelerator.no_sync(model)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """The validation loss, a mean over answers' tokens and not over batches; every process computes all of it."""
        self.model.eval()
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        loss = mean_loss(self.model, rows, lambda some: self._prepare_inputs(self.data_collator(some)))
        metrics = {f"{metric_key_prefix}_loss": loss}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
