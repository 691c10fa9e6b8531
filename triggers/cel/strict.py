"""Standard CEL: any bound name, whole numbers that stay whole, types checked by the evaluation.

Rules do not use it. It uses the same compiler, so CEL's conformance tests cover what rules use.
"""

from collections.abc import Mapping
from typing import Any

from triggers.cel.compiler import compile_tree
from triggers.cel.runtime import FAILURES, EvaluationError, reason
from triggers.cel.syntax import parse
from triggers.cel.writer import Scope


def evaluate(text: str, bindings: Mapping[str, Any]) -> Any:
    """The expression's value with these names bound.

    Raises SyntaxProblem for an invalid text, EvaluationError for an expression without a value, and nothing else.
    """
    code = compile_tree(parse(text), Scope(variables=frozenset(bindings)))
    try:
        return code.function(bindings)
    except FAILURES as error:
        raise EvaluationError(reason(error)) from None
