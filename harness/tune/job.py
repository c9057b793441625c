"""What the training process is told: one JSON file, so that any launcher may start it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.errors import SignoffError
from harness.spec.prompts import Prompt, load_prompt
from harness.spec.recipes import Recipe
from harness.store import write_atomic

JOB, DONE, FAILED = "job.json", "done.json", "failed.json"


@dataclass(frozen=True, slots=True)
class Job:
    """One training: ``rows`` maps train and validation to Parquet files, ``parent`` is an adapter's folder or None.

    ``work`` is where checkpoints and, in the end, weights, configuration and ``done.json`` are written.
    """

    recipe: Recipe
    root: Path
    model: Path
    prompt: Path
    rows: dict[str, Path]
    work: Path
    parent: Path | None = None

    @property
    def file(self) -> Path:
        """Where ``write`` puts it."""
        return self.work / JOB

    def write(self) -> Path:
        """Write the job into its work folder and return the file."""
        content: dict[str, Any] = asdict(self) | {"recipe": self.recipe.model_dump(mode="json")}
        self.work.mkdir(parents=True, exist_ok=True)
        write_atomic(self.file, orjson.dumps(content, default=str))
        return self.file

    def fail(self, error: SignoffError) -> int:
        """Leave the message of what went wrong for whoever launched this process, and return its exit code.

        A launcher of several processes has an exit code and last words of its own.
        """
        told = {"message": str(error), "exit_code": error.exit_code}
        write_atomic(self.work / FAILED, orjson.dumps(told))
        return error.exit_code

    @classmethod
    def read(cls, file: Path) -> Job:
        """The job of a file that ``write`` wrote."""
        content = orjson.loads(file.read_bytes())
        parent = content.pop("parent")
        return cls(
            recipe=Recipe.model_validate(content.pop("recipe")),
            rows={name: Path(path) for name, path in content.pop("rows").items()},
            parent=Path(parent) if parent else None,
            **{name: Path(path) for name, path in content.items()},
        )

    def load_prompt(self) -> Prompt:
        """The prompt whose rendering the rows are trained with."""
        prompt, problems = load_prompt(self.prompt, self.root)
        assert prompt is not None and not problems
        return prompt


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a split of a built mart."""
    import pyarrow.parquet as parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows
