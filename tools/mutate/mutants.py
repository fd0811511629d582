"""The mutants of a file: copies of the file with one change each.

This module uses the changes that mutmut defines, and two more: a condition is negated,
and a call whose result is not used is removed. Mutmut itself changes only the bodies of
functions. This module also changes the code outside functions, because the register map
consists of constants and class attributes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

TEXTS = {"__repr__", "__str__", "msg", "_LOGGER"}
"""Names of two functions, a variable and a logger. Their texts are for people.

The definitions of these names, and calls such as `_LOGGER.debug()`, are not changed.
"""
DECLARATIONS = {"cast", "field"}
"""Names of functions that declare types or fields. Their calls are not changed."""


@dataclass(frozen=True)
class Mutant:
    """One change of a file."""

    file: str
    """The path of the file, relative to the root of the repository."""
    source: str
    """The text of the whole file with the change."""
    lines: range
    """The lines of the changed statement, without the body of a compound statement."""
    diff: tuple[str, ...]
    """The removed and added lines, each with its sign."""

    @property
    def change(self) -> str:
        """Return the diff as in `survivors.toml`: without indentation and comments."""
        return "\n".join(f"{line[0]} {without_comment(line[1:])}" for line in self.diff)


def without_comment(line: str) -> str:
    """Return a line of code without its indentation and any comment at its end."""
    return line.partition("  # ")[0].strip()


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Yield the mutants of a file, from its first line to its last.

    `file` is the path relative to the root, and `source` is the text of the file. If
    two changes result in the same text, only one mutant is yielded.
    """
    wrapper = MetadataWrapper(cst.parse_module(source))
    positions = wrapper.resolve(PositionProvider)
    module = wrapper.module
    seen = {source}
    for node, statement in _changeable(module, module):
        for changed in _changes(node):
            text = _replaced(module, source, node, changed, positions.get(node))
            if text in seen:
                continue
            seen.add(text)
            yield Mutant(
                file,
                text,
                _lines(statement, positions),
                tuple(_changed_lines(source, text)),
            )


def _replaced(
    module: cst.Module,
    source: str,
    node: cst.CSTNode,
    changed: cst.CSTNode,
    position: CodeRange | None,
) -> str:
    """Return the text of a module with a change.

    It takes 50 ms to generate the whole text of a long file from its nodes. So for most
    nodes, this function replaces only the text of the node.
    """
    if position is not None:
        lines = source.splitlines(keepends=True)
        begin, end = (
            sum(map(len, lines[: each.line - 1])) + each.column
            for each in (position.start, position.end)
        )
        if module.code_for_node(node).strip() == source[begin:end]:
            return source[:begin] + module.code_for_node(changed).strip() + source[end:]
    return cst.ensure_type(module.deep_replace(node, changed), cst.Module).code


def _changeable(
    node: cst.CSTNode, statement: cst.CSTNode
) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Yield each node that may be changed, with the innermost statement around it."""
    if _is_skipped(node):
        return
    if isinstance(node, cst.BaseStatement | cst.BaseSmallStatement | cst.ExceptHandler):
        statement = node
    yield node, statement
    for child in node.children:
        if isinstance(node, cst.FunctionDef | cst.ClassDef) and (
            child in node.decorators
        ):
            continue
        yield from _changeable(child, statement)


def _is_skipped(node: cst.CSTNode) -> bool:
    """Return whether a node is never changed, such as an annotation or a text."""
    match node:
        case (
            cst.Annotation()
            | cst.TypeParameters()
            | cst.TypeAlias()
            | cst.Import()
            | cst.ImportFrom()
            | cst.Assert()  # for the type checker only
            | cst.ConcatenatedString()
            | cst.Expr(value=cst.SimpleString())
            | cst.If(test=cst.Name(value="TYPE_CHECKING"))
            | cst.Call(args=[cst.Arg(value=cst.Name(value="msg"))])
        ):
            return True
        case (
            cst.FunctionDef(name=cst.Name(value=name))
            | cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))])
            | cst.Call(func=cst.Attribute(value=cst.Name(value=name)))
        ):
            return name in TEXTS
        case cst.Call(func=cst.Name(value=name)):
            return name in DECLARATIONS
        case cst.SimpleString():
            # A text of several words is for people.
            return " " in node.value.strip("\"' ")
    return False


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield the nodes that replace a node in its mutants."""
    for kind, operator in mutation_operators:
        if not isinstance(node, kind):
            continue
        changes = iter(operator(node))
        if isinstance(node, cst.SimpleString):
            # The other changes only make the text upper or lower case.
            yield from list(changes)[:1]
        else:
            yield from changes
    # Mutmut itself changes comparisons, and removes `not`. So such conditions are not
    # negated here.
    match node:
        case (
            cst.If(test=test)
            | cst.While(test=test)
            | cst.IfExp(test=test)
            | cst.CompIf(test=test)
        ) if not isinstance(test, cst.Comparison | cst.UnaryOperation):
            yield node.with_changes(
                test=cst.UnaryOperation(cst.Not(), _in_parentheses(test))
            )
        case cst.Expr(value=cst.Call() | cst.Await() as call) if not _is_skipped(call):
            yield cst.Pass()


def _in_parentheses(node: cst.BaseExpression) -> cst.BaseExpression:
    return node.with_changes(
        lpar=[cst.LeftParen(), *node.lpar], rpar=[*node.rpar, cst.RightParen()]
    )


def _lines(statement: cst.CSTNode, positions: Mapping[cst.CSTNode, CodeRange]) -> range:
    """Return the lines of a statement, without the body of a compound statement."""
    position = positions[statement]
    body = getattr(statement, "body", None)
    last = position.end.line
    if isinstance(body, cst.BaseSuite):
        last = max(positions[body].start.line - 1, position.start.line)
    return range(position.start.line, last + 1)


def _changed_lines(before: str, after: str) -> Iterator[str]:
    """Yield the differing lines, each with its sign.

    At each place that differs, the removed lines come first, then the added ones.
    """
    lines = unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    for line in list(lines)[2:]:  # without the names of the files
        if not line.startswith("@@"):
            yield line
