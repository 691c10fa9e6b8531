"""The parts that documents share: patterns, caps, quiet periods, goals, and the sends and steps of a journey."""

from collections.abc import Collection
from datetime import date, time
from typing import cast

from schemas.addresses import plain_address
from schemas.wording import quoted
from triggers.cel.conditions import Condition
from triggers.cel.syntax import parse
from triggers.cel.tree import Literal
from triggers.cel.types import ROOTS
from triggers.language import keys as language
from triggers.language import reader
from triggers.language.diagnostics import Problem, Report
from triggers.language.reader import Expressions, Reader, References
from triggers.language.time_shapes import moment, schedule, zone
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.measures import shapes
from triggers.rules.rule import (
    AnyWait,
    Branch,
    Cap,
    CapScope,
    Exit,
    Goal,
    Jump,
    Over,
    Pattern,
    Quiet,
    Send,
    Step,
    Wait,
    WaitSlot,
    WaitUntil,
)

ENTRY = ("event", "user", "score", "metric", "segment", "now")
"""What may be named where there is no occurrence yet."""
MAX_STEPS = 50
MAX_DATA_FIELDS = 100
_SCOPES = ("trigger", "key", "purpose", "channel", "all")
_STEPS = ("send", "wait", "if")
_LATER_STEPS = ("wait_for", "up_to", "webhook")


class Parts:
    """Reads the shared parts of one document."""

    def __init__(self, report: Report, templates: dict[str, str]) -> None:
        self.report = report
        self.references = References()
        self.expressions = Expressions(report, self.references)
        self.templates = templates
        self.only_crossings = False
        """Whether everything that begins the trigger is a crossing or the clock, which have no event's properties."""
        self.grouped: frozenset[str] = frozenset()
        """Those that such a crossing has after all, for it groups its events by them."""
        self.unsure_of_sends = False
        """Whether steps were left unread or a template is misnamed, so that cases can name what is no send here."""

    def check_crossings(self) -> None:
        """Tells expressions that read properties of an entry event that has none; when all are read."""
        for use in self.expressions.uses if self.only_crossings else ():
            if use.arriving:
                continue
            fields = use.condition.code.event_fields
            for field, offset in ((name, fields[name]) for name in fields.keys() - self.grouped):
                message = f"`event.{field}`: no event begins this, so it has no properties"
                hint = "event.id and event.time are there; what was counted is `score.NAME` or `metric.NAME.count`"
                self.report.add(use.node.place_of(offset), "no-properties", message, hint)

    def pattern(
        self, node: Node, what: str, roots: Collection[str], more: Collection[str] = (), *, same: bool = False
    ) -> Pattern:
        """An event by name, or `{event, where, same}`; `more` are further keys that the caller reads."""
        if isinstance(node, ScalarNode):
            return Pattern((self._event(node),))
        keys = (*language.keys("EVENT", without=() if same else ("same",)), *more)
        read = Reader(self.report, node, what, keys, () if same else ("same",))
        types = read.required("event", lambda n: reader.several(self.report, n, self._event), ())
        where = read.optional("where", lambda n: self._condition(n, "where", roots, types), None)
        fields = read.optional("same", lambda n: reader.several(self.report, n, lambda f: self._same(f, types)), ())
        return Pattern(types, where, fields)

    def _event(self, node: Node) -> str:
        name = reader.name(node, "an event's name")
        self.references.events.append((name, node.index))
        return name

    def _same(self, node: Node, types: tuple[str, ...]) -> str:
        name = reader.name(node, "a field")
        self.references.same.append((types, name, node.index))
        return name

    def _condition(
        self, node: Node, what: str, roots: Collection[str], events: tuple[str, ...] = ()
    ) -> Condition | None:
        return self.expressions.compile(node, what, "truth", roots, arriving=what == "where", events=events)

    def patterns(self, node: Node, what: str) -> tuple[Pattern, ...]:
        """One pattern or several, asked of running occurrences."""
        return reader.several(self.report, node, lambda item: self.pattern(item, what, ROOTS, same=True))

    def goal(self, node: Node) -> Goal | None:
        """A pattern with `within`."""
        pattern = self.pattern(node, "goal", ENTRY, ("within",), same=True)
        if not isinstance(node, MappingNode) or "within" not in node.items:
            raise Problem(node.index, "missing-key", "goal needs `within`", "as in {event: NAME, within: 7d}")
        return Goal(pattern, reader.duration(node.items["within"], "within"))

    def cap(self, node: Node, *, scope_required: bool = False) -> Cap | None:
        """`{max, per, scope, over}`."""
        meant = shapes.cap_meant(node.text) if isinstance(node, ScalarNode) else ""
        read = Reader(self.report, node, "cap", language.keys("CAP"), example=meant or "{max: 1, per: 3d}")
        scope = "trigger"
        if "scope" in read or not scope_required:
            scope = read.optional("scope", lambda n: reader.choice(n, "scope", _SCOPES, ("brand",)), scope)
        else:
            self.report.add(
                node.index, "missing-key", "a policy's cap needs `scope`", "what is counted: all, purpose, …"
            )
        return Cap(
            read.required("max", self._maximum, 1),
            read.required("per", self._window, shapes.Rolling(1)),
            cast(CapScope, scope),
            self._over(read, "drop"),
        )

    def _window(self, node: Node) -> shapes.Window:
        if isinstance(node, ScalarNode) and node.text == "ever":
            raise Problem(node.index, "invalid-window", "per: `ever` is for metrics only")
        return reader.shape(node, "per", "invalid-window", shapes.window)

    def _maximum(self, node: Node) -> int | Condition:
        if isinstance(node, ScalarNode) and node.value.__class__ in (int, float):
            return reader.whole(node, "max", 0, 1_000)
        return self.expressions.compile(node, "max", "number", ROOTS)

    def _over(self, read: Reader, default: Over) -> Over:
        word = read.optional("over", lambda n: reader.choice(n, "over", ("drop", "defer")), default)
        return "drop" if word == "drop" else "defer"

    def quiet(self, node: Node) -> Quiet | None:
        """`{from, to, days, zone, over}` or `{from, through, zone, over}`."""
        keys = language.keys("DAILY", "DATES")
        read = Reader(self.report, node, "quiet", keys, example='{from: "21:00", to: "08:00"}')
        where = read.optional("zone", zone, None)
        over = self._over(read, "defer")
        if "through" in read:
            dates = self._dates(node, read, where)
            return None if dates is None else Quiet(dates, over)
        start = read.required("from", lambda n: self._clock(n, "from"), None)
        end = read.required("to", lambda n: self._clock(n, "to"), None)
        if start is None or end is None:
            return None
        if start == end:
            raise Problem(node.index, "invalid-period", "from and to are the same", "a period needs a length")
        days = read.optional("days", lambda n: frozenset(reader.several(self.report, n, self._weekday)), None)
        return Quiet(shapes.DailyPeriod(start, end, days, where), over)

    def _dates(self, node: Node, read: Reader, zone: str | None) -> shapes.DatePeriod | None:
        first = read.required("from", lambda n: self._date(n, "from"), None)
        last = read.required("through", lambda n: self._date(n, "through"), None)
        for key in ("to", "days"):
            if key in read:
                raise Problem(read.place(key), "conflict", f"`{key}` does not go with `through`")
        if first is None or last is None:
            return None
        if last < first:
            raise Problem(node.index, "invalid-period", "a period of dates goes from a date through one not before it")
        return shapes.DatePeriod(first, last, zone)

    def _clock(self, node: Node, what: str) -> time | None:
        return reader.shape(node, what, "invalid-period", shapes.clock_time)

    def _date(self, node: Node, what: str) -> date | None:
        return reader.shape(node, what, "invalid-period", shapes.calendar_date)

    def _weekday(self, node: Node) -> int:
        return reader.shape(node, "days", "invalid-period", shapes.weekday)

    def holdout(self, node: Node) -> float:
        """A percentage of users."""
        return reader.percent(node, "holdout")

    def wait(self, node: Node, what: str) -> AnyWait:
        """A duration, a schedule, or `{until: EXPR}`; the same wherever a wait stands."""
        if not isinstance(node, MappingNode):
            return Wait(reader.duration(node, what, zero=True))
        if "until" not in node.items:
            return WaitSlot(schedule(self.report, node, what))
        read = Reader(self.report, node, what, ("until",))
        until = read.required("until", lambda n: moment(self.expressions, n, "until", ROOTS), None)
        return Wait(0) if until is None else WaitUntil(until)

    # sends and steps -------------------------------------------------------------------------------------------------

    def send(self, node: Node) -> Send | None:
        """A template's name, or `{template, id, channel, to, data}`."""
        if isinstance(node, ScalarNode):
            template = self._template(node)
            return Send(template, template, self.templates.get(template, ""))
        if isinstance(node, SequenceNode):
            raise reader.wrong(node, "send", "one message", "write several as steps, as in steps: [send: welcome]")
        read = Reader(self.report, node, "send", language.keys("MESSAGE"), ("webhook",))
        if isinstance(node, MappingNode) and "webhook" in node.items:
            return None
        self.unsure_of_sends |= "template" not in read
        template = read.required("template", self._template, "")
        return Send(
            read.optional("id", lambda n: reader.name(n, "a step's id"), template),
            template,
            self.templates.get(template, ""),
            read.optional("channel", lambda n: reader.choice(n, "channel", ("email",)), "email"),
            read.optional("to", self._address, None),
            read.optional("data", self._data, ()),
        )

    def _template(self, node: Node) -> str:
        unsure, self.unsure_of_sends = self.unsure_of_sends, True
        template = reader.name(node, "a template's name")
        self.references.templates.append((template, node.index))
        self.unsure_of_sends = unsure or template not in self.templates
        return template

    def _address(self, node: Node) -> Condition | None:
        condition = self.expressions.compile(node, "to", "text", ROOTS)
        tree = parse(condition.text) if condition is not None else None
        if isinstance(tree, Literal) and isinstance(tree.value, str):
            try:
                plain_address(tree.value)
            except ValueError as error:
                raise Problem(node.index, "invalid-value", f"no mail can be sent `to` this: {error}") from None
        return condition

    def _data(self, node: Node) -> tuple[tuple[str, Condition], ...]:
        items = reader.mapping_items(node, "data")
        if len(items) > MAX_DATA_FIELDS:
            raise Problem(node.index, "invalid-value", f"data has more than {MAX_DATA_FIELDS} fields")
        found = []
        for key, place, value in items:
            reader.guarded(self.report, lambda place=place: reader.identifier(place, "a field of data"), "")  # type: ignore[misc]
            condition = reader.guarded(
                self.report,
                lambda key=key, value=value: self.expressions.compile(value, f"data.{key}", "value", ROOTS),  # type: ignore[misc]
                None,
            )
            if condition is not None:
                found.append((key, condition))
        return tuple(found)

    def steps(self, node: Node) -> tuple[Step, ...]:
        """A list of steps, branches unrolled into jumps."""
        program: list[Step] = []
        self._sequence(node, program, "steps")
        written = sum(not isinstance(step, Jump) for step in program)
        if written > MAX_STEPS:
            self.unsure_of_sends = True
            raise Problem(node.index, "invalid-value", f"{written} steps, more than {MAX_STEPS}", "split the rule")
        return tuple(program)

    def _sequence(self, node: Node, program: list[Step], what: str) -> None:
        if not isinstance(node, SequenceNode):
            raise reader.wrong(node, what, "a list of steps", "begin each step with `- `, as in - send: welcome")
        for item in node.items:
            reader.guarded(self.report, lambda item=item: self._step(item, program), None)  # type: ignore[misc]

    def _step(self, node: Node, program: list[Step]) -> None:
        if isinstance(node, ScalarNode):
            program.append(self._exit(node))
            return
        keys = language.keys("SEND_STEP", "WAIT_STEP", "IF_STEP")
        read = Reader(self.report, node, "a step", keys, _LATER_STEPS)
        kinds = [key for key in _STEPS if key in read]
        if any(key in read for key in _LATER_STEPS) or any(map(read.misspelt, _STEPS)) or read.unread:
            self.unsure_of_sends = True
            return
        if len(kinds) != 1:
            self.unsure_of_sends = True
            hint = "begin each step with a `- ` of its own" if kinds else "as in - send: welcome"
            raise Problem(node.index, "conflict", "a step is one of send, wait, if or exit", hint)
        if kinds[0] != "if" and ("then" in read or "else" in read):
            raise Problem(node.index, "conflict", "`then` and `else` go with `if`")
        if kinds[0] == "send":
            send = read.optional("send", self.send, None)
            program.extend([send] if send else [])
        elif kinds[0] == "wait":
            program.append(read.optional("wait", lambda n: self.wait(n, "wait"), Wait(0)))
        else:
            self._branch(read, program)

    def _exit(self, node: ScalarNode) -> Exit:
        word, _, rest = node.text.partition(" ")
        self.unsure_of_sends |= node.text != "exit"
        if word in _STEPS:
            hint = f"a colon and a blank follow the key, as in {word}: {rest or '…'}"
            raise Problem(node.index, "invalid-value", f"{quoted(node.text)} is no step", hint)
        reader.choice(node, "step", ("exit",))
        return Exit()

    def _branch(self, read: Reader, program: list[Step]) -> None:
        condition = read.optional("if", lambda n: self._condition(n, "if", ROOTS), None)
        if "then" not in read:
            raise Problem(read.node.index, "missing-key", "`if` needs `then`")
        at = len(program)
        program.append(Exit())
        read.optional("then", lambda n: self._sequence(n, program, "then"), None)
        if "else" in read:
            jump = len(program)
            program.append(Exit())
            otherwise = len(program)
            read.optional("else", lambda n: self._sequence(n, program, "else"), None)
            program[jump] = Jump(len(program))
        else:
            otherwise = len(program)
        if condition is not None:
            program[at] = Branch(condition, otherwise)
