"""`ebbtide eval`: evaluates an expression of rules over given facts, or many expressions of strict CEL."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from cli.options import console, print_json
from cli.rules.given_facts import FactFiles, Facts, read_facts
from cli.rules.given_user import BadInput, GivenUser
from schemas.events import Event
from schemas.profiles import Profile
from schemas.wording import counted, quoted
from triggers.cel import strict
from triggers.cel import tree as cel_tree
from triggers.cel.conditions import Condition, compile_condition
from triggers.cel.json import from_json, to_json
from triggers.cel.runtime import EvaluationError
from triggers.cel.syntax import parse
from triggers.cel.tree import SyntaxProblem
from triggers.cel.writer import Scope

_FACTS: dict[str, tuple[type[BaseModel], str, str]] = {
    "event": (Event, "an event", "properties"),
    "user": (Profile, "a profile", "attributes"),
}


def show(text: str, files: FactFiles, as_json: bool) -> bool:
    """Prints the value of the expression, or why it has none; returns whether it has one."""
    try:
        condition = compile_condition(text, "any", Scope())
    except SyntaxProblem as problem:
        _show_problem(text, problem, as_json)
        return False
    facts = read_facts(files)
    _check_given(condition, facts)
    hint = "; ".join([*_misplaced(text, facts), *_of_the_value(condition, facts)])
    more = {"hint": hint} if hint else {}
    try:
        value = to_json(condition.any(facts.context()))
    except EvaluationError as error:
        if as_json:
            print_json({"error": {"code": "evaluation", "message": str(error), **more}})
        else:
            console.print(f"no value: {error}", markup=False, soft_wrap=True)
            _show_hint(hint)
        return False
    if as_json:
        print_json({"value": value, "type": condition.code.type, "cost": condition.code.cost, **more})
    else:
        console.print(orjson.dumps(value).decode(), markup=False, soft_wrap=True)
        console.print(f"{condition.code.type}, at most {counted(condition.code.cost, 'step')}", style="dim")
        _show_hint(hint)
    return True


def _show_hint(hint: str) -> None:
    if hint:
        console.print(f"  hint: {hint}", markup=False, soft_wrap=True)


def _misplaced(text: str, facts: Facts) -> Iterator[str]:
    """Hints about fields that the expression reads and that stand outside of `properties` or `attributes`."""
    fields_read = {
        (node.operand.name, node.field)
        for node in cel_tree.walk(parse(text))
        if isinstance(node, cel_tree.Select) and isinstance(node.operand, cel_tree.Name)
    }
    for root, (model, what, under) in _FACTS.items():
        found = {"event": facts.written, "user": facts.user.profile if facts.user else {}}[root]
        wanted = sorted(field for name, field in fields_read if name == root and field not in (found.get(under) or {}))
        for key in found.keys() - model.model_fields.keys():
            inside = found[key] if isinstance(found[key], dict) else {}
            field = next((field for field in wanted if field == key or field in inside), None)
            if field is not None:
                form = f'{{"{under}": {{"{field}": …}}}}'
                yield f"{what} has its fields under `{under}`, as in {form}; {quoted(key)} outside of it is ignored"


def _show_problem(text: str, problem: SyntaxProblem, as_json: bool) -> None:
    if as_json:
        found = {"code": problem.code, "message": problem.message, "offset": problem.offset, "hint": problem.hint}
        print_json({"error": found})
        return
    row = text.count("\n", 0, problem.offset)
    column = problem.offset - (text.rfind("\n", 0, problem.offset) + 1)
    line = "".join(c if c.isprintable() else " " for c in text.split("\n")[row])
    hint = f"\n  hint: {problem.hint}" if problem.hint else ""
    shown = f"{row + 1}:{column + 1}: {problem.code} {problem.message}\n  {line}\n  {' ' * column}^{hint}"
    console.print(shown, markup=False, soft_wrap=True)


def _check_given(condition: Condition, facts: Facts) -> None:
    for root in sorted(condition.code.roots):
        if how := facts.missing(root):
            raise BadInput(f"the expression reads `{root}`; give it with {how}")


def _of_the_value(condition: Condition, facts: Facts) -> Iterator[str]:
    """Hints about what the value may owe to a quotient that was cut, or to scores and metrics that are not given."""
    if condition.code.whole_quotients:
        yield "the quotient of two whole numbers is cut to a whole one; write one as a fraction, as in 2.0"
    own = (facts.user or GivenUser()).own
    for name in sorted(condition.code.scores - own.score.keys()):
        yield f"the user has no score {quoted(name)}, so it is 0"
    for name in sorted({name for name, _ in condition.code.metrics} - own.metric.keys()):
        yield f"the user has no metric {quoted(name)}, so it has counted nothing"


def _lines(place: str) -> Iterator[bytes]:
    if place == "-":
        yield from sys.stdin.buffer
        return
    try:
        with Path(place).open("rb") as lines:
            yield from lines
    except OSError as error:
        raise BadInput(f"{place}: {error.strerror}") from None


def answers(place: str) -> Iterator[dict[str, Any]]:
    """The answers to the lines of a file of cases, in order; `-` is standard input."""
    return (answer(line) for line in _lines(place) if line.strip())


def answer(line: bytes) -> dict[str, Any]:
    """The answer to one line of cases: {"value": …} or {"error": "…"}."""
    try:
        case = orjson.loads(line)
        if not isinstance(case, dict) or not isinstance(case.get("expr"), str):
            return {"error": 'a line is {"expr": "…", "bindings": {…}}'}
        bindings = case.get("bindings", {})
        if not isinstance(bindings, dict):
            return {"error": "bindings are names with their values"}
        bound = {name: from_json(value) for name, value in bindings.items()}
        return {"value": to_json(strict.evaluate(case["expr"], bound))}
    except orjson.JSONDecodeError as error:
        return {"error": f"not JSON: {error}"}
    except SyntaxProblem as problem:
        return {"error": f"{problem.code} at {problem.offset}: {problem.message}"}
    except EvaluationError as error:
        return {"error": str(error)}
    except RecursionError:
        return {"error": "nested too deep"}
