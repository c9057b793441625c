"""The training process: ``python -m harness.tune.child job.json``, also under ``accelerate launch``.

A process of its own, because seeds, threads and the memory of torch belong to a whole process.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from harness.errors import SignoffError, UsageError
from harness.serve.engine.loader import prepare_process, tokenizer_template_digest
from harness.spec.recipes import Recipe
from harness.store import write_atomic
from harness.tune.encoded import Encoder, Sanity, dataset_of
from harness.tune.job import DONE, Job, read_rows


def train(job: Job) -> None:
    """Train, and write the adapter's files and ``done.json`` (figures of the training) into the work folder."""
    recipe = job.recipe
    threads = prepare_process(recipe.training.threads)
    from datasets import disable_progress_bars
    from transformers.utils import logging

    from harness.tune.checkpoints import newest_whole, remove_torn
    from harness.tune.trainer import AnswerTrainer
    from harness.tune.watchers import Watcher, refuse_unreal, spent_before
    from harness.tune.weights import liveness, write_adapter

    disable_progress_bars()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, tokenizer = _model(job)
    encoder = Encoder(tokenizer, job.load_prompt(), recipe.rows, recipe.training.sequence_length)
    rows, sanity = encoder.encode(read_rows(job.rows["train"]))
    held, held_sanity = encoder.encode(read_rows(job.rows["validation"]))
    if not rows or not held:
        which = recipe.rows.split if not rows else recipe.rows.validation
        raise SignoffError(f"{recipe.key}: no row of split {which!r} has a token to learn; look at rows in the recipe")
    refuse_budget(recipe, sanity)
    checkpoint = newest_whole(job.work)
    arguments = training_arguments(recipe, job.work, len(rows))
    if arguments.process_index == 0:
        remove_torn(job.work)
    watcher = Watcher(
        recipe.key, recipe.budget, sanity.tokens, spent_before(checkpoint), show=arguments.process_index == 0
    )
    trainer = AnswerTrainer(
        model,
        padding=tokenizer.convert_tokens_to_ids(tokenizer.pad_token or tokenizer.eos_token),
        lengths=[len(row.tokens) for row in rows],
        args=arguments,
        train_dataset=dataset_of(rows),
        eval_dataset=dataset_of(held),
        callbacks=[watcher, *_stopping(recipe)],
    )
    _quiet(trainer)
    try:
        done = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        watcher.stop()
    validation = trainer.evaluate()["eval_loss"]
    refuse_unreal(recipe.key, trainer.state.global_step, {"validation loss": validation})
    if not trainer.is_world_process_zero():
        return
    write_adapter(job.work, trainer.model, recipe.base)
    sample = trainer.data_collator([trainer.eval_dataset[0]])
    alive = liveness(trainer.model, trainer._prepare_inputs(sample))
    figures = _history(trainer) | {
        **sanity.as_dict(),
        "validation_rows": held_sanity.rows,
        "validation_loss": validation,
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.state.epoch or 0.0), 3),
        "mean_loss": float(done.training_loss),
        "liveness": alive,
        "seconds": watcher.seconds,
        "threads": threads,
        "processes": arguments.world_size,
        "device": arguments.device.type,
        "tokenizer_template": tokenizer_template_digest(tokenizer),
    }
    write_atomic(job.work / DONE, orjson.dumps(figures, option=orjson.OPT_INDENT_2))


def refuse_budget(recipe: Recipe, sanity: Sanity) -> None:
    """UsageError for a training that would read more tokens than its budget."""
    asked = recipe.training
    learned = sanity.rows - sanity.untrained
    rows = asked.max_steps * asked.batch_size * asked.accumulate if asked.max_steps else asked.epochs * learned
    tokens = round(rows * sanity.tokens / learned)
    if tokens > recipe.budget.tokens:
        message = (
            f"{recipe.key}: training would read {tokens:,} tokens, more than budget.tokens {recipe.budget.tokens:,}; "
            "raise it in the recipe, or train fewer epochs"
        )
        raise UsageError(message)


def _model(job: Job) -> tuple[Any, Any]:
    """Base with a fresh adapter, and tokenizer. Seeded first: the adapter's beginning comes of the global generator."""
    import torch
    from peft import IA3Config, LoraConfig, get_peft_model
    from transformers import set_seed

    from harness.serve.engine.loader import load_base
    from harness.tune.weights import take_parent

    recipe = job.recipe
    base, tokenizer = load_base(job.model, recipe.training.precision)
    set_seed(recipe.training.seed)
    method = recipe.method
    targets = "all-linear" if method.target_modules == "all-linear" else list(method.target_modules)
    config: Any
    if method.kind == "lora":
        config = LoraConfig(
            r=method.rank,
            lora_alpha=method.alpha,
            lora_dropout=method.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
    else:
        config = IA3Config(task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(torch.float32)
    if job.parent:
        take_parent(model, job.parent)
    return model, tokenizer


def training_arguments(recipe: Recipe, work: Path, rows: int) -> Any:
    """transformers' TrainingArguments of a recipe; its batch is that of all processes together."""
    import os

    from transformers import TrainingArguments

    from harness.serve.engine.loader import device

    asked = recipe.training
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    saving = {"save_strategy": "steps", "save_steps": asked.checkpoint_steps, "save_total_limit": 2}
    if asked.patience:
        saving |= {
            # The best one is kept beside the newest two, of which the last is not whole while it is written.
            "save_total_limit": 3,
            "eval_strategy": "steps",
            "eval_steps": asked.checkpoint_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            # Else a training that goes on would begin to count its patience anew.
            "restore_callback_states_from_checkpoint": True,
        }
    steps = asked.max_steps or -(-rows // (asked.batch_size * asked.accumulate)) * asked.epochs
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=asked.batch_size // processes,
        per_device_eval_batch_size=asked.batch_size // processes,
        gradient_accumulation_steps=asked.accumulate,
        num_train_epochs=asked.epochs,
        max_steps=asked.max_steps or -1,
        learning_rate=asked.learning_rate,
        lr_scheduler_type=asked.schedule if asked.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(asked.warmup * steps),
        weight_decay=asked.weight_decay,
        max_grad_norm=asked.max_grad_norm,
        seed=asked.seed,
        data_seed=asked.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        use_cpu=device() == "cpu",
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
        **saving,
    )


def _stopping(recipe: Recipe) -> list[Any]:
    from transformers import EarlyStoppingCallback

    return [EarlyStoppingCallback(recipe.training.patience)] if recipe.training.patience else []


def _quiet(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def _history(trainer: Any) -> dict[str, float]:
    """First and last loss and the largest gradient, read from the state, which a resumed training carries on."""
    told = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "first_loss": float(told[0]["loss"]),
        "last_loss": float(told[-1]["loss"]),
        "grad_norm": max(float(entry["grad_norm"]) for entry in told),
    }


def main(argv: list[str]) -> int:
    """Train the job of ``argv[0]``; the message of what went wrong lies in its work folder."""
    job = Job.read(Path(argv[0]))
    try:
        train(job)
    except SignoffError as error:
        return job.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
