"""The training process: the same bytes from the same inputs, also after a kill; what cannot be trained is said."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.errors import SignoffError, UsageError
from harness.spec.adapters import CONFIG, WEIGHTS
from harness.tune.build import run_training
from harness.tune.checkpoints import newest_whole, remove_torn, seal
from harness.tune.child import _model, refuse_budget, train
from harness.tune.encoded import Sanity
from harness.tune.job import DONE, Job
from tests.tune.small import child, finish, job, letters, recipe

# 48 rows in batches of 8: six steps an epoch, twelve in all, checkpoints after 4 and 8.
ROWS = 64


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Job:
    """A training that nothing interrupted."""
    made = job(tmp_path_factory.mktemp("whole"), model, recipe())
    finish(child(made.write(), PYTHONHASHSEED="1"))
    return made


def files(made: Job) -> list[bytes]:
    """What makes an adapter: its weights and its configuration."""
    return [(made.work / name).read_bytes() for name in (WEIGHTS, CONFIG)]


def figures(made: Job) -> dict[str, Any]:
    """What the training said of itself."""
    found: dict[str, Any] = orjson.loads((made.work / DONE).read_bytes())
    return found


def test_figures(whole: Job) -> None:
    """The figures are those of the training: steps, epochs, rows, losses that fall, an adapter that changes answers."""
    found = figures(whole)
    assert (found["steps"], found["epochs"], found["rows"], found["validation_rows"]) == (12, 2.0, 48, 16)
    assert found["last_loss"] < found["first_loss"] and found["validation_loss"] < found["first_loss"]
    assert found["liveness"] > 0 and found["grad_norm"] > 0 and found["seconds"] > 0
    assert (found["threads"], found["processes"], found["device"]) == (1, 1, "cpu")
    assert found["rows_truncated"] == found["rows_untrained"] == 0


def test_the_same_bytes_in_another_process(whole: Job, tmp_path: Path, model: Path) -> None:
    """On one thread a second process whose sets have another order writes the same weights and configuration."""
    again = job(tmp_path, model, recipe())
    finish(child(again.write(), PYTHONHASHSEED="2"))
    assert files(again) == files(whole)


def test_a_killed_training_goes_on(whole: Job, tmp_path: Path, model: Path) -> None:
    """After kill -9 behind a checkpoint a second process goes on from it and ends with the bytes of an unbroken one."""
    made = job(tmp_path, model, recipe())
    process = child(made.write(), PYTHONHASHSEED="3")
    end = time.monotonic() + 240
    while newest_whole(made.work) is None:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (made.work / DONE).exists()
    reached = newest_whole(made.work)
    assert reached is not None
    before = float((reached / "seconds.txt").read_text())
    # A checkpoint whose seal was never written, as a kill leaves it, is newer and must not be used.
    torn = made.work / "checkpoint-9"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{", encoding="utf-8")
    finish(child(made.file, PYTHONHASHSEED="4"))
    assert files(made) == files(whole) and not torn.exists()
    assert figures(made)["seconds"] > before and figures(made)["first_loss"] == figures(whole)["first_loss"]


@pytest.mark.slow
def test_two_processes(whole: Job, tmp_path: Path, model: Path) -> None:
    """Two processes that share each batch lose what one loses, and write one adapter."""
    alone = job(tmp_path / "alone", model, recipe(method={"dropout": 0.0}))
    finish(child(alone.write()))
    both = job(tmp_path / "both", model, recipe(method={"dropout": 0.0}))
    both.write()
    run_training(both, processes=2, show=False)
    one, two = figures(alone), figures(both)
    assert (two["processes"], two["steps"]) == (2, one["steps"])
    for name in ("first_loss", "last_loss", "mean_loss", "validation_loss"):
        assert two[name] == pytest.approx(one[name], abs=1e-4), name
    assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
    assert two["tokens_trained"] == one["tokens_trained"]
    assert (both.work / WEIGHTS).is_file()


def test_a_checkpoint_is_whole_or_not(tmp_path: Path) -> None:
    """The newest sealed checkpoint counts; one that was cut, lost a file or has no seal does not."""
    for step in (5, 50, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model").write_bytes(b"x" * step)
        seal(folder)
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-100"
    (tmp_path / "checkpoint-100/model").write_bytes(b"x")
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-50"
    (tmp_path / "checkpoint-50/model").unlink()
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-5"
    (tmp_path / "checkpoint-5/whole.json").write_bytes(b"{")
    assert newest_whole(tmp_path) is None
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7/model").touch()
    seal(tmp_path / "checkpoint-7")
    remove_torn(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-7"]


def test_the_budget_of_tokens(tmp_path: Path, model: Path) -> None:
    """A training that would read more tokens than its budget is refused before its first step, rows and all."""
    counts = Sanity(rows=10, truncated=0, untrained=5, tokens=500, tokens_trained=50)
    refuse_budget(recipe(training={"epochs": 2}, budget={"tokens": 1000}), counts)
    with pytest.raises(UsageError, match=r"would read 1,000 tokens, more than budget\.tokens 999"):
        refuse_budget(recipe(training={"epochs": 2}, budget={"tokens": 999}), counts)
    # Five of the ten rows have nothing to learn: a step of eight reads eight of the others, of 100 tokens each.
    with pytest.raises(UsageError, match="would read 2,400 tokens"):
        refuse_budget(recipe(training={"max_steps": 3}, budget={"tokens": 2399}), counts)
    made = job(tmp_path, model, recipe(budget={"tokens": 10}))
    with pytest.raises(UsageError, match=r"sorter/1.0.0: training would read"):
        train(made)
    assert not list(made.work.glob("checkpoint-*"))


def test_the_budget_of_seconds(tmp_path: Path, model: Path) -> None:
    """A training that takes too long stops and names its step; with a larger budget it goes on from its checkpoint."""
    made = job(tmp_path, model, recipe(budget={"seconds": 1e-9}, training={"checkpoint_steps": 1}))
    with pytest.raises(UsageError, match=r"step 1 of 12 after 0 s, more than budget.seconds 1e-09; raise it"):
        train(made)
    # The step that broke the budget is not lost: what stopped was stopped before its checkpoint, at none.
    larger = Job(recipe(training={"checkpoint_steps": 1}), *_rest(made))
    train(larger)
    assert figures(larger)["steps"] == 12


def _rest(made: Job) -> tuple[Any, ...]:
    return made.root, made.model, made.prompt, made.rows, made.work, made.parent


@pytest.mark.parametrize("steps", [1, 12])
def test_a_learning_rate_that_explodes(tmp_path: Path, model: Path, steps: int) -> None:
    """Numbers that are none stop the training with a message, at whatever step, and no adapter is written."""
    wild = {"learning_rate": 0.99, "max_grad_norm": 1e30, "warmup": 0, "max_steps": steps, "weight_decay": 0.0}
    made = job(tmp_path, model, recipe(method={"alpha": 1e38}, training=wild))
    with pytest.raises(SignoffError, match=r"sorter/1.0.0: .*no numbers.*lower training.learning_rate"):
        train(made)
    assert not (made.work / DONE).exists() and not (made.work / WEIGHTS).exists()


def test_a_base_in_bfloat16(whole: Job, tmp_path: Path, model: Path) -> None:
    """A base in half the memory loses about the same; what is trained stays float32 until it is written."""
    from safetensors.torch import load_file

    made = job(tmp_path, model, recipe(training={"precision": "bfloat16"}))
    train(made)
    for name in ("first_loss", "last_loss", "validation_loss"):
        assert figures(made)[name] == pytest.approx(figures(whole)[name], rel=0.05), name
    newest = max(made.work.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    assert {str(tensor.dtype) for tensor in load_file(newest / WEIGHTS).values()} == {"torch.float32"}
    assert {str(tensor.dtype) for tensor in load_file(made.work / WEIGHTS).values()} == {"torch.bfloat16"}


def test_the_seed_is_that_of_the_adapters_beginning(tmp_path: Path, model: Path) -> None:
    """The adapter's first weights depend on the recipe's seed alone, not on what this process drew before."""
    import torch
    from peft import get_peft_model_state_dict

    begun = []
    for place, seed in enumerate((3, 3, 4)):
        torch.manual_seed(place)
        tuned, _ = _model(job(tmp_path, model, recipe(training={"seed": seed})))
        found = get_peft_model_state_dict(tuned)
        begun.append(torch.cat([found[name].flatten() for name in sorted(found) if "lora_A" in name]))
    assert torch.equal(begun[0], begun[1]) and not torch.equal(begun[0], begun[2])


def test_nothing_to_learn(tmp_path: Path, model: Path) -> None:
    """Rows that teach nothing are no training."""
    rows = [{**row, "topic": None if place >= ROWS // 4 else "other"} for place, row in enumerate(letters())]
    made = job(tmp_path, model, recipe(), rows)
    with pytest.raises(SignoffError, match="no row of split 'train' has a token to learn"):
        train(made)


def test_early_stopping(tmp_path: Path, model: Path) -> None:
    """Training stops after ``patience`` evaluations without a better loss and keeps the weights of the best one."""
    hasty = {"learning_rate": 0.2, "patience": 2, "checkpoint_steps": 1, "epochs": 6, "schedule": "constant"}
    made = job(tmp_path, model, recipe(training=hasty))
    train(made)
    found = figures(made)
    assert found["steps"] < 36
    states = sorted(made.work.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    losses = [
        entry["eval_loss"]
        for entry in orjson.loads((states[-1] / "trainer_state.json").read_bytes())["log_history"]
        if "eval_loss" in entry
    ]
    assert len(losses) == found["steps"] and found["validation_loss"] == pytest.approx(min(losses), rel=1e-5)
    assert losses.index(min(losses)) == len(losses) - 3


def test_patience_survives_a_stop(tmp_path: Path, model: Path) -> None:
    """A training that was stopped and goes on ends at the step and with the bytes of one that was not."""
    hasty = {"learning_rate": 0.2, "patience": 3, "checkpoint_steps": 1, "epochs": 6, "schedule": "constant"}
    unbroken = job(tmp_path / "unbroken", model, recipe(training=hasty))
    train(unbroken)
    stopped = job(tmp_path / "stopped", model, recipe(training=hasty))
    last = int(figures(unbroken)["steps"])

    def cut(folder: Path) -> None:
        seal(folder)
        if folder.name == f"checkpoint-{last - 1}":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("harness.tune.watchers.seal", cut)
        train(stopped)
    train(stopped)
    assert figures(stopped)["steps"] == last
    assert files(stopped) == files(unbroken)


def test_a_batch_that_processes_cannot_share(tmp_path: Path, model: Path) -> None:
    """Processes that do not divide the batch are a mistake that is told before any process starts."""
    made = job(tmp_path, model, recipe())
    made.write()
    with pytest.raises(UsageError, match="batch_size 8 cannot be shared by 3 processes"):
        run_training(made, processes=3, show=False)
    assert [path.name for path in made.work.iterdir()] == ["job.json"]


@pytest.mark.slow
def test_a_mistake_in_a_launched_process_is_told(tmp_path: Path, model: Path) -> None:
    """What one of several processes refuses is the user's message, as of one process."""
    made = job(tmp_path, model, recipe(budget={"tokens": 10}))
    made.write()
    with pytest.raises(UsageError, match=r"^sorter/1\.0\.0: training would read"):
        run_training(made, processes=2, show=False)
