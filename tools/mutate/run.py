"""Changes the library, runs its tests, and prints which changes no test notices."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import random
import sys
import tempfile
from textwrap import dedent
import time
import tomllib

from .mutants import Mutant, mutants_of
from .sandbox import Outcome, Sandbox, outcome_of, preload
from .targets import LIBRARY, ROOT, TESTS

EXPLANATIONS_FILE = Path(__file__).parent / "survivors.toml"

AIM = 95  # percent of killed mutants, among those that change the behaviour


@dataclass(frozen=True)
class Explanations:
    """The content of `survivors.toml`: mutants that may survive."""

    kinds: Mapping[tuple[str, str], str]
    """The kind of each survivor by file name and change: "equivalent" if the mutant
    behaves like the original, "accepted" if no test has to notice it."""

    @classmethod
    def load(cls, path: Path = EXPLANATIONS_FILE) -> Explanations:
        """Return the explanations from a file."""
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(
            {
                (entry["file"], dedent(change).strip()): kind
                for kind, entries in content.items()
                for entry in entries
                for change in entry["changes"]
            }
        )

    def kind_of(self, mutant: Mutant) -> str | None:
        """Return the kind of a survivor, or None if the file does not explain it."""
        return self.kinds.get((Path(mutant.file).name, mutant.change))


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code: 1 if a file misses the aim.

    Ends the program if no test of a file passes without Home Assistant.
    """
    mutants = [
        mutant
        for name in options.names
        for mutant in mutants_of(
            f"{LIBRARY}/{name}", (ROOT / LIBRARY / name).read_text(encoding="utf-8")
        )
    ]
    if options.sample is not None and options.sample < len(mutants):
        chosen = random.Random(options.seed).sample(range(len(mutants)), options.sample)  # noqa: S311
        mutants = [mutants[each] for each in sorted(chosen)]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.file}:{mutant.lines[0]}\n{mutant.change}\n")
        return 0
    explanations = Explanations.load()
    os.nice(10)  # give other programs a higher priority
    outcomes: list[tuple[Mutant, Outcome]] = []
    with tempfile.TemporaryDirectory(prefix="mutate-") as directory:
        sandboxes = [
            Sandbox(ROOT, Path(directory) / str(number))
            for number in range(options.jobs)
        ]
        for name in options.names:
            of_file = [each for each in mutants if Path(each.file).name == name]
            for mutant, outcome in _outcomes(of_file, sandboxes):
                outcomes.append((mutant, outcome))
                if outcome is Outcome.SURVIVED and not explanations.kind_of(mutant):
                    print(
                        f"{mutant.file}:{mutant.lines[0]}\n{mutant.change}\n",
                        flush=True,
                    )
    return report(outcomes, explanations, is_whole=options.sample is None)


def _outcomes(
    mutants: Sequence[Mutant], sandboxes: Sequence[Sandbox]
) -> Iterator[tuple[Mutant, Outcome]]:
    """Yield the outcome of each mutant of one file."""
    if not mutants:
        return
    file = mutants[0].file
    tests = [f"tests/{test}" for test in TESTS[Path(file).name]]
    tests = [test for test in tests if (ROOT / test).exists()]
    began = time.monotonic()
    baseline = sandboxes[0].baseline(file, tests)
    if not baseline.seconds:
        sys.exit(
            f"no test of {file} passes without Home Assistant:\n{sandboxes[0].log}"
        )
    preload(baseline.modules)
    _show(
        f"{file}: {len(mutants)} mutants, {len(baseline.seconds)} tests in"
        f" {sum(baseline.seconds.values()):.0f} s,"
        f" {len(baseline.skipped)} tests are skipped\n"
    )
    free = list(sandboxes)
    running: dict[int, tuple[Sandbox, Mutant]] = {}
    numbers: Counter[Outcome] = Counter()
    waiting = iter(mutants)
    mutant = next(waiting, None)
    while mutant is not None or running:
        if mutant is not None and free:
            process = free[-1].start(mutant, baseline)
            if process is None:  # no test executes the changed lines
                numbers[Outcome.SURVIVED] += 1
                yield mutant, Outcome.SURVIVED
            else:
                running[process] = free.pop(), mutant
            mutant = next(waiting, None)
            continue
        process, status = os.wait()
        sandbox, tested = running.pop(process)
        sandbox.finish(tested, baseline)
        free.append(sandbox)
        outcome = outcome_of(status)
        if outcome is None:
            sys.exit(f"{file}: no result for\n{tested.change}\n\n{sandbox.log}")
        numbers[outcome] += 1
        if sys.stderr.isatty():
            counts = ", ".join(f"{number} {each}" for each, number in numbers.items())
            _show(f"\r{numbers.total()} of {len(mutants)}: {counts}  ")
        yield tested, outcome
    # The spaces clear the rest of the previous, longer line.
    _show(f"\r{file}: {time.monotonic() - began:.0f} s" + 40 * " " + "\n")


def report(
    outcomes: Sequence[tuple[Mutant, Outcome]],
    explanations: Explanations,
    *,
    is_whole: bool,
) -> int:
    """Print the outcomes of each file. Return 1 if a file misses the aim, else 0.

    `is_whole` is False for a sample of the mutants. If it is True, the function also
    prints each explanation of a mutant that did not survive.
    """
    rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for mutant, outcome in outcomes:
        kind = explanations.kind_of(mutant)
        if outcome is not Outcome.SURVIVED or kind is None:
            kind = outcome
        rows[Path(mutant.file).name][kind] += 1
    percents = {name: _percent(numbers) for name, numbers in rows.items()}
    columns = ("killed", "timeout", "survived", "accepted", "equivalent")
    print(f"| file | mutants | {' | '.join(columns)} | % |")
    print("|---" + (len(columns) + 2) * "|--:" + "|")
    for name, numbers in rows.items():
        cells = [str(numbers[each]) for each in columns]
        cells = [name, str(numbers.total()), *cells, f"{percents[name]:.1f}"]
        print(f"| {' | '.join(cells)} |")
    if is_whole:
        _report_stale(outcomes, explanations)
    return int(min(percents.values(), default=100) < AIM)


def _percent(numbers: Counter[str]) -> float:
    """Return the percentage of killed mutants among those that are not equivalent."""
    killed = numbers["killed"] + numbers["timeout"]
    return 100 * killed / max(numbers.total() - numbers["equivalent"], 1)


def _report_stale(
    outcomes: Iterable[tuple[Mutant, Outcome]], explanations: Explanations
) -> None:
    """Print the explanations of mutants that did not survive in this run."""
    files = {Path(mutant.file).name for mutant, _ in outcomes}
    alive = {
        (Path(mutant.file).name, mutant.change)
        for mutant, outcome in outcomes
        if outcome is Outcome.SURVIVED
    }
    for file, change in explanations.kinds:
        if file in files and (file, change) not in alive:
            print(
                f"\n{EXPLANATIONS_FILE.name} explains a mutant that does not survive:"
                f" {file}\n{change}"
            )


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
