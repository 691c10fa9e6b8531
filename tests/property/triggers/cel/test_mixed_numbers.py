"""Numbers in rules as compiled, compared with the slow model, which walks the expression's tree."""

import math
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from slow_model.expressions import Failed, value

from triggers.cel.conditions import Context, compile_condition
from triggers.cel.values import EvaluationError
from triggers.rules.events import StoredEvent
from triggers.rules.state import User

WHOLE = ["0", "1", "3", "7", "size(event.list)", "size(user.id)"]
DOUBLES = ["0.0", "0.5", "2.0", "event.n", "user.limit", "score.s", "metric.m.count", "metric.m.sum"]
OPERATORS = [" + ", " - ", " * ", " / ", " % "]
COMPARISONS = [" == ", " != ", " < ", " <= ", " > ", " >= "]

numbers = st.recursive(
    st.sampled_from([*WHOLE, *DOUBLES]),
    lambda inner: st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda parts: f"({''.join(parts)})"),
    max_leaves=8,
)
expressions = numbers | st.tuples(numbers, st.sampled_from(COMPARISONS), numbers).map("".join)
facts = st.fixed_dictionaries(
    {
        "n": st.integers(-3, 9) | st.sampled_from([0.0, -0.0, 2.5, -7.25, 1e308]),
        "list": st.lists(st.integers(0, 4) | st.just(1.5), max_size=3),
        "limit": st.integers(0, 2) | st.none(),
        "s": st.sampled_from([0.0, 0.25, 4.0]),
        "count": st.integers(0, 3).map(float),
        "sum": st.sampled_from([-1.0, 0.0, 12.5]),
    }
)


def compiled(text: str, given: dict[str, Any]) -> Any:
    event = StoredEvent("e", "ping", 0, "", {"n": given["n"], "list": given["list"]})
    user = User("u1", None, None, {"limit": given["limit"]})
    context = Context(event, user, None, lambda _: given["s"], 0, lambda _, field: given[field])
    return compile_condition(text, "any").any(context)


def walked(text: str, given: dict[str, Any]) -> Any:
    roots: dict[str, Callable[[str], Any]] = {
        "event": given.__getitem__,
        "user": {"id": "u1", "limit": given["limit"]}.__getitem__,
        "score": given.__getitem__,
        "metric": lambda name: given[name.split(".")[1]],
    }
    return value(text, roots)


@given(expressions, facts)
def test_what_is_compiled_and_what_is_walked_give_the_same(text: str, given: dict[str, Any]) -> None:
    assert _shown(compiled, text, given) == _shown(walked, text, given)


def _shown(evaluate: Callable[[str, dict[str, Any]], Any], text: str, given: dict[str, Any]) -> Any:
    """The value with its type, but for a number read as it came; or that there is none."""
    try:
        found = evaluate(text, given)
    except (EvaluationError, Failed):
        return "no value"
    if text in DOUBLES and isinstance(found, int):
        found = float(found)
    return "nan" if isinstance(found, float) and math.isnan(found) else (type(found).__name__, found)
