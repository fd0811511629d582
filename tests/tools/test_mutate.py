"""The mutants of the mutation test, and the tests that are run for them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.mutate.__main__ import parse_arguments
from tools.mutate.mutants import mutants_of, without_comment
from tools.mutate.run import EXPLANATIONS_FILE, Explanations
from tools.mutate.sandbox import TOOL_FAILED, Baseline, Outcome, outcome_of
from tools.mutate.targets import LIBRARY, ROOT, TESTS


def changes(source: str) -> Sequence[str]:
    """Return the added lines of each mutant, without indentation."""
    return [
        "\n".join(line[2:] for line in mutant.change.splitlines() if line[0] == "+")
        for mutant in mutants_of("file.py", source)
    ]


def test_border_of_a_comparison_is_changed() -> None:
    assert "return a <= 1" in changes("def f(a):\n    return a < 1\n")
    assert "return a < 2" in changes("def f(a):\n    return a < 1\n")


def test_condition_without_a_comparison_is_negated() -> None:
    assert "if not (a):" in changes("if a:\n    b()\n")
    assert "x = [a for a in b if not (a)]" in changes("x = [a for a in b if a]\n")


def test_call_whose_result_is_not_used_is_removed() -> None:
    assert "pass" in changes("if a:\n    b()\n")


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: int = x) -> list[int]:\n    pass\n",
        '"""A text."""\n',
        'class A:\n    b: int\n    """A text."""\n',
        "@decorator(frozen=True)\nclass A:\n    pass\n",
        "if TYPE_CHECKING:\n    a = 1\n",
        "type A = dict[str, int]\n",
        '_LOGGER.debug("a %s", 1 + 2)\n',
        "def __repr__(self):\n    return 1 + 2\n",
        'msg = "a"\nraise ValueError(msg)\n',
        "assert a == 1\n",
        "from a import b\n",
    ],
)
def test_code_that_no_test_has_to_check_is_not_changed(source: str) -> None:
    assert changes(source) == []


def test_text_for_a_person_is_not_changed_but_a_key_is() -> None:
    # The mutants remove the call or replace its whole argument by None. No mutant
    # changes the words of the text. But a mutant changes the key to "XXkeyXX".
    assert changes('f("two words")\n') == ["pass", "f(None)"]
    assert 'f("XXkeyXX")' in changes('f("key")\n')


def test_comment_is_no_part_of_a_change() -> None:
    (mutant, *_) = mutants_of("file.py", "a = 1  # s; a comment\n")
    assert mutant.change == "- a = 1\n+ a = None"


def test_each_mutant_compiles_and_has_the_lines_of_its_statement() -> None:
    source = "def f(a, b):\n    if a and (\n        b\n    ):\n        return 1\n"
    mutants = list(mutants_of("file.py", source))
    for mutant in mutants:
        compile(mutant.source, mutant.file, "exec")
    lines = {mutant.change.splitlines()[-1]: mutant.lines for mutant in mutants}
    assert lines["+ if a or ("] == range(2, 5)
    assert lines["+ return 2"] == range(5, 6)


def test_tests_that_execute_the_lines_are_run_in_order_of_duration() -> None:
    # The duration of each test in s, and the lines that it executes. The key "" is for
    # the import of the file.
    baseline = Baseline({"slow": 2, "fast": 1, "other": 0})
    baseline.lines |= {"": {1}, "slow": {4}, "fast": {4, 5}, "other": {6}}
    assert baseline.tests_of(range(4, 5)) == ["fast", "slow"]
    assert baseline.tests_of(range(7, 8)) == []
    # A line that the import executes may change the result of every test.
    assert baseline.tests_of(range(1, 2)) == ["other", "fast", "slow"]
    # A test that has killed a mutant of a line nearby, here line 3, is run first.
    baseline.killed["slow"] = 3
    assert baseline.tests_of(range(4, 5)) == ["slow", "fast"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome.SURVIVED),
        (0x0100, Outcome.KILLED),  # exit code 1
        (0x0200, Outcome.KILLED),  # exit code 2: a test file cannot be imported
        (0x0300, None),  # exit code 3: an internal error of pytest
        (0x0400, Outcome.KILLED),  # exit code 4: conftest.py cannot be imported
        (0x0500, Outcome.SURVIVED),  # exit code 5: the tests do not exist any more
        (TOOL_FAILED << 8, None),
        (27, Outcome.TIMEOUT),  # ended by the signal SIGPROF
    ],
)
def test_outcome_follows_from_the_wait_status_of_the_process(
    status: int, outcome: Outcome | None
) -> None:
    assert outcome_of(status) is outcome


def test_all_files_in_targets_are_mutated_by_default() -> None:
    assert parse_arguments([]).names == list(TESTS)
    assert parse_arguments([f"{LIBRARY}/clock.py", "fields.py"]).names == [
        "clock.py",
        "fields.py",
    ]
    for name, tests in TESTS.items():
        assert (ROOT / LIBRARY / name).is_file()
        assert all((ROOT / "tests" / test).is_file() for test in tests)


def test_unknown_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["missing.py"])
    assert "missing.py" in capsys.readouterr().err


def test_library_has_the_lines_that_each_explained_survivor_changes() -> None:
    for file, change in Explanations.load(EXPLANATIONS_FILE).kinds:
        source = Path(ROOT, LIBRARY, file).read_text(encoding="utf-8")
        lines = {without_comment(line) for line in source.splitlines()}
        removed = {line[2:] for line in change.splitlines() if line[0] == "-"}
        assert removed <= lines, f"{file}:\n{change}"
