"""`ebbtide check`: what it finds beside the rules' own diagnostics, and its output formats."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.errors import one_line
from cli.main import app
from cli.rules.checking import annotation, check_paths
from cli.rules.rule_folder import read_folder
from senders.content.render import TemplateError
from senders.content.template_names import required_names
from triggers.checks.contradictions import contradiction
from triggers.language.diagnostics import Diagnostic, InvalidRules

TESTS = Path(__file__).parents[3]
BAD_EVENTS = TESTS / "unit" / "triggers" / "language" / "bad_events"
EXAMPLES = TESTS.parent / "examples"
BAD_TEMPLATES = Path(__file__).parent / "bad_templates"
RULE = "trigger: t\npurpose: marketing\non: {event: ping, where: event.total > 5}\nsend: {template: NAME, data: DATA}\n"

PIECES = ("{{", "}}", "{%", "%}", "if ", "for ", "in ", "a", "|default:", "'", "[", "]", " ", "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    for template in BAD_TEMPLATES.glob("*.liquid"):
        shutil.copy(template, tmp_path / "templates")
    return tmp_path


def write_rule(folder: Path, template: str = "template-variable", data: str = "{}", more: str = "") -> Path:
    file = folder / "rule.yaml"
    file.write_text(RULE.replace("NAME", template).replace("DATA", data) + more)
    return file


def leave_only(folder: Path, template: str) -> None:
    for file in (folder / "templates").iterdir():
        if file.stem != template:
            file.unlink()


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(each) for each in arguments], terminal_width=200)
    return done.exit_code, done.stdout


def codes(folder: Path, catalogue: Path | None = None) -> list[str]:
    return [each.code for each in check_paths([folder], catalogue).found]


def test_a_variable_missing_from_data_is_reported_at_its_place_in_the_template(folder: Path) -> None:
    leave_only(folder, "template-variable")
    write_rule(folder, data="{order_id: event.id, total: event.total, missin: event.id}")
    found = check_paths([folder]).found
    assert [(each.line, each.column, each.message.split("`")[1]) for each in found] == [
        (3, 16, "quantity"),
        (6, 16, "items"),
        (8, 16, "missing"),
    ]
    assert found[0].excerpt.splitlines()[0].strip() == 'preheader: "{{ quantity }} things"'
    assert found[2].hint == "did you mean `missin`; or give it a `default`"
    assert {each.code for each in found} == {"template-variable"}


def test_a_template_that_shows_the_event_gets_a_hint_of_what_it_can_read(folder: Path) -> None:
    leave_only(folder, "none")
    (folder / "templates" / "t.liquid").write_text("---\nsubject: s\n---\n{{ event.total }}\n--- text ---\nx\n")
    write_rule(folder, "t")
    [found] = check_paths([folder]).found
    assert (found.code, found.line) == ("template-variable", 4)
    assert found.hint.startswith("a template sees the rule's `data` and `user`, not the event")


def test_a_rule_without_data_gets_a_hint_how_to_add_it(folder: Path) -> None:
    leave_only(folder, "template-variable")
    write_rule(folder)
    hints = {each.hint for each in check_paths([folder]).found if each.code == "template-variable"}
    assert hints == {
        "the rule gives no data; write send: {template: template-variable, data: {total: event.total}}; "
        "or give it a `default`"
    }


@pytest.mark.parametrize("code", ["template-variable", "template-invalid", "template-attribute", "front-matter"])
def test_a_wrong_template_brings_its_exact_message(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_only(folder, code)
    write_rule(folder, code, "{order_id: event.id}")
    monkeypatch.chdir(folder)
    output = "".join(each.render() + "\n" for each in check_paths([Path()]).found)
    assert output == (BAD_TEMPLATES / f"{code}.txt").read_text()


def test_a_template_that_cannot_be_used_is_reported(folder: Path) -> None:
    leave_only(folder, "template-invalid")
    write_rule(folder, "template-invalid")
    assert codes(folder) == ["template-invalid"]
    assert run("check", folder)[0] == 1


@pytest.mark.parametrize(
    "tag", ["{% include 'x' %}", "{% render 'x' %}", "{% include x %}", "{% extends 'x' %}", "{{ a | shout }}"]
)
def test_a_template_with_an_unsupported_tag_or_filter_cannot_be_used(tag: str) -> None:
    with pytest.raises(TemplateError):
        required_names("t", f"---\nsubject: s\n---\n{tag}\n--- text ---\nx\n")


def test_a_long_template_is_read_in_reasonable_time() -> None:
    names = [f"a{number}" for number in range(5_000)]
    html = " ".join(f"{{{{ {name} }}}}" for name in names)
    found = required_names("t", f"---\nsubject: s\n---\n{html}\n--- text ---\nx\n")
    assert [each.name for each in found] == names


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["{{", "}}", "{%", "%}", "if ", "for ", "in ", "a", "|default:", "'", "[", "]", " ", "\n"])
    )
)
def test_any_template_is_read_or_refused(pieces: list[str]) -> None:
    try:
        required_names("t", f"---\nsubject: s\n---\n{''.join(pieces)}\n--- text ---\nx\n")
    except TemplateError:
        return


def test_a_name_may_be_missing_where_the_template_asks_for_it_or_has_a_default() -> None:
    body = "---\nsubject: s\n---\nHTML\n--- text ---\nx\n"
    may_be_missing = ("{% if a %}{{ a }}{% endif %}", "{% unless a %}no{% else %}{{ a }}{% endunless %}")
    for html in (*may_be_missing, "{{ a | default: 'b' }}", "{% if a != blank %}{{ a }}{% endif %}", "{{ user.id }}"):
        assert required_names("t", body.replace("HTML", html)) == []
    assert [each.name for each in required_names("t", body.replace("HTML", "{{ user.a }}"))] == ["user.a"]
    for html in ("{{ a }}", "{% if a == 1 %}{{ a }}{% endif %}", "{{ a.b[0] }}", "{% for i in a %}{{ i }}{% endfor %}"):
        assert [each.name for each in required_names("t", body.replace("HTML", html))] == ["a"]


def test_the_catalogue_beside_the_rules_is_used_and_another_can_be_given(folder: Path) -> None:
    write_rule(folder, "none")
    shutil.rmtree(folder / "templates")
    assert codes(folder) == ["unknown-template"]
    (folder / "events.yaml").write_text("events: {pong: {total: number}}\n")
    assert codes(folder) == ["unknown-event", "unknown-template"]
    other = folder / "other.yaml"
    other.write_text("events: {ping: {total: text}}\n")
    assert codes(folder, other) == ["property-type", "unknown-template"]


def test_a_template_that_does_not_exist_is_a_warning_and_on_the_way_to_publication_an_error(folder: Path) -> None:
    write_rule(folder, "none")
    leave_only(folder, "template-attribute")
    [found] = [each for each in check_paths([folder]).found if each.code == "unknown-template"]
    assert (found.severity, check_paths([folder]).wrong) == ("warning", False)
    [refused] = [each for each in check_paths([folder], publishing=True).found if each.code == "unknown-template"]
    assert (refused.severity, check_paths([folder], publishing=True).wrong) == ("error", True)
    with pytest.raises(InvalidRules, match="error: unknown template"):
        read_folder(folder).load()


def test_a_catalogue_that_is_named_is_checked_without_rules_too(tmp_path: Path) -> None:
    catalogue = tmp_path / "events.yaml"
    catalogue.write_text("events: {ping: {total: nummer}}\nfields: {pong: {email: drop}}\n")
    found = check_paths([catalogue])
    assert [(each.line, each.column, each.code) for each in found.found] == [
        (1, 24, "invalid-value"),
        (2, 10, "unknown-event"),
    ]
    assert found.summary() == "1 event catalogue: 2 errors, 0 warnings, 0 notes"
    other = catalogue.rename(tmp_path / "shop.yaml")
    assert codes(other, other) == ["invalid-value", "unknown-event"]


def test_a_single_file_finds_the_catalogue_and_the_templates_beside_it(folder: Path) -> None:
    file = write_rule(folder, more="unless: pang\n")
    leave_only(folder, "template-variable")
    (folder / "events.yaml").write_text("events: {ping: {total: number}}\n")
    assert codes(file)[:1] == ["unknown-event"]
    assert "template-variable" in codes(file)


def test_a_rule_file_that_is_not_utf_8_is_named(folder: Path) -> None:
    (folder / "rule.yaml").write_bytes(b"trigger: \xff\n")
    done = CliRunner().invoke(app, ["check", str(folder)])
    assert "rule.yaml: not UTF-8 at byte 9" in str(done.exception)


def test_json_has_every_finding_with_its_place_and_severity() -> None:
    code, out = run("check", "--json", BAD_EVENTS / "unknown-event.yaml")
    output = json.loads(out)
    assert code == 1
    assert (output["rule_files"], output["errors"], output["warnings"]) == (1, 3, 1)
    first = output["findings"][0]
    assert first["path"].endswith("unknown-event.yaml")
    assert {key: first[key] for key in ("line", "column", "code", "severity", "hint")} == {
        "line": 3,
        "column": 5,
        "code": "unknown-event",
        "severity": "error",
        "hint": "did you mean `order_completed`?",
    }


def test_a_github_annotation_escapes_what_its_syntax_uses() -> None:
    found = Diagnostic("a,b:c.yaml", 3, 7, "never-fires", "100% of\nit", "mend: it")
    assert annotation(found) == (
        "::warning file=a%2Cb%3Ac.yaml,line=3,col=7,title=never-fires::100%25 of%0Ait%0Amend: it"
    )


def test_warnings_and_notes_stop_nothing(folder: Path) -> None:
    write_rule(
        folder, data="{order_id: '1', quantity: 1, total: 1, items: '[]', missing: 1}", more="when: 1 > 2 && false\n"
    )
    leave_only(folder, "template-variable")
    code, out = run("check", folder)
    assert (code, out.splitlines()[-1]) == (0, "1 rule file, 1 template: 0 errors, 1 warning, 0 notes")


def test_each_line_says_whether_it_is_an_error_a_warning_or_a_note_and_the_last_counts_them(folder: Path) -> None:
    leave_only(folder, "template-attribute")
    write_rule(folder, "template-attribute", more="unless: x\nafter: 1h\n---\nscore: s\n")
    code, out = run("check", folder)
    text = [line.split(": ")[1] for line in out.splitlines() if line.startswith(str(folder))]
    assert (code, text) == (1, ["error", "error", "warning", "note"])
    assert out.splitlines()[-1] == "1 rule file, 1 template: 2 errors, 1 warning, 1 note"
    output = json.loads(run("check", "--json", folder)[1])
    assert (output["errors"], output["warnings"], output["notes"]) == (2, 1, 1)


def test_an_error_that_stops_loading_is_reported_without_the_warnings_before_it(folder: Path) -> None:
    write_rule(folder, more="when: '!event.gift'\nafer: 1h\n")
    text = one_line(CliRunner().invoke(app, ["test", str(folder)]).exception)  # type: ignore[arg-type]
    assert text is not None
    assert "the rules do not load: " in text
    assert "rule.yaml:6:1: error: unknown key `afer` in trigger [unknown-key]" in text
    assert "(did you mean `after`?)" in text


NESTED = "event.rows.all(x, event.rows.all(y, x.a + y.b + x.c + y.d > 1))"


def test_an_expression_that_comes_near_to_what_one_may_cost_is_noted(folder: Path) -> None:
    leave_only(folder, "none")
    rule = "trigger: t\npurpose: marketing\non: {event: ping, where: event.total > 5}\nsend: none\n"
    (folder / "templates" / "none.liquid").write_text("---\nsubject: s\n---\nx\n--- text ---\nx\n")
    (folder / "rule.yaml").write_text(f"{rule}when: '{NESTED}'\n")
    code, out = run("check", folder)
    [note] = [line for line in out.splitlines() if "costly-expression" in line]
    text = "note: this may take 14,434 steps of the 20,000 that an expression may [costly-expression]"
    assert (code, note) == (0, f"{folder}/rule.yaml:5:7: {text}")
    (folder / "rule.yaml").write_text(f"{rule}when: '{NESTED.replace(' + x.c + y.d', '')}'\n")
    assert codes(folder) == []


def test_the_cost_of_each_document_is_printed_on_request(folder: Path) -> None:
    leave_only(folder, "none")
    rule = "trigger: t\npurpose: marketing\non: {event: ping, where: event.total > 5}\nsend: none\nkey: user.id\n"
    score = "---\nscore: s\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: ping, points: 1}\n"
    (folder / "rule.yaml").write_text(rule + score)
    assert "step" not in run("check", folder)[1]
    assert run("check", "--costs", folder)[1].splitlines()[-4:-2] == [
        f"trigger t: at most 6 steps in 2 expressions; the most expensive has 4 of 20,000, at {folder}/rule.yaml:3:26",
        f"score s: at most 1 step in 1 expression; the most expensive has 1 of 20,000, at {folder}/rule.yaml:9:28",
    ]
    output = json.loads(run("check", "--json", folder)[1])
    assert output["cost_limit"] == 20_000
    assert output["costs"][0] == {
        **{"document": "trigger t", "path": f"{folder}/rule.yaml", "line": 3, "column": 26},
        **{"dearest": 4, "total": 6, "expressions": 2},
    }
    assert output["events"] == [{"event": "ping", "path": "fast", "reason": ""}]


def test_costs_name_the_events_that_take_the_fast_path(folder: Path) -> None:
    leave_only(folder, "none")
    (folder / "templates" / "none.liquid").write_text("---\nsubject: s\n---\nx\n--- text ---\nx\n")
    (folder / "rule.yaml").write_text(
        "score: s\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: [ping, pong], points: 1}\n---\n"
        "trigger: t\nowner: a\npurpose: marketing\non: ping\nunless: stop\nafter: 1h\nsend: none\n"
    )
    assert [line for line in run("check", "--costs", folder)[1].splitlines() if " path: " in line] == [
        "fast path: pong",
        "general path: ping, because trigger t begins with each",
        "general path: stop, because `unless` of trigger t reads it",
    ]
    events = json.loads(run("check", "--json", folder)[1])["events"]
    assert events[1] == {"event": "pong", "path": "fast", "reason": ""}


def test_each_rule_says_whether_the_order_of_arrival_can_change_its_answer() -> None:
    found = check_paths([EXAMPLES]).found
    notes = {each.message.split("`")[1]: each for each in found if each.code == "order-sensitive"}
    assert set(notes) == {"back-in-stock", "cart-abandoned", "win-back"}
    assert "`unless`" in notes["cart-abandoned"].message
    assert notes["cart-abandoned"].hint.startswith("settle: 1m")


def test_the_examples_fit_their_catalogue() -> None:
    checked = check_paths([EXAMPLES])
    assert [each.path for each in checked.folder.catalogues] == [str(EXAMPLES / "events.yaml")]
    assert (checked.count("error"), checked.count("warning")) == (0, 0)


def test_settling_bounds_the_order_of_arrival(folder: Path) -> None:
    ended = 'unless: x\nsettle: 90s\ncases: [{name: ended, given: [{at: "10:00", x: {}}], expect: []}]\n'
    write_rule(folder, data="{order_id: '1', quantity: 1, total: 1, items: '[]', missing: 1}", more=ended)
    leave_only(folder, "template-variable")
    [note] = check_paths([folder]).found
    assert note.message.startswith("`t`: any order of arrival within 1m30s gives the same answer; beyond, ")


def test_settling_does_not_bound_what_a_score_counts(folder: Path) -> None:
    rule = "trigger: t\nowner: a\npurpose: marketing\non: ping\nsettle: 1m\nwhen: score.s < 2\nsend: none\n"
    score = "---\nscore: s\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: ping, points: 1}\n"
    leave_only(folder, "none")
    (folder / "templates" / "none.liquid").write_text("---\nsubject: s\n---\nx\n--- text ---\nx\n")
    (folder / "rule.yaml").write_text(rule + score)
    [note] = [each for each in check_paths([folder]).found if each.code == "order-sensitive"]
    assert "same answer, except that score.s counts every event that arrived before the decision; " in note.message


@pytest.mark.parametrize(
    ("texts", "excluding"),
    [
        (["event.a > 5 && event.a < 5"], "< 5"),
        (["event.a >= 5 && event.a < 5"], "< 5"),
        (["event.a > 5", "event.a == 4"], "== 4"),
        (["event.a == 1 && event.a == 2"], "== 2"),
        (['event.a == "x" && event.a == "y"'], '== "y"'),
        (["event.a == true && event.a == false"], "== false"),
        (["size(event.a) < 0"], "< 0"),
        (["5 < event.a && -1 > event.a"], "> event.a"),
        (["(event.a > 5 && has(event.b)) && event.a < 1"], "< 1"),
        (["false"], "false"),
    ],
)
def test_the_comparison_that_excludes_those_before_it_is_pointed_at(texts: list[str], excluding: str) -> None:
    found = contradiction(texts)
    assert found is not None
    assert texts[found.text][found.offset :].startswith(excluding)


@pytest.mark.parametrize(
    "texts",
    [
        ["event.a > 5 && event.a < 6"],
        ["event.a >= 5 && event.a <= 5"],
        ["event.a > 5 || event.a < 5"],
        ["event.a > 5 && event.b < 5"],
        ['event.a != "x" && event.a == "x" || true'],
        ["event.a > event.b && event.a < event.b"],
        ["event.a[0] > 5 && event.a[1] < 5"],
        ["true"],
    ],
)
def test_conditions_that_some_value_can_fulfil_are_not_reported(texts: list[str]) -> None:
    assert contradiction(texts) is None


@pytest.mark.parametrize("key", ["sum", "distinct"])
def test_what_a_metric_measures_is_looked_up_in_the_catalogue_too(folder: Path, key: str) -> None:
    (folder / "metric.yaml").write_text(f"metric: spent\nevent: ping\nwithin: 1d\n{key}: event.totl\n")
    (folder / "events.yaml").write_text("events:\n  ping: {total: number}\n")
    leave_only(folder, "none")
    found = check_paths([folder]).found
    assert [(each.code, each.line) for each in found] == [("unknown-property", 4)]


def test_rules_that_are_order_sensitive_are_named_once_together(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t.liquid").write_text("---\nsubject: s\n---\nx\n--- text ---\nx\n")
    rule = "trigger: {}\npurpose: marketing\non: ping\nsend: t\ncap: {{max: 1, per: 1d}}\n"
    (tmp_path / "rules.yaml").write_text("---\n".join(rule.format(name) for name in ("a", "b", "c")))
    for form in ("text", "github"):
        output = run("check", tmp_path, "--format", form)[1]
        assert output.count("order-sensitive") <= 3, output  # the note, its title or its hint
        assert output.count("can change the answer: a, b, c") == 1, output
    assert run("check", tmp_path)[1].splitlines()[-1] == "1 rule file, 1 template: 0 errors, 0 warnings, 3 notes"
