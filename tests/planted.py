"""Mutants of a module's functions: each has one operation changed that could be wrong."""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
TURNED = {"min": "max", "minimum": "maximum", "any": "all", "argmin": "argmax", "floor": "ceil", "zeros": "ones"}
TURNED |= {other: one for one, other in TURNED.items()}
TAKEN_OUT = {"abs", "sqrt", "sorted", "exp", "log"}
KEYWORDS = {
    "axis",
    "side",
    "initial",
    "where",
    "weights",
    "weight",
    "keepdims",
    "default",
    "minlength",
    "key",
    "reverse",
}
# Decorators that make a function one of numba's.
COMPILING = ("kernel", "inlined", "numba", "njit")
# Arguments that check or lay out.
WITHOUT_RESULT = {"strict", "dtype", "indent"}
# What is only said to people is no operation.
SPOKEN = {"debug", "info", "warning", "warn", "print", "echo"}


@dataclass(frozen=True)
class Mutant:
    """A changed function.

    Attributes:
        key: What it is: module, function, what stood there, what stands there, and which of several alike.
        module: The module's path in the package.
        lines: Lines of the operation, and of the statement.
        in_kernel: Whether the function is compiled.
        body: The function as it is, by which one sees that it changed since.
        tree: The module.
        change: The node that is replaced, and by which.
    """

    key: str
    module: str
    lines: tuple[int, ...]
    in_kernel: bool
    body: str
    tree: ast.Module
    change: tuple[ast.AST, ast.AST]

    def changed(self) -> ast.Module:
        """Return the changed module."""
        return _Replacer(*self.change).visit(self.tree)


def mutants_of(source: Path, module: str) -> Iterator[Mutant]:
    """Yield all mutants of a module, in the order of its lines."""
    tree = ast.parse((source / module).read_text())
    seen: Counter[str] = Counter()
    # The Python form of a function that is overloaded for the compiler is what they overload; theirs is compiled only.
    overloaded = {
        one.args[0].id
        for one in ast.walk(tree)
        if isinstance(one, ast.Call) and ast.unparse(one.func) == "overload" and isinstance(one.args[0], ast.Name)
    }
    for name, function in _functions(tree):
        decorators = [ast.unparse(one) for one in function.decorator_list]
        if any(one.startswith("overload(") for one in decorators):
            continue
        in_kernel = name in overloaded or any(one.startswith(COMPILING) for one in decorators)
        body = ast.dump(function)
        for statement, node in _operations(function):
            for before, after, changed in _changes(node):
                key = f"{module}:{name}: {before} -> {after}"
                seen[key] += 1
                key += f" #{seen[key]}" if seen[key] > 1 else ""
                lines = sorted({statement.lineno, *range(node.lineno, (node.end_lineno or node.lineno) + 1)})
                if isinstance(node, ast.stmt):
                    lines = [statement.lineno]
                yield Mutant(key, module, tuple(lines), in_kernel, body, tree, (node, changed))


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and child.name not in ("__repr__", "__str__"):
            yield prefix + child.name, child


def _operations(function: ast.FunctionDef) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """Yield what can be changed in a function's body, with its statement: nothing of annotations, messages, logs."""
    waiting: list[tuple[ast.stmt, ast.AST]] = [(one, one) for one in reversed(function.body)]
    while waiting:
        statement, node = waiting.pop()
        if _spoken(node) or (isinstance(node, ast.keyword) and node.arg in WITHOUT_RESULT):
            continue
        yield statement, node
        if isinstance(node, ast.Raise):
            continue
        children = []
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns", "decorator_list", "args" if isinstance(node, _DEFINES) else ""):
                children += value if isinstance(value, list) else [value]
        below = reversed([child for child in children if isinstance(child, ast.AST)])
        waiting += [(child if isinstance(child, ast.stmt) else statement, child) for child in below]


_DEFINES = (ast.FunctionDef, ast.Lambda)


def _spoken(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id in ("msg", "message") for target in node.targets)
    if isinstance(node, ast.Expr):
        call = node.value
        return isinstance(call, ast.Constant) or (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in SPOKEN
        )
    return False


def _changes(node: ast.AST) -> Iterator[tuple[str, str, ast.AST]]:
    """Yield what can stand in place of a node: as it was, as it is, and the new node."""
    for changed in _other_nodes(node):
        if not hasattr(changed, "lineno"):
            ast.fix_missing_locations(ast.copy_location(changed, node))
        after = "removed" if isinstance(changed, ast.Pass) else ast.unparse(changed)
        yield ast.unparse(node).splitlines()[0], after.splitlines()[0], changed


def _other_nodes(node: ast.AST) -> Iterator[ast.AST]:  # noqa: C901, PLR0912 a table of operators
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    yield _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
        case ast.BinOp() | ast.AugAssign() if type(node.op) in OPERATORS and not _text(node):
            yield _with(node, op=OPERATORS[type(node.op)]())
        case ast.BoolOp():
            yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(operand=operand) if not isinstance(node.op, ast.UAdd):
            yield operand
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(
            test, ast.Compare | ast.UnaryOp
        ):
            yield _with(node, test=ast.copy_location(ast.UnaryOp(ast.Not(), test), test))
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(2.0 * value if value else 1.0)
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.Raise():
            yield ast.Pass()
        case ast.Continue() | ast.Break():
            yield ast.Break() if isinstance(node, ast.Continue) else ast.Continue()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield ast.Pass()
        case ast.Call():
            yield from _other_calls(node)


def _other_calls(node: ast.Call) -> Iterator[ast.AST]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in TURNED:
        other = TURNED[called]
        yield _with(
            node,
            func=ast.copy_location(
                _with(node.func, attr=other) if isinstance(node.func, ast.Attribute) else ast.Name(other, ast.Load()),
                node.func,
            ),
        )
    if called in TAKEN_OUT and len(node.args) == 1:
        yield node.args[0]
    for place, keyword in enumerate(node.keywords):
        if keyword.arg in KEYWORDS:
            yield _with(node, keywords=[*node.keywords[:place], *node.keywords[place + 1 :]])


def _text(node: ast.AST) -> bool:
    return any(
        isinstance(one, ast.JoinedStr | ast.List | ast.Tuple)
        or (isinstance(one, ast.Constant) and isinstance(one.value, str))
        for one in ast.iter_child_nodes(node)
    )


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


class _Replacer(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else _rebuilt(node, self)


def _rebuilt(node: ast.AST, replacer: _Replacer) -> ast.AST:
    """Return a node with what is replaced below it; the original stays as it is."""
    fields = {}
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            fields[name] = replacer.visit(value)
        elif isinstance(value, list):
            fields[name] = [replacer.visit(one) if isinstance(one, ast.AST) else one for one in value]
    return _with(node, **fields)
