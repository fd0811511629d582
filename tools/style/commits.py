"""Check the subjects of commits."""

import subprocess

LONGEST_SUBJECT = 72
"""In characters; GitHub cuts longer subjects."""


def too_long(subjects: list[str]) -> list[str]:
    """Return the subjects that are longer than `LONGEST_SUBJECT`."""
    return [subject for subject in subjects if len(subject) > LONGEST_SUBJECT]


def subjects_after(base: str) -> list[str]:
    """Return the subjects of the commits after a base, without merges.

    If the repository does not have the base, return the subject of the last commit.
    The base is missing after the push of a new branch, and after a forced push.
    """
    lookup = subprocess.run(  # noqa: S603
        ["git", "cat-file", "-e", f"{base}^{{commit}}"],  # noqa: S607
        check=False,
        capture_output=True,
    )
    commits = ["-1", "HEAD"] if lookup.returncode else [f"{base}..HEAD"]
    log = ["git", "log", "--no-merges", "--format=%s", *commits]
    output = subprocess.run(log, check=True, capture_output=True, text=True)  # noqa: S603
    return output.stdout.splitlines()
