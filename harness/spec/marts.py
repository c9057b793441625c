"""Marts: clean tables that ordered SQL makes of raw sources."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from harness.errors import Problem
from harness.spec.base import Sha256, Slug, Spec
from harness.spec.serving import Privacy
from harness.spec.yaml_file import Path_, load, refusal

MART = "mart.yaml"
STEP = re.compile(r"(\d{2,})_[a-z0-9_]+\.sql")
DROP_REASON = "drop_reason"
"""The column in which a step says why a row is left out; NULL keeps it."""
FINAL, DROPPED, SPLIT = "final", "dropped", "split"
"""What audits read: the rows that are kept, with the column ``split``, and those that are not, with their reason."""

Column = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=80)]
Table = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
Type = Annotated[
    str,
    StringConstraints(
        pattern=r"^(VARCHAR|BOOLEAN|TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|FLOAT|DOUBLE|DECIMAL\(\d{1,2},\d{1,2}\)"
        r"|DATE|TIME|TIMESTAMP|TIMESTAMPTZ|UUID|JSON)$"
    ),
]
Format = Literal["csv", "jsonl", "parquet", "sqlite", "postgres", "dataset"]
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://.+")
_FROM = {
    "postgres": (re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*"), "env:VARIABLE, which holds the connection string"),
    "dataset": (re.compile(r"hf:[\w.-]+/[\w.-]+@[\w.-]+"), "hf:OWNER/NAME@REVISION"),
}
_FILE = re.compile(r"path:.+|pypi:[^=]+==[^#]+#.+")
_RESERVED = frozenset((FINAL, DROPPED))


class Within(Spec):
    """A span of time in dbt's words."""

    count: int = Field(ge=1)
    period: Literal["minute", "hour", "day"]

    @property
    def seconds(self) -> float:
        """The span in seconds."""
        return float(self.count * _SECONDS[self.period])


class Freshness(Spec):
    """How old the newest row of a source may be: by ``loaded_at_field``, or else by the time of the file itself."""

    loaded_at_field: Column | None = None
    warn_after: Within | None = None
    error_after: Within | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warn_after is None and self.error_after is None:
            raise ValueError("freshness needs warn_after or error_after, as {count: 12, period: hour}")
        if self.warn_after and self.error_after and self.warn_after.seconds > self.error_after.seconds:
            raise ValueError("freshness: warn_after is longer than error_after; it could never warn")
        return self


class MartSource(Spec):
    """Where rows come from, and what each of them must have.

    ``columns`` must be there and have a value in every row, ``optional`` may be absent; other columns are not read.
    """

    origin: str = Field(alias="from")
    format: Format
    columns: dict[Column, Type] = Field(min_length=1)
    optional: dict[Column, Type] = Field(default_factory=dict)
    licence: str
    sha256: Sha256 | None = None
    delimiter: str = Field(default=",", pattern=r'^[^"\r\n]$')
    table: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")
    config: str | None = None
    split: str = "train"
    freshness: Freshness | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        wanted, words = _FROM.get(self.format, (None, "path:FILE, pypi:NAME==VERSION#FILE or a URL such as s3://…"))
        fits = (
            wanted.fullmatch(self.origin) if wanted else (_FILE.fullmatch(self.origin) or _URL.fullmatch(self.origin))
        )
        if not fits:
            raise ValueError(f"from is {self.origin!r}; for format {self.format} it is {words}")
        if self.origin.startswith("pypi:") and self.sha256 is None:
            raise ValueError(f"from is {self.origin!r}; a file of a package needs its sha256")
        if (self.format in ("sqlite", "postgres")) != (self.table is not None):
            raise ValueError(f"format {self.format} {'needs' if self.table is None else 'has no'} 'table'")
        if self.format in _FROM and self.sha256 is not None:
            raise ValueError(f"format {self.format} has no file and so no sha256; remove it")
        if both := sorted(self.columns.keys() & self.optional.keys()):
            raise ValueError(f"{both[0]!r} stands in columns and in optional; keep one of them")
        field = self.freshness and self.freshness.loaded_at_field
        if field and self.types.get(field) not in ("DATE", "TIMESTAMP", "TIMESTAMPTZ"):
            raise ValueError(f"loaded_at_field is {field!r}; name a column of type DATE, TIMESTAMP or TIMESTAMPTZ")
        return self

    @property
    def types(self) -> dict[str, str]:
        """Every column that is read, with its type."""
        return {**self.columns, **self.optional}

    @property
    def remote(self) -> bool:
        """Whether it must be asked over a network to know what it holds now."""
        return self.format == "postgres" or bool(_URL.fullmatch(self.origin))


class Deduplicate(Spec):
    """Which of several rows with the same text stay: the first by key.

    ``exact`` compares texts without case, blanks and punctuation. ``near`` is the Jaccard similarity of the sets of
    runs of ``words`` words from which on two texts are the same; null looks for exact copies only. ``columns``: by
    default every text column, put together.
    """

    exact: bool = True
    near: float | None = Field(default=None, gt=0, le=1)
    words: int = Field(default=2, ge=1, le=8)
    columns: tuple[Column, ...] = ()


class Anonymise(Privacy):
    """What is taken out of the text columns, and out of every list of rows that were left out.

    ``keep`` are regular expressions of what stays although it looks like an identifier. ``names`` are columns of
    sources that hold names of people: these are taken out wherever they stand.
    """

    before_model: Literal[False] = False
    keep: tuple[str, ...] = ()
    names: dict[Table, Column] = Field(default_factory=dict)

    @field_validator("keep")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"keep: {pattern!r} is no regular expression: {error}") from error
            if compiled.match(""):
                raise ValueError(f"keep: {pattern!r} matches nothing at all; it would keep everything apart")
        return value


class Review(Spec):
    """Which labels a classifier, learnt on the other rows, is asked about: rows it contradicts are listed.

    ``folds`` of groups; ``seed`` decides which groups stand in which.
    """

    labels: tuple[Column, ...] = ()
    folds: int = Field(default=5, ge=2, le=20)
    seed: int = Field(default=0, ge=0, lt=2**32)


class Mart(Spec):
    """``data/<mart>/mart.yaml``.

    The last step makes a table that is called like the mart. ``key`` tells rows apart, rows of one ``group`` stay in
    one split. ``labels`` are columns with the values they may have; a label without a value is not labelled.
    """

    name: Table
    description: str = ""
    licence: str
    sources: dict[Table, MartSource] = Field(min_length=1)
    functions: tuple[str, ...] = ()
    key: tuple[Column, ...] = Field(min_length=1)
    group: Column
    text: tuple[Column, ...] = Field(min_length=1)
    labels: dict[Column, tuple[str, ...]] = Field(default_factory=dict)
    splits: dict[Slug, float] = Field(min_length=1)
    max_seconds: float | None = Field(default=None, gt=0)
    deduplicate: Deduplicate = Deduplicate()
    anonymise: Anonymise | None = None
    review: Review | None = None
    biases: tuple[str, ...] = ()

    @field_validator("key", "text", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if found := [*self._columns(), *self._names()]:
            raise refusal("Mart", found)
        return self

    def _columns(self) -> list[tuple[Path_, str]]:
        found: list[tuple[Path_, str]] = []
        for name, values in self.labels.items():
            if not values or len(set(values)) != len(values):
                found.append((("labels", name), f"labels.{name} must be a list of values, each once"))
        named = [*self.key, *self.text, *self.labels]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            found.append((("key",), f"{twice[0]!r} is more than one of key, text and labels; it can be one"))
        found += [
            (("key",), f"a column cannot be called {name!r}: the mart has one of that name itself")
            for name in (*named, self.group)
            if name.lower() in (SPLIT, DROP_REASON)
        ]
        found += [
            (
                ("deduplicate", "columns"),
                f"deduplicate.columns: {name!r} is no text column; there are {list(self.text)}",
            )
            for name in self.deduplicate.columns
            if name not in self.text
        ]
        for source, name in (self.anonymise.names if self.anonymise else {}).items():
            if source not in self.sources or name not in self.sources[source].types:
                found.append((("anonymise", "names", source), f"anonymise.names: no source has {source}.{name}"))
        return found + [
            (("review", "labels"), f"review.labels: {name!r} is no label; there are {sorted(self.labels)}")
            for name in (self.review.labels if self.review else ())
            if name not in self.labels
        ]

    def _names(self) -> list[tuple[Path_, str]]:
        found: list[tuple[Path_, str]] = []
        if abs(sum(self.splits.values()) - 1) > 1e-9 or min(self.splits.values()) <= 0:
            found.append((("splits",), f"the shares of splits must be above 0 and add up to 1, not {self.splits}"))
        found += [
            (("sources", name), f"a source cannot be called {name!r}; a table of the mart is")
            for name in self.sources
            if name in (*_RESERVED, self.name)
        ]
        for index, name in enumerate(self.functions):
            if not re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_]+)*\.py", name):
                found.append((("functions", index), f"functions: {name!r} must be a Python file in the mart's folder"))
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the last step's table must have."""
        return tuple(dict.fromkeys((*self.key, self.group, *self.text, *self.labels)))


def load_mart(folder: Path, shown: str) -> tuple[Mart | None, list[Problem]]:
    """``folder/mart.yaml``, or everything that is wrong with it, its steps' names and its files."""
    path = f"{shown}/{MART}"
    mart, problems = load(folder / MART, path, Mart)
    if mart and mart.name != folder.name:
        problems.append(Problem(path, 1, f"name is {mart.name!r} but the folder is {folder.name!r}; make them equal"))
    problems += _steps(folder, shown)
    for name in mart.functions if mart else ():
        if not (folder / name).is_file():
            problems.append(Problem(f"{shown}/{name}", None, f"no such file, but {path} lists it in functions"))
    return (None if problems else mart), problems


def _steps(folder: Path, shown: str) -> list[Problem]:
    problems, numbers = [], []
    for file in sorted((folder / "sql").glob("*.sql")):
        if found := STEP.fullmatch(file.name):
            numbers.append((int(found[1]), file.name))
        else:
            problems.append(Problem(f"{shown}/sql/{file.name}", None, "a step is called like 01_clean.sql"))
    for (first, one), (second, other) in pairwise(sorted(numbers)):
        if first == second:
            wrong = f"has the number of {one}; which comes first must be plain"
            problems.append(Problem(f"{shown}/sql/{other}", None, wrong))
    if not numbers:
        problems.append(Problem(f"{shown}/sql", None, "holds no step; write one, as sql/01_clean.sql"))
    return problems


def steps_of(folder: Path) -> list[Path]:
    """The SQL files of a mart in the order in which they run."""
    return sorted((folder / "sql").glob("*.sql"), key=lambda file: (int(file.name.split("_")[0]), file.name))


def audits_of(folder: Path) -> list[Path]:
    """The audits of a mart: queries that must return no row."""
    return sorted((folder / "sql" / "audits").glob("*.sql"))
