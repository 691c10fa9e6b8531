"""The maximum cost of evaluating an expression, in steps, computed without the data.

A step is about a tenth of a microsecond: reading a field, comparing, adding. A macro multiplies what is inside it by
the length of its list: as written, or ASSUMED_ITEMS. Lists longer than assumed meet the budget at run time
(`cel_runtime.elements`).
"""

from triggers.cel.tree import Call, Expr, ListOf, MapOf, children, walk
from triggers.cel.types import MACROS

ASSUMED_ITEMS = 32
MAX_COST = 20_000
"""The maximum cost of a rule's expression: it allows two nested macros, not three."""
MAX_STEPS = 10_000
"""The run-time budget for the macros of one evaluation: about a millisecond."""
MAX_STRICT_STEPS = 1_000_000
_TEXT = 4
_PATTERN = 20
_EXTRA = {
    "matches": _PATTERN,
    **dict.fromkeys(("contains", "replace", "split", "join", "indexOf", "lastIndexOf"), _TEXT),
}


def is_macro(node: Expr) -> bool:
    """Whether the node iterates over a list."""
    return isinstance(node, Call) and node.receiver is not None and len(node.arguments) in MACROS.get(node.function, ())


def has_macro(tree: Expr) -> bool:
    """Whether any node of the tree iterates over a list."""
    return any(is_macro(node) for node in walk(tree))


def cost(node: Expr) -> int:
    """The steps of evaluating the node, for lists of the assumed length."""
    if isinstance(node, Call) and node.receiver is not None and is_macro(node):
        return cost(node.receiver) + _items(node.receiver) * (1 + sum(map(cost, node.arguments[1:])))
    return _own(node) + sum(map(cost, children(node)))


def weight(node: Expr) -> int:
    """The steps of evaluating the node once, without the steps that its macros take for their items."""
    if isinstance(node, Call) and node.receiver is not None and is_macro(node):
        return 2 + weight(node.receiver)
    return _own(node) + sum(map(weight, children(node)))


def _own(node: Expr) -> int:
    return 1 + (_EXTRA.get(node.function, 0) if isinstance(node, Call) else 0)


def _items(node: Expr) -> int:
    """The number of items of a list: as written, else as assumed. A macro returns no more items than it gets."""
    while isinstance(node, Call) and node.receiver is not None and is_macro(node):
        node = node.receiver
    if isinstance(node, ListOf):
        return len(node.items)
    return len(node.entries) if isinstance(node, MapOf) else ASSUMED_ITEMS
