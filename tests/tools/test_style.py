"""The style check: its rules, its sentences and its output."""

from pathlib import Path
import subprocess

import pytest

from tools.style import __main__ as check
from tools.style.commits import LONGEST_SUBJECT, subjects_after, too_long
from tools.style.rules import RULES, Rule, violated
from tools.style.sentences import (
    Sentence,
    of_hash_comments,
    of_markdown,
    of_python,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern.pattern)
def test_rule_matches_its_rejected_example_only(rule: Rule) -> None:
    assert rule.pattern.search(rule.rejected)
    assert not list(violated(rule.accepted))


def test_question_may_begin_with_what() -> None:
    assert not list(violated("What does the display show?"))
    assert list(violated("What the display shows is the total."))


def test_comments_of_successive_lines_are_joined() -> None:
    source = "x = 1\n# The meter\n# responds. The bus is idle.\ny = 2  # s\n"
    assert list(of_python(source)) == [
        Sentence(2, "The meter responds."),
        Sentence(3, "The bus is idle."),
        Sentence(4, "s"),
    ]


def test_noqa_and_shebang_are_no_comments() -> None:
    assert not list(of_python("x = 1  # noqa: WHO1\n"))
    assert not list(of_hash_comments("#!/usr/bin/env bash\n"))


def test_function_names_and_all_docstrings_are_checked() -> None:
    source = (
        'UNIT = 1\n"""Seconds."""\n\n\ndef _read_clock():\n'
        '    """Read `what` it is.\n\n    Who knows.\n    """\n'
    )
    assert list(of_python(source)) == [
        Sentence(2, "Seconds."),
        Sentence(5, "read clock"),
        Sentence(6, "Read ______ it is."),
        Sentence(8, "Who knows."),
    ]


def test_items_cells_and_headings_of_a_page_are_sentences() -> None:
    source = (
        "# Who\n\nText that\ncontinues. What is *Told*\n- an item\n\n"
        "| a | What b |\n|---|---|\n```\nWho\n```\n"
    )
    # The cells of the line below the head of a table contain only "-".
    assert [each for each in of_markdown(source) if set(each.text) != {"-"}] == [
        Sentence(1, "Who"),
        Sentence(3, "Text that continues."),
        Sentence(4, "What is ______"),
        Sentence(5, "an item"),
        Sentence(7, "a"),
        Sentence(7, "What b"),
    ]


def test_quoted_text_is_not_checked() -> None:
    (sentence,) = of_markdown('Replace "Who is told" by `told`.')
    assert not list(violated(sentence.text))


def test_output_locates_each_problem_and_refers_to_contributing_md(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    page = tmp_path / "page.md"
    page.write_text("Fine.\n\nThe bus knocks.\n")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n# Who is there.\n")
    # Files of other kinds are not checked.
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr("sys.argv", ["style", "."])
    assert check.main() == 1
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("page.md:3: 'knocks': ")
    assert output[1].startswith("script:2: 'Who': ")
    assert "CONTRIBUTING.md" in output[2]
    page.write_text("Fine.\n")
    script.write_text("# Fine.\n")
    assert check.main() == 0
    assert not capsys.readouterr().out


def test_folder_without_git_is_checked_except_hidden_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # With this variable, git does not search the parent folders for a repository.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("docs", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").write_text("The bus knocks.\n")
    monkeypatch.setattr("sys.argv", ["style"])
    assert check.main() == 1
    (found, _) = capsys.readouterr().out.splitlines()
    assert found.startswith("docs/page.md:1: ")


@pytest.mark.parametrize("path", ["page.md", "../docs", "../docs/page.md", "../.docs"])
def test_path_given_as_argument_is_checked_even_if_hidden(
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("docs", ".docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").write_text("The bus knocks.\n")
    monkeypatch.chdir(tmp_path / "docs")
    monkeypatch.setattr("sys.argv", ["style", path])
    assert check.main() == 1
    (found, _) = capsys.readouterr().out.splitlines()
    assert found.startswith(path)


def git(*arguments: str) -> str:
    """Run git in the current folder, and return its output."""
    settings = ("user.name=Test", "user.email=test@example.org", "commit.gpgsign=no")
    options = [part for setting in settings for part in ("-c", setting)]
    return subprocess.run(  # noqa: S603
        ["git", *options, *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_subjects_of_commits_up_to_the_base_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    long_subject = "x" * (LONGEST_SUBJECT + 1)
    git("commit", "--allow-empty", "--quiet", "-m", long_subject)
    base = git("rev-parse", "HEAD")
    git("commit", "--allow-empty", "--quiet", "-m", "Read the clock")
    assert subjects_after(base) == ["Read the clock"]
    # If the base does not exist, only the last commit is checked.
    assert subjects_after("0" * 40) == ["Read the clock"]
    assert too_long([long_subject, long_subject[:-1]]) == [long_subject]
    monkeypatch.setattr("sys.argv", ["style", "--commits", base])
    assert check.main() == 0
    git("commit", "--allow-empty", "--quiet", "-m", long_subject)
    assert check.main() == 1
    assert f"{LONGEST_SUBJECT + 1} characters" in capsys.readouterr().out
