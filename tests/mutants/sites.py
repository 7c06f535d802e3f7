"""Where a file can be mutated, found in its syntax tree: one place, one change."""

import ast
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COMPARE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
# What says nothing about behaviour: words for people, types, and our own assertions.
_SILENT: Final = (ast.Raise, ast.JoinedStr, ast.Assert)
_REMOVED: Final = (ast.AugAssign, ast.Raise, ast.Continue, ast.Break)
_NO_BEHAVIOUR: Final = ("annotation", "returns", "decorator_list", "bases", "type_params")
_SILENT_FUNCTIONS: Final = {"__repr__", "__str__"}
# Their arguments may stand in any order.
_SYMMETRIC: Final = {"min", "max", "np.array_equal", "np.minimum", "np.maximum"}


@dataclass(frozen=True, slots=True)
class Site:
    """One mutant.

    Attributes:
        path: file.
        first, last: lines of the statement (of its head, where it has a body).
        number: of the node, in the order of ``ast.walk``.
        change: index into what may be done to it.
        text: the change in words.
    """

    path: Path
    first: int
    last: int
    number: int
    change: int
    text: str


def sites(path: Path) -> Iterator[Site]:
    """Every mutant of the file, in the order of its syntax tree."""
    tree = ast.parse(path.read_text())
    spans = dict(_spans(tree))
    for number, node in enumerate(ast.walk(tree)):
        if id(node) not in spans:
            continue
        for change, mutant in enumerate(_mutants(node)):
            before, after = (" ".join(ast.unparse(each).split())[:60] for each in (node, mutant))
            yield Site(path, *spans[id(node)], number, change, f"{before}  ->  {after}")


def mutated(site: Site, text: str) -> str:
    """The text of the file with the change made."""
    tree = ast.parse(text)
    node = next(node for number, node in enumerate(ast.walk(tree)) if number == site.number)
    mutant = list(_mutants(node))[site.change]
    return ast.unparse(ast.fix_missing_locations(_Replace(node, mutant).visit(tree)))


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def _spans(tree: ast.AST) -> Iterator[tuple[int, tuple[int, int]]]:
    """Every node that counts, by identity, with the lines of its statement."""
    waiting: list[tuple[ast.AST, tuple[int, int]]] = [(tree, (0, 0))]
    while waiting:
        node, span = waiting.pop()
        if _is_silent(node):
            if isinstance(node, ast.Raise):
                yield id(node), (node.lineno, node.lineno)
            continue
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            span = node.lineno, max(node.lineno, last)
        yield id(node), span
        for name, value in ast.iter_fields(node):
            if name in _NO_BEHAVIOUR or (name == "keywords" and isinstance(node, ast.ClassDef)):
                continue
            children = value if isinstance(value, list) else [value]
            waiting.extend((child, span) for child in children if isinstance(child, ast.AST))


def _is_silent(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef) and node.name in _SILENT_FUNCTIONS:
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
        return True
    if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
        return True
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True  # zip's: an assertion too
    return isinstance(node, _SILENT)


def _mutants(node: ast.AST) -> Iterator[ast.AST]:
    """What may take the place of ``node``."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        yield _with(node, ops=[_COMPARE[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield deepcopy(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield _with(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        starred = any(isinstance(arg, ast.Starred) for arg in node.args[:2])
        if len(node.args) > 1 and not starred and ast.unparse(node.func) not in _SYMMETRIC:
            yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])
    elif isinstance(node, ast.If | ast.While):
        yield _with(node, test=ast.UnaryOp(op=ast.Not(), operand=node.test))
    elif isinstance(node, ast.stmt):
        yield from _statements(node)


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(value=not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(value=node.value + 1)
        yield ast.Constant(value=node.value - 1)


def _statements(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.Return):
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield ast.Return(value=ast.Constant(value=None))
    elif _can_go(node):
        yield ast.Pass()


def _can_go(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        # A name that is never bound would be found by any test that comes there.
        return not isinstance(node.targets[0], ast.Name | ast.Tuple)
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant | ast.Yield | ast.YieldFrom)
    if isinstance(node, ast.Delete):
        # ``del name`` says that an argument is not used.
        return not isinstance(node.targets[0], ast.Name)
    return isinstance(node, _REMOVED)


def _with(node: ast.AST, **changes: object) -> ast.AST:
    copied = deepcopy(node)
    for name, value in changes.items():
        setattr(copied, name, deepcopy(value))
    return copied
