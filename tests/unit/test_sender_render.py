"""Templates: what they give, what they may not do, and the ones in examples/."""

from pathlib import Path
from typing import Any

import pytest

from schemas.vocabulary import DeliveryReason
from senders.render import TemplateError, parse_template

EXAMPLES = Path(__file__).parents[2] / "examples" / "templates"
FULL = """---
subject: "Hello {{ user.name | default: 'there' }}"
preheader: "{{ n }} things"
from: Shop <shop@harbour.example>
---
<html><body class="x"><p>{{ n }} {{ user.name | default: 'you' }}</p></body></html>
--- text ---
{{ n }} {{ user.name | default: 'you' }}
"""


def simple(html: str, text: str = "x") -> str:
    return f"---\nsubject: s\n---\n{html}\n--- text ---\n{text}\n"


def refusal(body: str, data: dict[str, Any] | None = None) -> TemplateError:
    with pytest.raises(TemplateError) as refused:
        parse_template("t", body).render(data or {}, {"id": "u1"})
    return refused.value


def test_a_template_gives_sender_subject_html_and_text() -> None:
    content = parse_template("t", FULL).render({"n": 3}, {"id": "u1", "name": "Ann <b>"})
    assert content.sender is not None
    assert content.sender.address == "shop@harbour.example"
    assert content.subject == "Hello Ann <b>"
    assert content.text.strip() == "3 Ann <b>"
    assert "Ann &lt;b&gt;" in content.html


def test_white_space_in_a_subject_is_one_blank_as_mail_programs_show_it() -> None:
    body = simple("x").replace("subject: s", 'subject: " {{ title }}\\n is back"')
    assert parse_template("t", body).render({"title": "Kind of Blue\r\n\tLP"}, {}).subject == "Kind of Blue LP is back"


def test_the_preheader_stands_first_in_the_body() -> None:
    html = parse_template("t", FULL).render({"n": 3}, {"id": "u1"}).html
    assert '<body class="x"><div' in html
    assert html.index("3 things") < html.index("<p>")


def test_a_missing_name_is_only_wrong_where_it_is_shown() -> None:
    assert parse_template("t", simple("{% if user.name %}x{% endif %}")).render({}, {}).html == "\n"
    assert refusal(simple("{{ nothing }}")).reason is DeliveryReason.UNDEFINED


@pytest.mark.parametrize(
    ("html", "named"),
    [("{{ nothing }}", "nothing"), ("{{ cart.total }}", "cart.total"), ("{{ user.nam }}", "user.nam")],
)
def test_the_missing_name_is_told(html: str, named: str) -> None:
    assert refusal(simple(html), {"cart": {}}).detail == named


@pytest.mark.parametrize("before", ['subject: "', 'preheader: "', "<body>\n", "--- text ---\n"])
def test_what_fails_is_told_with_its_place_in_the_file(before: str) -> None:
    body = '---\nsubject: "s"\npreheader: "p"\n---\n<body>\nx\n--- text ---\nx\n'
    at = body.index(before) + len(before)
    error = refusal(f"{body[:at]}Of {{{{ cart.total }}}}{body[at:]}", {"cart": {}})
    assert (error.detail, error.index) == ("cart.total", at + len("Of {{ "))


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("{% for i in (1..100000) %}x{% endfor %}", DeliveryReason.RENDER_LIMIT),
        ("{% for i in (1..9000) %}{{ long }}{% endfor %}", DeliveryReason.RENDER_LIMIT),
        ("{{ n | divided_by: 0 }}", DeliveryReason.TEMPLATE_INVALID),
        ("{% include 'other' %}", DeliveryReason.TEMPLATE_INVALID),
        ("{{ huge | currency }}", DeliveryReason.TEMPLATE_INVALID),
    ],
)
def test_a_template_that_takes_too_much_or_cannot_go_on_fails_by_name(html: str, reason: DeliveryReason) -> None:
    data = {"n": 1, "long": "x" * 1000, "huge": 10**40}
    error = refusal(simple(html), data)
    assert error.reason is reason
    assert "xxx" not in error.detail


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<p>no front matter</p>", "front matter"),
        ("---\nsubject: s\n---\n<p>x</p>", "--- text ---"),
        ("---\nfrom: a@b.example\n---\nx\n--- text ---\ny", "subject"),
        ("---\nsubject: 3\n---\nx\n--- text ---\ny", "subject"),
        ("---\nsubject: s\npreheader: [a]\n---\nx\n--- text ---\ny", "preheader"),
        ("---\nsubject: Hi {{ user.name | default: 'x' }}\n---\nx\n--- text ---\ny", "quotes"),
        ("---\nsubject: s\nfrom: nobody\n---\nx\n--- text ---\ny", "From"),
        (simple("{{ x | nofilter }"), "HTML part"),
        (simple("{% if x %}"), "HTML part"),
        (simple("x", "{% endif %}"), "text part"),
    ],
)
def test_a_faulty_template_names_the_part(body: str, told: str) -> None:
    with pytest.raises(TemplateError, match="t: ") as refused:
        parse_template("t", body)
    assert told in refused.value.detail


def test_windows_line_ends_are_as_good() -> None:
    content = parse_template("t", simple("a", "b").replace("\n", "\r\n")).render({}, {})
    assert (content.html.strip(), content.text.strip()) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("cart-reminder", {"items": ["Blue <Train>", "Être"], "total": 27.5, "cart_id": "c/9"}, "$27.50"),
        ("cart-reminder", {"items": [f"CD {n}" for n in range(14)], "total": 1200, "cart_id": "c"}, "4 more"),
        ("thank-you", {"order_id": "o-17", "total": 9.99, "quantity": 1}, "o-17"),
        ("we-miss-you", {}, "Hello"),
    ],
)
@pytest.mark.parametrize("user", [{"id": "u1"}, {"id": "u1", "name": "Zoë & Co"}])
def test_the_examples_render_with_and_without_a_name(
    name: str, data: dict[str, Any], shown: str, user: dict[str, Any]
) -> None:
    content = parse_template(name, (EXAMPLES / f"{name}.liquid").read_text()).render(data, user)
    assert content.subject[0].isupper() or content.subject.startswith(user.get("name", "-"))
    assert shown in content.text or shown in content.html
    assert "<Train>" not in content.html
    if "name" in user:
        assert "Zoë &amp; Co" in content.html
        assert "Zoë & Co" in content.text
