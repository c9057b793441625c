"""How long it takes to look for 10,000 cases in 100,000 rows, and how well texts that were edited are found.

    python benchmarks/contamination.py              # time, memory, planted leaks; beside a plain comparison of sets
    python benchmarks/contamination.py --quality    # precision and recall on the shipped suites and raw tickets

Words are drawn by Zipf's law, so that common phrases match as they do in real text. The plain comparison looks at
every pair and is measured on a part: its time for all pairs is that part's, scaled by the number of pairs.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson

from harness.data.contamination import Finder, Match, containment, run_length, words_of
from harness.spec.cases import load_case_file

ROOT = Path(__file__).resolve().parents[1]
RATES = (0.0, 0.05, 0.1, 0.2, 0.3)
BANDS = ((3, 8), (9, 15), (16, 30), (31, 400))
LIMIT_S, LIMIT_BYTES = 60.0, 1 << 30


def drawn(count: int, mean: int, seed: int, vocabulary: int = 60_000) -> list[str]:
    """Texts of three to ``3 * mean`` words whose frequencies fall as those of a language do."""
    draw = np.random.default_rng(seed)
    words = np.array([f"w{number}" for number in range(vocabulary)])
    odds = 1 / np.arange(1, vocabulary + 1)
    sizes = np.clip(draw.poisson(mean, count) + draw.integers(-mean // 2, mean, count), 3, 3 * mean)
    ends = np.cumsum(sizes)
    chosen = words[draw.choice(vocabulary, size=int(ends[-1]), p=odds / odds.sum())]
    return [" ".join(part) for part in np.split(chosen, ends[:-1])]


def planted(cases: Sequence[str], rows: list[str], count: int) -> dict[int, int]:
    """Put ``count`` cases of nine words or more into ``rows``: whole, quoted, or with a tenth of the words changed."""
    draw = random.Random(3)
    able = [place for place, case in enumerate(cases) if len(case.split()) > 8]
    where = dict(zip(draw.sample(range(len(rows)), count), draw.sample(able, count), strict=True))
    for number, (row, case) in enumerate(where.items()):
        words = cases[case].split()
        if number % 3 == 1:
            words = [*rows[row].split(), *words]
        elif number % 3 == 2:
            for place in draw.sample(range(len(words)), len(words) // 10):
                words[place] = "altered"
        rows[row] = " ".join(words)
    return where


def plain(cases: Sequence[str], rows: Iterable[str]) -> int:
    """The comparison that the index replaces: every row with every case, by sets. How many pairs there were."""

    def runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
        return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}

    known = [(run_length(len(words)), runs(words, run_length(len(words)))) for words in map(words_of, cases)]
    pairs = 0
    for words in map(words_of, rows):
        by_length = {length: runs(words, length) for length in {length for length, _ in known}}
        for length, wanted in known:
            pairs += 1
            _ = len(wanted & by_length[length]) / len(wanted) >= 1.0
    return pairs


def speed(rows_count: int, cases_count: int) -> bool:
    """Measure, print, and say whether both limits held and every leak was found."""
    cases, rows = drawn(cases_count, 30, seed=1), drawn(rows_count, 40, seed=2)
    leaks = planted(cases, rows, 60)
    before = _peak()
    started = time.perf_counter()
    found: list[Match] = list(Finder(cases).find(rows))
    seconds = time.perf_counter() - started
    peak = _peak()
    missed = set(leaks.items()) - {(match.row, match.item) for match in found}
    others = [match for match in found if leaks.get(match.row) != match.item]
    part = rows[:200]
    started = time.perf_counter()
    per_pair = (time.perf_counter() - started + _timed(cases, part)) / (len(part) * len(cases))
    naive = per_pair * len(rows) * len(cases)
    print(f"{len(rows):,} rows x {len(cases):,} cases: {seconds:.1f} s of at most {LIMIT_S:.0f}")
    print(
        f"plain comparison of sets: {naive:,.0f} s for all pairs (from {len(part)} rows), {naive / seconds:,.0f} times"
    )
    print(
        f"peak memory {peak / 2**20:,.0f} MiB of at most {LIMIT_BYTES / 2**20:,.0f} (texts alone {before / 2**20:,.0f})"
    )
    print(f"planted leaks found: {len(leaks) - len(missed)} of {len(leaks)}; other pairs: {len(others)}")
    return seconds <= LIMIT_S and peak <= LIMIT_BYTES and not missed


def _timed(cases: Sequence[str], rows: Sequence[str]) -> float:
    started = time.perf_counter()
    plain(cases, rows)
    return time.perf_counter() - started


def _peak() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def case_texts() -> list[str]:
    """What customers and the assistant say in the cases of the suite support."""
    texts = []
    for file in sorted((ROOT / "suites/support/cases").glob("*.jsonl")):
        loaded, _ = load_case_file(file, ROOT)
        for case in loaded.cases if loaded else ():
            texts += [turn.content for turn in case.messages]
            texts += [str(case.inputs["message"])] if "message" in case.inputs else []
    return list(dict.fromkeys(texts))


def ticket_texts() -> list[str]:
    """The bodies of the raw tickets, which share no matter with the suite's cases."""
    folder = ROOT / "data/support_tickets/raw"
    return [
        row[key]
        for name, key in (("tickets", "body"), ("labelled_messages", "text"), ("chat_messages", "text"))
        for row in _lines(folder / f"{name}.jsonl")
        if isinstance(row.get(key), str)
    ]


def _lines(path: Path) -> Iterator[dict[str, object]]:
    for line in path.read_bytes().splitlines():
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row


def edited(text: str, rate: float, others: Sequence[str], draw: random.Random) -> str:
    """``text`` with a share of its words replaced (three of five), left out or followed by a new one (one each)."""
    words = words_of(text)
    touched = set(draw.sample(range(len(words)), round(rate * len(words))))
    made: list[str] = []
    for place, word in enumerate(words):
        kind = draw.random() if place in touched else 1.0
        if place not in touched or kind >= 0.8:
            made.append(word)
        if place in touched and not 0.6 <= kind < 0.8:
            made.append(draw.choice(others))
    return " ".join(made)


def quality(copies: int) -> None:
    """Print how many edited cases are found, and which different texts are taken for a case."""
    cases, tickets = case_texts(), ticket_texts()
    others = [word for text in tickets for word in words_of(text)]
    finder, draw = Finder(cases), random.Random(1)
    sizes = [len(words_of(case)) for case in cases]
    false = {match.item for match in finder.find(tickets)}
    print(f"{len(cases)} texts of cases; negatives: {len(tickets)} raw tickets, no copy of a case among them")
    print("| words | texts | recall at 0 % edited | 5 % | 10 % | 20 % | 30 % | taken for a ticket | precision |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for low, high in BANDS:
        places = [place for place, size in enumerate(sizes) if low <= size <= high]
        shares = []
        for rate in RATES:
            rows = [edited(cases[place], rate, others, draw) for place in places for _ in range(copies)]
            hits = {(match.row, match.item) for match in finder.find(rows)}
            shares.append(sum((row, places[row // copies]) in hits for row in range(len(rows))) / len(rows))
        wrong = len(false.intersection(places))
        right = shares[2] * len(places)
        print(
            f"| {low} to {high} | {len(places)} | {' | '.join(f'{share:.2f}' for share in shares)} | {wrong} "
            f"| {right / (right + wrong):.2f} |"
        )
    for match in finder.find(tickets):
        share = max(
            containment(cases[match.item], tickets[match.row]), containment(tickets[match.row], cases[match.item])
        )
        print(f"taken for a ticket: {cases[match.item]!r} ({share:.2f}) {tickets[match.row]!r}")


def main() -> int:
    """Run what was asked for; 1 when a limit did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--quality", action="store_true", help="precision and recall instead of time and memory")
    parser.add_argument("--copies", type=int, default=5, help="edited copies of each case")
    args = parser.parse_args()
    if args.quality:
        quality(args.copies)
        return 0
    return 0 if speed(args.rows, args.cases) else 1


if __name__ == "__main__":
    sys.exit(main())
