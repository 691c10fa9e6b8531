"""What a rule does: sends, waits, and the steps of a journey."""

from schemas.addresses import plain_address
from schemas.wording import quoted
from triggers.cel.conditions import Condition
from triggers.cel.syntax import parse
from triggers.cel.tree import Literal
from triggers.cel.types import ROOTS
from triggers.language import keys, values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.reader import MappingReader
from triggers.language.time_shapes import moment, schedule
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.rules.rule import AnyWait, Branch, Exit, Jump, Send, Step, Wait, WaitSlot, WaitUntil

_STEPS = ("SEND_STEP", "WAIT_STEP", "IF_STEP")
_KINDS = tuple(keys.record(shape).keys[0].name for shape in _STEPS)
"""The keys by which steps are told apart."""


def read_wait(document: DocumentReader, node: Node, what: str) -> AnyWait:
    """A duration, a schedule, or `{until: EXPR}`; the same in every place that takes a wait."""
    if not isinstance(node, MappingNode):
        return Wait(values.duration(node, what, zero=True))
    if "until" not in node.items:
        return WaitSlot(schedule(document, node, what))
    mapping = document.mapping(node, what, "UNTIL")
    until = mapping.required("until", lambda n: moment(document.expressions, n, "until", ROOTS), None)
    return Wait(0) if until is None else WaitUntil(until)


# sends ---------------------------------------------------------------------------------------------------------------


def read_send(document: DocumentReader, node: Node) -> Send | None:
    """A template's name, or `{template, id, channel, to, data}`."""
    channel = keys.record("MESSAGE").key("channel").default
    if isinstance(node, ScalarNode):
        template = _template(document, node)
        return Send(template, template, document.templates.get(template, ""), channel)
    if isinstance(node, SequenceNode):
        raise values.wrong(node, "send", "one message", "write several as steps, as in steps: [send: welcome]")
    mapping = document.mapping(node, "send", "MESSAGE", "WEBHOOK")
    if "webhook" in mapping:
        return None
    document.sends_incomplete |= "template" not in mapping
    template = mapping.required("template", lambda n: _template(document, n), "")
    return Send(
        mapping.optional("id", lambda n: values.name(n, "a step's id"), template),
        template,
        document.templates.get(template, ""),
        mapping.word("channel"),
        mapping.optional("to", lambda n: _address(document, n), None),
        mapping.optional("data", lambda n: _data(document, mapping, n), ()),
    )


def _template(document: DocumentReader, node: Node) -> str:
    incomplete, document.sends_incomplete = document.sends_incomplete, True
    template = values.name(node, "a template's name")
    document.references.templates.append((template, node.index))
    document.sends_incomplete = incomplete or template not in document.templates
    return template


def _address(document: DocumentReader, node: Node) -> Condition:
    condition = document.expressions.compile(node, "to", "text", ROOTS)
    tree = parse(condition.text)
    if isinstance(tree, Literal) and isinstance(tree.value, str):
        try:
            plain_address(tree.value)
        except ValueError as error:
            raise Problem(node.index, "invalid-value", f"mail cannot be sent to this address: {error}") from None
    return condition


def _data(document: DocumentReader, mapping: MappingReader, node: Node) -> tuple[tuple[str, Condition], ...]:
    items = values.mapping_items(node, "data")
    if len(items) > (most := mapping.declared_key("data").most):
        raise Problem(node.index, "invalid-value", f"data has {len(items)} fields, more than {most}")
    found = []
    for key, place, value in items:
        document.report.attempt(lambda place=place: values.identifier(place, "a field of data"), "")  # type: ignore[misc]
        condition = document.report.attempt(
            lambda key=key, value=value: document.expressions.compile(value, f"data.{key}", "value", ROOTS),  # type: ignore[misc]
            None,
        )
        if condition is not None:
            found.append((key, condition))
    return tuple(found)


# steps ---------------------------------------------------------------------------------------------------------------


def read_steps(document: DocumentReader, mapping: MappingReader, node: Node) -> tuple[Step, ...]:
    """A list of steps, branches unrolled into jumps."""
    program: list[Step] = []
    _sequence(document, node, program, "steps")
    written = sum(not isinstance(step, Jump) for step in program)
    if written > (most := mapping.declared_key("steps").most):
        document.sends_incomplete = True
        raise Problem(node.index, "invalid-value", f"{written} steps, more than {most}", "split the rule")
    return tuple(program)


def _sequence(document: DocumentReader, node: Node, program: list[Step], what: str) -> None:
    if not isinstance(node, SequenceNode):
        raise values.wrong(node, what, "a list of steps", "begin each step with `- `, as in - send: welcome")
    for item in node.items:
        document.report.attempt(lambda item=item: _step(document, item, program), None)  # type: ignore[misc]


def _step(document: DocumentReader, node: Node, program: list[Step]) -> None:
    if isinstance(node, ScalarNode):
        program.append(_exit(document, node))
        return
    mapping = document.mapping(node, "a step", *_STEPS, "WAIT_FOR_STEP")
    kinds = [key for key in _KINDS if key in mapping]
    if mapping.has_later_key or any(map(mapping.misspelt, _KINDS)) or mapping.all_unknown:
        document.sends_incomplete = True
        return
    if len(kinds) != 1:
        document.sends_incomplete = True
        hint = "begin each step with a `- ` of its own" if kinds else "as in - send: welcome"
        raise Problem(node.index, "conflict", "a step is exactly one of send, wait, if or exit", hint)
    if kinds[0] != "if" and ("then" in mapping or "else" in mapping):
        raise Problem(node.index, "conflict", "`then` and `else` go with `if`")
    if kinds[0] == "send":
        send = mapping.optional("send", lambda n: read_send(document, n), None)
        program.extend([send] if send else [])
    elif kinds[0] == "wait":
        program.append(mapping.optional("wait", lambda n: read_wait(document, n, "wait"), Wait(0)))
    else:
        _branch(document, mapping, program)


def _exit(document: DocumentReader, node: ScalarNode) -> Exit:
    word, _, rest = node.text.partition(" ")
    document.sends_incomplete |= node.text != "exit"
    if word in _KINDS:
        hint = f"a colon and a blank follow the key, as in {word}: {rest or '…'}"
        raise Problem(node.index, "invalid-value", f"unknown step {quoted(node.text)}", hint)
    values.choice(node, "step", ("exit",))
    return Exit()


def _branch(document: DocumentReader, mapping: MappingReader, program: list[Step]) -> None:
    condition = mapping.optional("if", lambda n: document.condition(n, "if", ROOTS), None)
    if "then" not in mapping:
        raise Problem(mapping.node.index, "missing-key", "missing key `then` beside `if`")
    at = len(program)
    program.append(Exit())
    mapping.optional("then", lambda n: _sequence(document, n, program, "then"), None)
    if "else" in mapping:
        jump = len(program)
        program.append(Exit())
        otherwise = len(program)
        mapping.optional("else", lambda n: _sequence(document, n, program, "else"), None)
        program[jump] = Jump(len(program))
    else:
        otherwise = len(program)
    if condition is not None:
        program[at] = Branch(condition, otherwise)
