"""Find the sentences of a file: comments, docstrings, names, and prose of Markdown."""

import ast
from collections.abc import Iterable, Iterator
from io import StringIO
import re
import tokenize
from typing import NamedTuple

type Lines = list[tuple[int, str]]
"""The lines of a paragraph, each with its line number."""

QUOTED = re.compile(r"```.*?```|`[^`]*`|\"[^\"]*\"|“[^”]*”|(?<!\*)\*[^*\s][^*]*\*")
"""Code, quoted texts, and *names* of the user interface, which are not checked."""
LINK = re.compile(r"\]\([^)]*\)|https?://\S+")
END_OF_SENTENCE = re.compile(r"[.!?:;]\)?[*_\"”]*\s+(?=\S)")
# Comments for tools, and empty comments. They end a block of comments.
DIRECTIVE = re.compile(r"#\s*(?:noqa|type:|pragma:|ruff:|mypy:|!|/// )|#\s*$")


class Sentence(NamedTuple):
    """A sentence and the number of its first line."""

    line: int
    text: str


def of_python(source: str) -> Iterator[Sentence]:
    """Yield the sentences of the comments and docstrings of Python source.

    The words of the name of a function or class are a sentence as well.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield Sentence(node.lineno, node.name.replace("_", " ").strip())
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(text := node.value.value, str)
        ):
            for paragraph in _paragraphs(text, node.lineno):
                yield from _split(paragraph)
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    yield from _of_comments(
        (token.start[0], token.start[1], token.string)
        for token in tokens
        if token.type == tokenize.COMMENT
    )


def of_hash_comments(source: str) -> Iterator[Sentence]:
    """Yield the sentences of the comments of shell, YAML or TOML source.

    Comments after code in the same line are left out.
    """
    yield from _of_comments(
        (number, len(line) - len(line.lstrip()), line.strip())
        for number, line in enumerate(source.splitlines(), 1)
        if line.lstrip().startswith("#")
    )


def of_markdown(source: str) -> Iterator[Sentence]:
    """Yield the sentences of a page, without its code blocks.

    Each heading, item of a list and cell of a table is a paragraph of its own.
    """
    paragraph: Lines = []
    in_code = False
    for number, line in enumerate(source.splitlines(), 1):
        text = line.strip()
        is_fence = text.startswith("```")
        new_block = re.match(r"(?:[-*+>]|\d+\.|#+)\s", text)
        if is_fence or in_code or not text or new_block or text.startswith("|"):
            yield from _split(paragraph)
            paragraph = []
        if is_fence:
            in_code = not in_code
        elif in_code or not text:
            continue
        elif text.startswith("|"):
            for cell in text.strip("|").split("|"):
                yield from _split([(number, cell.strip())])
        else:
            marker = new_block.end() if new_block else 0
            paragraph.append((number, text[marker:]))
    yield from _split(paragraph)


def _of_comments(comments: Iterable[tuple[int, int, str]]) -> Iterator[Sentence]:
    """Yield the sentences of comments, given as line, column and text."""
    block: Lines = []
    previous = (0, 0)
    for line, column, comment in comments:
        if previous != (line - 1, column) or DIRECTIVE.match(comment):
            yield from _split(block)
            block = []
        if not DIRECTIVE.match(comment):
            block.append((line, comment.lstrip("#").strip()))
        previous = (line, column)
    yield from _split(block)


def _paragraphs(text: str, first_line: int) -> Iterator[Lines]:
    """Yield the paragraphs of a text. `first_line` is the number of its first line."""
    paragraph: Lines = []
    for number, line in enumerate(text.splitlines(), first_line):
        if line.strip():
            paragraph.append((number, line.strip()))
        else:
            yield paragraph
            paragraph = []
    yield paragraph


def _split(paragraph: Lines) -> Iterator[Sentence]:
    """Yield the sentences of a paragraph.

    Each character of quoted texts and link targets is replaced by an underscore.
    """
    text = " ".join(line for _, line in paragraph)
    starts: list[tuple[int, int]] = []
    offset = 0
    for number, line in paragraph:
        starts.append((offset, number))
        offset += len(line) + 1
    for pattern in (QUOTED, LINK):
        # The replacement has the same length, so that the offsets remain valid.
        text = pattern.sub(lambda match: "_" * len(match[0]), text)
    begin = 0
    for end in [match.end() for match in END_OF_SENTENCE.finditer(text)] + [len(text)]:
        sentence = text[begin:end].strip().lstrip("*[( ")
        if sentence:
            first_line = max(number for start, number in starts if start <= begin)
            yield Sentence(first_line, sentence)
        begin = end
