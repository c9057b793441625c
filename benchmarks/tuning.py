"""Signoff's training beside TRL's SFTTrainer: the same recipe, rows, seed and steps, in one run.

    python benchmarks/tuning.py                       # support-triage, 60 steps, two rounds
    python benchmarks/tuning.py --steps 30 --rounds 1 --json out.json

Every arm is a process of its own, in turn, round by round. TRL gets the model in the recipe's precision, the recipe's
LoRA and learning rate, and its own defaults for the rest; a further arm switches its gradient checkpointing off, since
that trades speed for memory. Tokens are those of the rows without padding, seconds those of the training loop, memory
is the peak of the process (VmHWM). All adapters are judged by one loss: the mean over the answers' tokens of the
validation split. Batches of rows of like length learn a little less from each step; the arm with a third more steps
says what time it takes to make up for that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
ARMS = {
    "signoff": "Signoff",
    "signoff-longer": "Signoff, a third more steps",
    "trl": "TRL SFTTrainer, defaults",
    "trl-plain": "TRL, without gradient checkpointing",
}
DEFAULT = "support-triage"


def prepared(recipe_name: str, steps: int, work: Path) -> Path:
    """The job of the recipe from the bare base, cut to ``steps`` and to rows whose answer is whole: alike for both."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from harness.spec.repository import load_shared
    from harness.store import cache_home
    from harness.tune import TuneRequest, inputs_of
    from harness.tune.build import job_of
    from harness.tune.job import read_rows

    recipe = load_shared(ROOT).recipes[recipe_name]
    training = recipe.training.model_copy(update={"max_steps": steps, "checkpoint_steps": 100_000, "patience": 0})
    recipe = recipe.model_copy(update={"training": training, "parent": None})
    inputs = inputs_of(ROOT, cache_home(), recipe)
    job = job_of(inputs, TuneRequest(ROOT, cache_home(), recipe, work / "out"), work / "job")
    rows = {}
    for name, file in job.rows.items():
        whole = [row for row in read_rows(file) if all(row[column] is not None for column in recipe.rows.columns)]
        rows[name] = work / f"{name}.parquet"
        parquet.write_table(pa.Table.from_pylist(whole), rows[name])
    return replace(job, rows=rows).write()


def run_arm(arm: str, job: Path, work: Path) -> dict[str, Any]:
    """One arm in a fresh process; what it measured of itself."""
    out = work / "measured.json"
    command = [sys.executable, __file__, "--arm", arm, "--job", str(job), "--work", str(work), "--json", str(out)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{arm} failed:\n{done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


def peak_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def arm_signoff(job_file: Path, work: Path, *, longer: bool) -> dict[str, Any]:
    """Train as ``signoff finetune`` does."""
    import orjson

    from harness.tune.child import train
    from harness.tune.job import DONE, Job

    job = replace(Job.read(job_file), work=work / "signoff")
    if longer:
        steps = round((job.recipe.training.max_steps or 0) * 4 / 3)
        training = job.recipe.training.model_copy(update={"max_steps": steps})
        job = replace(job, recipe=job.recipe.model_copy(update={"training": training}))
    job.write()
    train(job)
    figures = orjson.loads((job.work / DONE).read_bytes())
    read = figures["tokens"] * figures["epochs"]
    return {"seconds": figures["seconds"], "tokens": read, "adapter": str(job.work), "peak_mb": peak_mb()}


def arm_trl(job_file: Path, work: Path, *, checkpointing: bool) -> dict[str, Any]:
    """Train with TRL on the same rows as conversations of a prompt and a completion."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from harness.serve.engine.loader import load_base, prepare_process
    from harness.tune.encoded import Encoder, answer_text
    from harness.tune.job import Job, read_rows
    from harness.tune.weights import write_adapter

    job = Job.read(job_file)
    recipe, training = job.recipe, job.recipe.training
    prepare_process(training.threads)
    model, tokenizer = load_base(job.model, training.precision)
    encoder = Encoder(tokenizer, job.load_prompt(), recipe.rows, training.sequence_length)
    found = read_rows(job.rows["train"])
    conversations = [
        {
            "prompt": [{"role": turn.role, "content": turn.content} for turn in encoder.messages(row)],
            "completion": [{"role": "assistant", "content": (answer_text(row, recipe.rows) or ("", True))[0]}],
        }
        for row in found
    ]
    asked: dict[str, Any] = {} if checkpointing else {"gradient_checkpointing": False}
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(conversations),
        peft_config=LoraConfig(
            r=recipe.method.rank,
            lora_alpha=recipe.method.alpha,
            lora_dropout=recipe.method.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=str(work / "trl"),
            max_length=training.sequence_length,
            per_device_train_batch_size=training.batch_size,
            max_steps=training.max_steps or -1,
            learning_rate=training.learning_rate,
            lr_scheduler_type=training.schedule,
            warmup_steps=round(training.warmup * (training.max_steps or 0)),
            seed=training.seed,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **asked,
        ),
    )
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    peak = peak_mb()
    tokens = sum(lengths) / len(lengths) * training.batch_size * (training.max_steps or 0)
    write_adapter(work / "trl", trainer.model, recipe.base)
    return {"seconds": seconds, "tokens": tokens, "adapter": str(work / "trl"), "peak_mb": peak}


def validation_loss(job_file: Path, adapter: Path) -> float:
    """The mean loss over the answers' tokens of the validation split, in float32."""
    from peft import PeftModel

    from harness.serve.engine.loader import load_base, prepare_process
    from harness.tune.batches import collate
    from harness.tune.encoded import Encoder, dataset_of
    from harness.tune.job import Job, read_rows
    from harness.tune.trainer import mean_loss

    job = Job.read(job_file)
    prepare_process()
    base, tokenizer = load_base(job.model, "float32")
    model = PeftModel.from_pretrained(base, adapter).eval()
    encoder = Encoder(tokenizer, job.load_prompt(), job.recipe.rows, job.recipe.training.sequence_length)
    rows = dataset_of(encoder.encode(read_rows(job.rows["validation"]))[0])
    return mean_loss(model, rows, partial(collate, padding=0))


def measure_arm(args: argparse.Namespace) -> None:
    """The body of one arm's process."""
    if args.arm.startswith("signoff"):
        found = arm_signoff(args.job, args.work, longer=args.arm == "signoff-longer")
    else:
        found = arm_trl(args.job, args.work, checkpointing=args.arm == "trl")
    found["validation_loss"] = validation_loss(args.job, Path(found["adapter"]))
    args.json.write_text(json.dumps(found))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """The arms side by side, as Markdown; medians over the rounds."""
    speed = {arm: median(each["tokens"] / each["seconds"] for each in rounds) for arm, rounds in found.items()}
    lines = [
        "| trainer | tokens/s | beside TRL | seconds | peak MB | validation loss |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for arm, rounds in found.items():
        ratio = speed[arm] / speed["trl"] if "trl" in speed else float("nan")
        seconds, peak, loss = (
            median(each[name] for each in rounds) for name in ("seconds", "peak_mb", "validation_loss")
        )
        lines.append(f"| {ARMS[arm]} | {speed[arm]:.0f} | {ratio:.2f} | {seconds:.0f} | {peak:.0f} | {loss:.4f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run all arms in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=DEFAULT)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=tuple(ARMS), default=list(ARMS), metavar="ARM")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=tuple(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.arm:
        measure_arm(args)
        return
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in args.only}
    with tempfile.TemporaryDirectory() as folder:
        job = prepared(args.recipe, args.steps, Path(folder))
        for turn in range(args.rounds):
            for arm in args.only:
                work = Path(folder) / f"{arm}-{turn}"
                work.mkdir()
                found[arm].append(run_arm(arm, job, work))
                each = found[arm][-1]
                print(f"round {turn + 1} {arm}: {each['tokens'] / each['seconds']:.0f} tokens/s", file=sys.stderr)
                if args.json:
                    args.json.write_text(json.dumps(found, indent=2))
    print(table(found))


if __name__ == "__main__":
    main()
