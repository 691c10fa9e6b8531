"""What a rule does: sends, waits, and the steps of a journey."""

from schemas.addresses import plain_address
from schemas.endpoints import WEBHOOK
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
from triggers.rules.rule import (
    AnyWait,
    Branch,
    Exit,
    Jump,
    Pattern,
    Send,
    Step,
    Wait,
    WaitFor,
    WaitSlot,
    WaitUntil,
)
from triggers.rules.sources import digest

_STEPS = ("SEND_STEP", "WAIT_STEP", "WAIT_FOR_STEP", "IF_STEP")
_KINDS = tuple(keys.record(shape).keys[0].name for shape in _STEPS)
"""The keys by which steps are told apart."""
_PARTS = {"up_to": ("wait_for",), "then": ("if", "wait_for"), "else": ("if", "wait_for")}
"""The keys that go with some kinds only."""


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
    """A template's name, `{template, id, channel, to, data}`, or `{webhook, id, data}`."""
    channel = keys.record("MESSAGE").key("channel").default
    if isinstance(node, ScalarNode):
        name, template = _template(document, node)
        return Send(name, template, document.templates.get(template, ""), channel)
    if isinstance(node, SequenceNode):
        raise values.wrong(node, "send", "one message", "write several as steps, as in steps: [send: welcome]")
    if isinstance(node, MappingNode) and "webhook" in node.items:
        return _webhook(document, node)
    mapping = document.mapping(node, "send", "MESSAGE", "WEBHOOK")
    document.sends_incomplete |= "template" not in mapping
    name, template = mapping.required("template", lambda n: _template(document, n), ("", ""))
    return Send(
        mapping.optional("id", lambda n: values.name(n, "a step's id"), name),
        template,
        document.templates.get(template, ""),
        mapping.word("channel"),
        mapping.optional("to", lambda n: _address(document, n), None),
        mapping.optional("data", lambda n: _data(document, mapping, n), ()),
    )


def _webhook(document: DocumentReader, node: Node) -> Send:
    """`{webhook: ENDPOINT, id, data}`. What only a mail has is an unknown key."""
    mapping = document.mapping(node, "send", "WEBHOOK")
    endpoint = mapping.required("webhook", lambda n: _endpoint(document, n), "")
    return Send(
        mapping.optional("id", lambda n: values.name(n, "a step's id"), endpoint),
        endpoint,
        "",
        WEBHOOK,
        None,
        mapping.optional("data", lambda n: _data(document, mapping, n), ()),
    )


def _endpoint(document: DocumentReader, node: Node) -> str:
    document.sends_incomplete, incomplete = True, document.sends_incomplete
    endpoint = values.name(node, "an endpoint's name")
    document.references.endpoints.append((endpoint, node.index))
    document.sends_incomplete = incomplete
    return endpoint


def _template(document: DocumentReader, node: Node) -> tuple[str, str]:
    """A template's name as it is written, and that of the template which the trigger's brand makes of it."""
    incomplete, document.sends_incomplete = document.sends_incomplete, True
    name = values.name(node, "a template's name")
    template = document.template(name)
    document.references.templates.append((template, node.index))
    document.sends_incomplete = incomplete or (bool(document.templates) and template not in document.templates)
    return name, template


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
    mapping = document.mapping(node, "a step", *_STEPS)
    kinds = [key for key in _KINDS if key in mapping]
    if mapping.has_later_key or any(map(mapping.misspelt, _KINDS)) or mapping.all_unknown:
        document.sends_incomplete = True
        return
    if len(kinds) != 1:
        document.sends_incomplete = True
        hint = "begin each step with a `- ` of its own" if kinds else "as in - send: welcome"
        raise Problem(node.index, "conflict", f"a step is exactly one of {', '.join(_KINDS)} or exit", hint)
    [kind] = kinds
    for part, owners in _PARTS.items():
        if part in mapping and kind not in owners:
            goes = " or ".join(f"`{owner}`" for owner in owners)
            raise Problem(mapping.place(part), "conflict", f"`{part}` goes with {goes}, not with `{kind}`")
    match kind:
        case "send":
            send = mapping.optional("send", lambda n: read_send(document, n), None)
            program.extend([send] if send else [])
        case "wait":
            program.append(mapping.optional("wait", lambda n: read_wait(document, n, "wait"), Wait(0)))
        case "wait_for":
            _wait_for(document, mapping, program)
        case _:
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
    otherwise = _parts(document, mapping, program, "then", "else")
    if condition is not None:
        program[at] = Branch(condition, otherwise)


def _wait_for(document: DocumentReader, mapping: MappingReader, program: list[Step]) -> None:
    """The steps of `else` come first: they follow when the wait is over."""
    pattern = mapping.optional("wait_for", lambda n: document.pattern(n, "wait_for", ROOTS, same=True), None)
    up_to = mapping.required("up_to", lambda n: read_wait(document, n, "up_to"), Wait(0), "up_to: 2d")
    at = len(program)
    program.append(Exit())
    then = _parts(document, mapping, program, "else", "then")
    if pattern is not None:
        program[at] = WaitFor(_name(pattern), pattern, up_to, then)


def _name(pattern: Pattern) -> str:
    return digest([pattern.types, pattern.where and pattern.where.text, pattern.same], 4)


def _parts(document: DocumentReader, mapping: MappingReader, program: list[Step], first: str, second: str) -> int:
    """Adds the steps of two keys, with a jump over the second; returns where the second begins."""
    mapping.optional(first, lambda n: _sequence(document, n, program, first), None)
    if second not in mapping:
        return len(program)
    jump = len(program)
    program.append(Exit())
    mapping.optional(second, lambda n: _sequence(document, n, program, second), None)
    program[jump] = Jump(len(program))
    return jump + 1
