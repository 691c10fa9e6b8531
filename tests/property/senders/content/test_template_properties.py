"""Properties of templates: whatever they say and whatever the data, a mail or a named reason comes of it."""

import copy
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from liquid import BoundTemplate
from liquid.builtin.tags.for_tag import ForTag
from liquid.exceptions import LiquidError

from schemas.vocabulary import DeliveryReason
from senders.content.blanks import is_blank, treat_blank_as_missing, without_blanks
from senders.content.liquid_dialect import compile_part
from senders.content.render import Content, TemplateError, parse_template
from senders.content.rendering import LONGEST_OUTPUT, rendered_pieces

NOW = datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
BLANK = st.sampled_from([None, "", " ", "\t\r\n", "\v\f", "\u00a0", "\u200b", "\u3164", "\u2800\ufe0f"])
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
TEXT = st.text(max_size=12)
SCALAR = st.one_of(BLANK, TEXT, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
FILTERS = sorted(compile_part("", as_html=False).env.filters)
ARGUMENT = st.sampled_from(
    ["v", "w", "'a'", "''", "' '", "0", "-1", "2", "1.5", "99999999999", "nil", "true", "v.a", "'%F %s'"]
)
CALL = st.builds(
    lambda name, given: f"{name}: {', '.join(given)}" if given else name,
    st.sampled_from(FILTERS),
    st.lists(ARGUMENT, max_size=2),
)
EXPRESSION = st.builds(lambda value, calls: " | ".join([value, *calls]), ARGUMENT, st.lists(CALL, max_size=3))
PIECE = st.one_of(
    EXPRESSION.map(lambda each: f"{{{{ {each} }}}}"),
    st.builds(lambda one, two: f"{{% if {one} == {two} and {one} %}}x{{% endif %}}", ARGUMENT, ARGUMENT),
    st.builds(lambda one, two: f"{{% case {one} %}}{{% when {two} %}}x{{% endcase %}}", ARGUMENT, ARGUMENT),
    EXPRESSION.map(lambda each: f"{{% assign v = {each} %}}{{{{ v }}}}"),
    st.just("{% for i in v %}{{ i }}{% endfor %}"),
    st.text("{}%|'\"<>& ab\n", max_size=20),
)


def template(source: str) -> str:
    return f"---\nsubject: s\n---\n{source}\n--- text ---\n{source}\n"


def made(source: str, data: dict[str, Any]) -> Content | TemplateError:
    try:
        return parse_template("t", template(source)).render(data, {"id": "u1"}, NOW)
    except TemplateError as error:
        return error


@given(st.lists(PIECE, max_size=3).map("".join), VALUE, VALUE)
@example("{% if a %}" * 2000, None, None)
@example("{{ " + "v[" * 2000 + "]" * 2000 + " }}", None, None)
@example("{{ v | round: 99999999999 }}", 1.5, None)
@example("{{ v | date: '%Q %' }}", 0, None)
@example("{{ nil }}", None, None)
@example("{% echo nil %}", None, None)
def test_every_template_and_data_give_a_mail_or_a_reason(source: str, v: Any, w: Any) -> None:
    found = made(source, {"v": v, "w": w})
    if isinstance(found, TemplateError):
        assert found.detail
        assert 0 <= found.index <= len(template(source))


@given(VALUE)
@example("a\x00b")
@example("\x1f")
@example("a\tb\r\nc\vd\fe")
@example({"a": "\x07"})
@example([None, "\x07", "a\x07"])
def test_only_blank_values_and_control_characters_cannot_be_shown(value: Any) -> None:
    found = made("{{ v }}", {"v": value})
    refused = isinstance(found, TemplateError) and found.reason is DeliveryReason.TEMPLATE_INVALID
    assert refused == (not is_blank(value) and any(map(CONTROL.search, texts(value))))
    if not refused:
        assert isinstance(found, TemplateError) == is_blank(value)
    if isinstance(found, TemplateError) and not refused:
        assert (found.reason, found.detail) == (DeliveryReason.UNDEFINED, "v")


def texts(value: Any) -> list[str]:
    """The texts in a value as a template shows them: those in an object with escapes, and no blank item of a list."""
    if isinstance(value, list):
        return [text for item in value if not is_blank(item) for text in texts(item)]
    return [value] if isinstance(value, str) else []


@given(BLANK, st.sampled_from(["user.name", "v", "w.name"]))
def test_blank_and_missing_give_the_same_mail(blank: Any, name: str) -> None:
    source = (
        f"{{% if {name} %}}yes{{% else %}}no{{% endif %}}{{{{ {name} | default: 'you' }}}}"
        f"{{% if {name} == blank %}}b{{% endif %}}{{% unless {name} != '' %}}e{{% endunless %}}"
    )
    parsed = parse_template("t", template(source))
    there = parsed.render({"v": blank, "w": {"name": blank}}, {"name": blank}, NOW)
    assert there == parsed.render({"w": {}}, {}, NOW)
    assert there.text.strip() == "noyoube"


@given(VALUE, VALUE)
def test_text_is_escaped_in_the_html_part(v: Any, w: Any) -> None:
    found = made("{{ v }}{{ w | default: 'x' }}", {"v": v, "w": w})
    assert isinstance(found, TemplateError) or not set('<"') & set(found.html)


LOOP_OPTION = st.sampled_from(
    ["", " limit: 2", " offset: 1", " offset: continue", " reversed", " limit: w", " offset: v"]
)
LOOP_BODY = st.lists(
    st.sampled_from(
        [
            *(
                "{{ i }}",
                "{{ i.a }}",
                "{{ i.a.b }}",
                "{{ forloop.index }}/{{ forloop.length }}",
                "{{ v }}",
                "{{ a }}",
                "-",
            ),
            *("{% if forloop.last %}{% break %}{% endif %}", "{% if i == 1 %}{% continue %}{% endif %}"),
            *("{% for j in i %}{{ j }}{{ forloop.parentloop.index0 }}{% else %}none{% endfor %}", "\x07"),
            *("{% assign a = i %}", "{% cycle 'x', 'y' %}", "{% capture c %}{{ i }}{{ a }}{% endcapture %}{{ c }}"),
        ]
    ),
    max_size=5,
).map("".join)
LOOP = st.builds(
    lambda option, body: f"{{% for i in v{option} %}}{body}{{% else %}}nothing{{% endfor %}}", LOOP_OPTION, LOOP_BODY
)
PLAIN = st.sampled_from(
    ["{{ v }}", "{{ v.a }}", "{{ v.a.b }}", "{{ w }}", "{{ v[0] }}", "{{ v.size }}", "a <b>", " é\n"]
)


def part_as_liquid_has_it(source: str, *, as_html: bool) -> BoundTemplate:
    """The part by python-liquid's own loops, and node by node."""
    environment = copy.copy(compile_part("", as_html=as_html).env)
    environment.tags = {name: type(tag)(environment) for name, tag in environment.tags.items()}
    environment.tags["for"] = ForTag(environment)
    template = environment.from_string(source)
    treat_blank_as_missing(template)
    return template


def rendered(template: BoundTemplate, names: dict[str, Any]) -> str | tuple[type[Exception], str]:
    try:
        return "".join(rendered_pieces(template, names, LONGEST_OUTPUT))
    except (LiquidError, ArithmeticError, ValueError, TypeError) as error:
        return type(error), str(error.args[0]) if isinstance(error, LiquidError) else ""


@pytest.mark.parametrize("as_html", [True, False])
@given(st.lists(PLAIN | LOOP | PIECE, max_size=5).map("".join), VALUE, VALUE)
@example("{% for i in v limit: 1 %}{{ i }}{% endfor %}{% for i in v offset: continue %}{{ i }}{% endfor %}", [1, 2], 0)
@example("{% for i in v %}{{ i }}{% endfor %}{% for i in v offset: continue %}{{ i }}{% endfor %}", [1, 2], 0)
@example("{% for i in v %}a{{ i.a }}b{% endfor %}", [{"a": "<"}, {"a": 1.0}, {"b": "x"}], 0)
@example("{% for forloop in v %}{{ forloop }}{% endfor %}", ["a", "b"], 0)
def test_a_part_reads_as_python_liquid_renders_it(as_html: bool, source: str, v: Any, w: Any) -> None:
    names = without_blanks({"v": v, "w": w})
    try:
        ours, theirs = (
            compile_part(source, as_html=as_html, has_links=True),
            part_as_liquid_has_it(source, as_html=as_html),
        )
    except (LiquidError, RecursionError):
        return
    assert rendered(ours, names) == rendered(theirs, names)
