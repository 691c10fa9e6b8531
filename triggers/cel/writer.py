"""The Python source being written for one expression: its lines, its functions, and what it reads.

The source is made only of our own templates and `repr` of literals. Nothing an author writes becomes a Python name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from triggers.cel.tree import Expr, SyntaxProblem
from triggers.cel.types import ROOTS, Code

_MAX_BLOCKS = 10
"""Python allows 20 nested loops and tries in one function; a level of ours takes two."""
_MAX_INDENT = 40
"""Python reads 100 levels of indentation."""
_LARGE = frozenset({"dyn", "string", "bytes", "list", "map"})


@dataclass(slots=True)
class Scope:
    """The names that an expression may use.

    With `variables` it is standard CEL: those names are bound, the evaluation checks types, and whole numbers stay
    whole. Without, it is for rules: expressions read `roots`, the compiler checks types, and numbers of the data are
    doubles. `scores` is None if any name is allowed (a later step checks it).
    """

    roots: frozenset[str] = frozenset(ROOTS)
    scores: frozenset[str] | None = None
    variables: frozenset[str] | None = None

    @property
    def strict(self) -> bool:
        """Whether this is standard CEL."""
        return self.variables is not None


@dataclass(slots=True)
class Reads:
    """The parts of its context that an expression reads."""

    scores: set[str] = field(default_factory=set)
    metrics: set[tuple[str, str]] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    event_fields: dict[str, int] = field(default_factory=dict)
    occurrence: dict[str, int] = field(default_factory=dict)
    """Fields of `occurrence` that only some rules fill, with their offsets."""
    matched_fields: dict[str, int] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    whole_quotients: list[int] = field(default_factory=list)
    """Where two whole numbers are divided, which gives a whole number."""


@dataclass(slots=True)
class Writer:
    """Lines of the function being written; `compile` writes a node and returns the code of its value."""

    scope: Scope
    compile: Callable[["Writer", Expr], Code]
    works: bool
    """Whether the function takes a budget of work that macros subtract from."""
    lines: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Code] = field(default_factory=dict)
    """Variables of the enclosing macros, by the name that the author gave them."""
    reads: Reads = field(default_factory=Reads)
    indent: int = 1
    blocks: int = 0
    names: int = 0

    def code(self, node: Expr) -> Code:
        """The code of the node's value, after the lines that it needs."""
        return self.compile(self, node)

    def line(self, text: str) -> None:
        """Appends a line at the current indentation."""
        self.lines.append(" " * (self.indent * 4) + text)

    def fresh(self, letter: str = "t") -> str:
        """An unused Python name."""
        self.names += 1
        return f"{letter}{self.names}"

    def constant(self, value: Any) -> str:
        """The Python name of a value made at load."""
        name = self.fresh("k")
        self.constants[name] = value
        return name

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Writes a head line and indents everything written within the block."""
        self.line(head)
        self.indent += 1
        self.blocks += not head.startswith(("if", "else"))
        yield
        self.blocks -= not head.startswith(("if", "else"))
        self.indent -= 1

    @contextmanager
    def variable(self, name: str, code: Code) -> Iterator[None]:
        """Binds the name to this code within the block."""
        outer = self.variables
        self.variables = {**outer, name: code}
        yield
        self.variables = outer

    def require(self, code: Code, types: tuple[str, ...], offset: int, what: str) -> None:
        """Raises SyntaxProblem if the type is known and none of these; standard CEL checks this at run time."""
        if code.type not in ("dyn", *types) and not self.scope.strict:
            raise SyntaxProblem("cel-type", f"{what} does not fit a {code.type}", offset)

    def attempt(self, node: Expr, name: str, what: str) -> None:
        """Assigns the node's value, a boolean, or its error to the name."""
        with self.block("try:"):
            code = self.code(node)
            self.require(code, ("bool",), node.offset, what)
            self.line(f"{name} = {code.text}")
        self.line("except FAILURES as error:")
        self.line(f"    {name} = error.with_traceback(None)")

    def too_deep(self) -> bool:
        """Whether code with blocks must become a separate function."""
        return self.blocks >= _MAX_BLOCKS or self.indent >= _MAX_INDENT

    def outlined(self, write: Callable[[], Code]) -> Code:
        """Puts the lines of `write` into a separate function; returns the code that calls it."""
        name, lines, indent, blocks = self.fresh("f"), self.lines, self.indent, self.blocks
        self.lines, self.indent, self.blocks = [], 1, 0
        code = write()
        call = f"{name}({', '.join(['c', *(['work'] if self.works else []), *self._passed()])})"
        self.functions += [f"def {call}:", *self.lines, f"    return {code.text}"]
        self.lines, self.indent, self.blocks = lines, indent, blocks
        return code._replace(text=call)

    def _passed(self) -> list[str]:
        return sorted({code.text for code in self.variables.values()})

    def paid(self, code: Code) -> str:
        """The code; within a macro, the cost of reading all of its value is subtracted from the work."""
        return f"paid(work, {code.text})" if self.variables and code.type in _LARGE else code.text
