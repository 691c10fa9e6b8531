"""Wrong rule files: one small file for each diagnostic code, with its exact output beside it."""

from pathlib import Path

import pytest

from triggers.language.diagnostics import (
    BESIDE_RULES,
    CODES,
    NOTES,
    REFUSED_IN_PUBLICATION,
    WARNINGS,
    InvalidRules,
    SourceFile,
)
from triggers.loader import check, inspect, load_rules, load_to_try

BAD_RULES = Path(__file__).parent / "bad_rules"
BAD_EVENTS = Path(__file__).parent / "bad_events"
TEMPLATES = {"thank-you": "a" * 32}
OF_CODES = [code for code in CODES if code not in BESIDE_RULES | NOTES]
OF_RULES = sorted(file.stem for file in BAD_RULES.glob("*.yaml"))
OF_EVENTS = ("unknown-event", "unknown-property", "property-type", "never-heard")


def code_of(name: str) -> str:
    """The code of a bad file: `CODE.yaml`, or `CODE--WHAT.yaml` for one mistake that brings it."""
    return name.partition("--")[0]


def diagnose(name: str) -> list[SourceFile]:
    file = BAD_RULES / f"{name}.yaml"
    return [SourceFile(file.name, file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", OF_RULES)
def test_a_wrong_file_gets_exactly_its_expected_diagnostics(name: str) -> None:
    found = check(diagnose(name), TEMPLATES)
    output = "".join(diagnostic.render() + "\n" for diagnostic in found)
    assert output == (BAD_RULES / f"{name}.txt").read_text(encoding="utf-8")
    assert code_of(name) in {diagnostic.code for diagnostic in found}


@pytest.mark.parametrize("name", [name for name in OF_RULES if "--" in name])
def test_a_file_with_one_mistake_has_one_finding(name: str) -> None:
    assert [each.code for each in check(diagnose(name), TEMPLATES)] == [code_of(name)]


@pytest.mark.parametrize("name", [name for name in OF_RULES if code_of(name) not in WARNINGS])
def test_a_wrong_file_does_not_load(name: str) -> None:
    with pytest.raises(InvalidRules):
        load_rules(diagnose(name), TEMPLATES)


@pytest.mark.parametrize("name", [name for name in OF_RULES if code_of(name) in WARNINGS])
def test_a_file_with_only_warnings_loads(name: str) -> None:
    load_to_try(diagnose(name), TEMPLATES)
    assert {warning.code for warning in check(diagnose(name), TEMPLATES)} == {code_of(name)}


@pytest.mark.parametrize("name", [name for name in OF_RULES if code_of(name) in WARNINGS])
def test_a_file_with_only_warnings_is_published_if_its_templates_exist(name: str) -> None:
    if code_of(name) not in REFUSED_IN_PUBLICATION:
        load_rules(diagnose(name), TEMPLATES)
        return
    with pytest.raises(InvalidRules) as caught:
        load_rules(diagnose(name), TEMPLATES)
    assert {(each.code, each.severity) for each in caught.value.diagnostics} == {(code_of(name), "error")}
    assert f"[{code_of(name)}]" in caught.value.line


def test_every_bad_file_belongs_to_a_code_and_every_code_has_one() -> None:
    assert {code_of(file.stem) for file in BAD_RULES.iterdir()} == set(OF_CODES)


def test_a_second_document_of_one_name_names_the_place_of_the_first() -> None:
    [found] = check([SourceFile("a.yaml", BASE), SourceFile("b.yaml", BASE)], TEMPLATES)
    assert str(found) == "b.yaml:1:1: error: duplicate trigger `t`: the other is at a.yaml:1 [duplicate-document]"


def notes_of(*texts: str) -> list[tuple[str, str]]:
    files = [SourceFile(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return [(note.code, note.path) for note in inspect(files, TEMPLATES).notes]


def test_a_rule_that_is_wrong_has_no_notes_beside_its_problem() -> None:
    capped = BASE + "cap: {max: 1, per: 1d}\n"
    assert notes_of(capped) == [("order-sensitive", "0.yaml")]
    assert notes_of(capped + "afer: 1h\n") == []


def test_a_comment_allows_a_note_for_the_document_it_stands_in_and_for_no_other() -> None:
    capped = BASE + "cap: {max: 1, per: 1d}\n"
    other = capped.replace("trigger: t", "trigger: u")
    allow = "# ebbtide: allow order-sensitive\n"
    assert notes_of(allow + capped) == notes_of(capped + allow) == []
    assert notes_of(capped.replace("1d}", "1d}  # ebbtide: allow order-sensitive")) == []
    assert notes_of(f"{capped}---\n{allow}{other}") == [("order-sensitive", "0.yaml")]
    assert notes_of(f"{allow}{capped}", other) == [("order-sensitive", "1.yaml")]


def test_a_comment_allows_a_warning() -> None:
    negated = BASE + "when: '!event.vip'\n"
    assert [each.code for each in check([SourceFile("r.yaml", negated)], TEMPLATES)] == ["negated-optional"]
    allowed = negated + "# ebbtide: allow negated-optional\n"
    assert check([SourceFile("r.yaml", allowed)], TEMPLATES) == []


@pytest.mark.parametrize("code", OF_EVENTS)
def test_a_file_that_does_not_match_the_catalogue_gets_the_exact_message(code: str) -> None:
    files = {name: SourceFile(name, (BAD_EVENTS / name).read_text()) for name in (f"{code}.yaml", "events.yaml")}
    assert {each.code for each in check([files[f"{code}.yaml"]], TEMPLATES)} <= {"unheard-event", "event-never-given"}
    found = check([files[f"{code}.yaml"]], TEMPLATES, [files["events.yaml"]])
    assert "".join(each.render() + "\n" for each in found) == (BAD_EVENTS / f"{code}.txt").read_text()
    assert {each.code for each in found} == {code}


def test_a_rule_that_waits_for_an_event_without_a_user_has_a_note_of_the_cost() -> None:
    text = (BAD_EVENTS / "never-heard.yaml").read_text()
    catalogue = SourceFile("events.yaml", (BAD_EVENTS / "events.yaml").read_text())
    [note] = [
        each for each in inspect([SourceFile("r.yaml", text)], TEMPLATES, [catalogue]).notes if each.code == "broadcast"
    ]
    assert (note.line, note.column) == (5, 29)
    assert "read in every partition" in note.message


def test_a_wrong_catalogue_is_reported_with_its_place() -> None:
    catalogue = SourceFile("events.yaml", "events:\n  signed_up: {plan: string}\n  9lives: {}\nmore: {}\n")
    found = [(e.line, e.column, e.code) for e in check(diagnose("kind")[:0], TEMPLATES, [catalogue])]
    assert found == [(2, 21, "invalid-value"), (3, 3, "invalid-name"), (4, 1, "unknown-key")]


def test_the_problems_of_all_files_are_reported_at_once_in_order_of_place() -> None:
    sources = [*diagnose("unknown-key"), *diagnose("invalid-zone")]
    with pytest.raises(InvalidRules) as caught:
        load_rules(sources, TEMPLATES)
    codes = [(each.path, each.code) for each in caught.value.diagnostics]
    assert codes == [
        ("invalid-zone.yaml", "duplicate-document"),
        ("invalid-zone.yaml", "invalid-zone"),
        ("unknown-key.yaml", "unknown-key"),
    ]


def test_a_diagnostic_reads_as_path_line_column_severity_message_code() -> None:
    [found] = check(diagnose("unknown-key"), TEMPLATES)
    assert str(found) == "unknown-key.yaml:4:1: error: unknown key `unles` in trigger [unknown-key]"


@pytest.mark.parametrize(
    "wrong",
    [
        *("send: thank-yuo", "send: {template: thank-yuo}", "send: thank you", "send: {tempalte: thank-you}"),
        *("sned: thank-you", "stpes: [{send: thank-you}]", "steps: [{send: thank you}]", "steps: [{sned: thank-you}]"),
        *("onn: ping\nsend: thank-you", "send: thank-you\nunles: x"),
    ],
)
def test_one_mistake_is_one_finding(wrong: str) -> None:
    on = "" if "onn" in wrong else "on: ping\n"
    cases = 'cases:\n  - {name: n, given: [{at: "10:00", ping: {}}], expect: [{at: "10:00", send: thank-you}]}\n'
    found = check([SourceFile("r.yaml", f"trigger: t\npurpose: marketing\n{on}{wrong}\n{cases}")], TEMPLATES)
    assert len(found) == 1, [str(each) for each in found]


@pytest.mark.parametrize(
    ("given", "is_reported"),
    [
        *(("order_complete", True), ("OrderCompleted", True), ("order_cancelled", False), ("order_completed", False)),
        *(("signed_out", False), ("sign_up", True), ("unsubscribed", False), ("step_2", False), ("email.click", True)),
        *(("email.clicked", False), ("viewed", False), ("product_viewed", True)),
    ],
)
def test_only_what_looks_like_a_slip_is_taken_for_a_misspelt_event(given: str, is_reported: bool) -> None:
    text = (
        "trigger: t\npurpose: marketing\non: [order_completed, signed_up, subscribed, step_1]\n"
        "send: thank-you\nwhen: score.keen >= 0\n"
        f'cases:\n  - {{name: n, given: [{{at: "10:00", {given}: {{}}}}], expect: []}}\n---\n'
        "score: keen\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: products_viewed, points: 1}\n"
    )
    assert [each.code for each in check([SourceFile("r.yaml", text)], TEMPLATES)] == ["unheard-event"] * is_reported


def test_an_event_misspelt_in_the_rule_is_one_finding_that_leaves_open_where_the_slip_is() -> None:
    text = "trigger: t\npurpose: marketing\non: order_completd\nsend: thank-you\ncases:\n"
    case = '  - {name: n, given: [{at: "10:00", order_completed: {}}], expect: []}\n'
    [found] = check([SourceFile("r.yaml", text + case + case)], TEMPLATES)
    assert found.hint.startswith("did you mean `order_completd`, which r.yaml:3 listens to?")
    assert (found.line, "here and in 1 more places" in found.message) == (6, True)


def test_an_attribute_of_a_case_with_the_name_of_a_score_is_reported() -> None:
    score = "---\nscore: keen\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: ping, points: 1}\n"
    case = "cases: [{name: n, user: {keen: 3}, given: [], expect: []}]\n"
    found = check([SourceFile("r.yaml", BASE + "when: score.keen > 1\n" + case + score)], TEMPLATES)[-1]
    assert (found.code, found.hint) == ("score-as-attribute", "for the score: user: {score: {keen: …}}")


def test_a_property_that_an_expression_looks_into_may_hold_others() -> None:
    text = "trigger: t\npurpose: marketing\non: {event: ping, where: event.data.n > 1}\nsend: thank-you\n"
    case = '{name: n, given: [{at: "10:00", ping: {data: {n: 2}}}], expect: [{at: "10:00", send: thank-you}]}'
    assert check([SourceFile("r.yaml", f"{text}cases: [{case}]\n")], TEMPLATES) == []


BASE = "trigger: t\npurpose: marketing\non: ping\nsend: thank-you\n"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hello", "as in trigger: welcome"),
        ("score: s\ndecay: linear\nadd: {event: a, points: 1}\n", "as in {curve: exponential, half_life: 14d}"),
        ("policy: p\nfor: all\nexpires: 1d\n", "or {} for everybody"),
        ("trigger: t\npurpose: marketing\non: ping\nsteps: {send: thank-you}\n", "begin each step with `- `"),
        ("trigger: t\npurpose: marketing\non: ping\nsteps: [send: thank-you, wait 2d]\n", "as in wait: 2d"),
        ("trigger: t\npurpose: marketing\non: ping\nsteps: [{send: thank-you, wait: 2d}]\n", "of its own"),
        (f"{BASE}when: score.keen > 1\n", "a document `score: keen` makes one"),
        ("trigger: t\npurpose: marketing\non: ping\n", "as in send: welcome"),
        (f"{BASE}cap: 1 per 3d\n", "as in {max: 1, per: 3d}"),
        (f"{BASE}quiet: 21-8\n", 'as in {from: "21:00", to: "08:00"}'),
        (f"{BASE} cap: {{max: 1, per: 3d}}\n", "is the line indented as the one before it?"),
        (f"{BASE}unless:\n  - a\n  same: b\n", "begin it with `- ` like the items above"),
        (f"{BASE}cases: {{name: n}}\n", "begin each case with `- `"),
        (f"{BASE}cases: [{{name: n, given: {{}}, expect: []}}]\n", "put it into [ ]"),
        (f'{BASE}cases: [{{name: n, given: [{{at: "10:00", event: ping}}], expect: []}}]\n', "as in ping: {}"),
        (f"{BASE}cases: [{{name: n, given: [], expect: [{{send: a}}]}}]\n", '{at: "10:00", send: welcome}'),
        (f"{BASE}cases: [{{name: n, given: [], expect: [welcome]}}]\n", '{at: "10:00", send: welcome}'),
        ("trigger: t\non: ping\nsend: thank-you\n", "as in purpose: marketing"),
        *((f"{BASE.replace('on:', 'event:')}", "`on`"), (f"{BASE.replace('send:', 'template:')}", "`send`")),
        *((f"{BASE}if: user.vip\n", "`when`"), (f"{BASE}wait: 1h\n", "`after`"), (f"{BASE}limit: 1\n", "`cap`")),
        (f"{BASE}unless: [a, {{event: b}}\nafter: 1h\n", "the `[` that begins here is not closed"),
        (f"{BASE}cap: {{max: 1 per: 3d}}\n", "a comma parts what stands in { } and [ ]"),
        (f"{BASE}cases:\n    name: a\n  - name: b\n", "begin the lines above with `- ` too"),
        (f"{BASE}after: 1h\nafter: 2h\n", "drop one of the two"),
        (f"{BASE}cases: [{{name: n, user: {{score: 3}}, given: [], expect: []}}]\n", "as in score: {NAME: 3}"),
        (f"{BASE}cap: {{max: one, per: 3d}}\n", "write a number, as in 1, or whose it is, as in `event.one`"),
        (f"{BASE}cap: {{max: 1}}\n", "as in {max: 1, per: 3d}"),
        ("score: s\nadd: {event: a, points: 1}\n", "as in decay: {curve: exponential, half_life: 14d}"),
        ("score: s\ndecay: {half_life: 1d}\nadd: {event: a, points: 1}\n", "as in {curve: exponential"),
        (f"{BASE}cases: [{{given: [], expect: []}}]\n", "as in name: at once"),
        (f"{BASE}cap: {{max:1, per: 3d}}\n", "a blank after the colon, as in max: 1"),
        (f"{BASE}when: 'size(event.items) >= 1\n", "the quote that begins here is not closed"),
        (f"{BASE}cases:\n  - name: case 1: keen\n", "A text that holds a colon and a blank goes in quotes"),
        (f"{BASE}when: size(event.items) > '3'\n", "a number has no quotes, as in > 3"),
        (f"{BASE}when: size(event.items)\n", "compare it, as in size(event.items) >= 1"),
        (f"{BASE}when: now - event.time < 3d\n", "write days(3)"),
        (f"{BASE}when: now - event.time < 90m\n", 'write duration("90m")'),
        (f"{BASE}when: user.plan == team\n", 'a text is in quotes: "team"'),
        (f"{BASE}when: user.plan == “team”\n", "straight quotes"),
        (f"{BASE}cases: [{{name: n, given: [{{at: “10:00”, ping: {{}}}}], expect: []}}]\n", 'straight quotes: "10:00"'),
        (f"{BASE}cases: [{{name: n, given: [{{at: '9:00', ping: {{}}}}], expect: []}}]\n", 'did you mean "09:00"?'),
        (
            f"{BASE}cases: [{{name: n, given: [{{at: '1d 9:00', ping: {{}}}}], expect: []}}]\n",
            'did you mean "+1d 09:00"?',
        ),
    ],
)
def test_a_hint_says_what_to_write(text: str, hint: str) -> None:
    [found] = check([SourceFile("r.yaml", text)], TEMPLATES)
    assert hint in found.hint
