"""Check the style of files or commits: python -m tools.style [--commits BASE]."""

import argparse
from collections.abc import Iterator
from pathlib import Path
import subprocess
import sys

from .commits import LONGEST_SUBJECT, subjects_after, too_long
from .rules import violated
from .sentences import Sentence, of_hash_comments, of_markdown, of_python

ADVICE = "See the section Style of CONTRIBUTING.md."
HASH_COMMENT_SUFFIXES = {".toml", ".yaml", ".yml", ".sh"}


def files(paths: list[str]) -> list[Path]:
    """Return the files in `paths`, or in the current folder if `paths` is empty.

    The result includes files that are not committed yet, except those that git ignores.
    If there is no git repository, leave out hidden files and folders in `paths`.
    """
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    command = [*listing, "--", *paths]
    output = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    found = [Path(name) for name in output.stdout.splitlines()]
    if output.returncode:
        found = sorted(
            path
            for given in map(Path, paths or ["."])
            for path in (given, *given.rglob("*"))
            if not any(part.startswith(".") for part in path.relative_to(given).parts)
        )
    return [path for path in found if path.is_file()]


def sentences(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a file: Python, Markdown, or one with comments after `#`.

    For any other file, yield nothing.
    """
    if path.suffix == ".py":
        yield from of_python(path.read_text())
    elif path.suffix == ".md":
        yield from of_markdown(path.read_text())
    elif path.suffix in HASH_COMMENT_SUFFIXES or (
        not path.suffix and path.read_bytes().startswith(b"#!")
    ):
        yield from of_hash_comments(path.read_text())


def problems_of_files(paths: list[Path]) -> Iterator[str]:
    """Yield a text for each violation: file, line number, words and advice."""
    for path in paths:
        for line, sentence in sentences(path):
            for words, advice in violated(sentence):
                yield f"{path}:{line}: '{words}': {advice}."


def problems_of_commits(base: str) -> Iterator[str]:
    """Yield a text for each commit after `base`, if the subject is too long."""
    for subject in too_long(subjects_after(base)):
        yield (
            f"Commit '{subject}': {len(subject)} characters. "
            f"Shorten the subject to {LONGEST_SUBJECT}."
        )


def main() -> int:
    """Print the problems, and return the exit code: 1 if there is a problem."""
    parser = argparse.ArgumentParser(prog="python -m tools.style", description=__doc__)
    parser.add_argument("paths", nargs="*", help="default: all files")
    parser.add_argument(
        "--commits", metavar="BASE", help="check the commits after BASE, not the files"
    )
    arguments = parser.parse_args()
    if arguments.commits is not None:
        problems = list(problems_of_commits(arguments.commits))
    else:
        problems = list(problems_of_files(files(arguments.paths)))
    if problems:
        sys.stdout.write("\n".join([*problems, ADVICE, ""]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
