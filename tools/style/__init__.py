"""Checks the style of comments, docstrings, names, pages and commit subjects.

`rules.py` is the table of rules, `sentences.py` finds the sentences of a file, and
`commits.py` reads the subjects of commits. CONTRIBUTING.md explains the rules.
"""
