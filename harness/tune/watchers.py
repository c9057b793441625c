"""What watches a training: the progress bar, the budget, numbers that are not finite, and whole checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from harness.errors import SignoffError, UsageError
from harness.spec.recipes import Budget
from harness.tune.checkpoints import seal

REPORTED_STEPS = 10


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Shows progress, keeps to the budget, and seals checkpoints; ``tokens`` are those of one epoch."""

    def __init__(self, name: str, budget: Budget, tokens: int, spent: float, show: bool) -> None:
        self._name, self._budget, self._epoch_tokens, self._spent = name, budget, tokens, spent
        self._began = self._ended = self._epochs_before = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not show,
        )
        self._show = show

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a kill included and what follows its end not."""
        return self._spent + (self._ended or time.monotonic()) - self._began

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock and the bar."""
        self._began, self._epochs_before = time.monotonic(), float(state.epoch or 0.0)
        self._bar.start()
        self._task = self._bar.add_task(self._name, total=state.max_steps, completed=state.global_step, told="")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Show the loss; SignoffError when loss or gradient are no numbers any more."""
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", math.nan))
        refuse_unreal(self._name, state.global_step, {"loss": loss, "gradient": norm})
        read = (float(state.epoch or 0.0) - self._epochs_before) * self._epoch_tokens
        told = f"loss {loss:.3f}  {read / max(time.monotonic() - self._began, 1e-9):,.0f} tokens/s"
        self._bar.update(self._task, completed=state.global_step, told=told)
        if self._show and not self._bar.console.is_terminal and state.global_step % REPORTED_STEPS == 0:
            self._bar.console.print(f"{self._name} {state.global_step}/{state.max_steps}  {told}", highlight=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop what takes longer than its budget; what was learned stays in the last checkpoint."""
        if self.seconds > self._budget.seconds and state.global_step < state.max_steps:
            message = (
                f"{self._name}: step {state.global_step} of {state.max_steps} after {self.seconds:.0f} s, more than "
                f"budget.seconds {self._budget.seconds:g}; raise it in the recipe and run again, which goes on from "
                f"the last checkpoint, or train less"
            )
            raise UsageError(message)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self._ended = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal the checkpoint that was just written."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "seconds.txt").write_text(f"{self.seconds:.3f}", encoding="utf-8")
            seal(folder)

    def stop(self) -> None:
        """Take the bar off the screen."""
        self._bar.stop()


def refuse_unreal(name: str, step: int, found: Mapping[str, float]) -> None:
    """SignoffError when a figure of a training is infinite or not a number."""
    if all(map(math.isfinite, found.values())):
        return
    told = " and ".join(f"{what} {value}" for what, value in found.items())
    message = (
        f"{name}: {told} at step {step}: these are no numbers any more; "
        "lower training.learning_rate in the recipe, or train in float32"
    )
    raise SignoffError(message)


def spent_before(checkpoint: Path | None) -> float:
    """Seconds of training that lie behind a checkpoint."""
    return float((checkpoint / "seconds.txt").read_text(encoding="utf-8")) if checkpoint else 0.0
