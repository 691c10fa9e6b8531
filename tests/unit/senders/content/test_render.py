"""Templates: what they render, their limits, and those in examples/."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from schemas.vocabulary import DeliveryReason
from senders.content.message import Mail, Mailbox, compose
from senders.content.render import TemplateError, parse_template, template_faults

NOW = datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[4] / "examples" / "templates"
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
        parse_template("t", body).render(data or {}, {"id": "u1"}, NOW)
    return refused.value


def test_a_template_gives_sender_subject_html_and_text() -> None:
    content = parse_template("t", FULL).render({"n": 3}, {"id": "u1", "name": "Ann <b>"}, NOW)
    assert content.sender is not None
    assert content.sender.address == "shop@harbour.example"
    assert content.subject == "Hello Ann <b>"
    assert content.text.strip() == "3 Ann <b>"
    assert "Ann &lt;b&gt;" in content.html


@pytest.mark.parametrize("white", ["\r\n\t", "\v", "\f", " \v\n", "\x85", "\u2028", "\u2029"])
def test_white_space_in_a_subject_becomes_one_space(white: str) -> None:
    body = simple("x").replace("subject: s", 'subject: " {{ title }}\\n is back"')
    content = parse_template("t", body).render({"title": f"Kind of Blue{white}LP"}, {}, NOW)
    assert content.subject == "Kind of Blue LP is back"


def test_a_soft_line_break_in_a_value_is_a_line_end_in_a_body() -> None:
    content = parse_template("t", simple("{{ title }}", "{{ title }}")).render({"title": "Kind of\vBlue\fLP"}, {}, NOW)
    assert (content.html, content.text) == ("Kind of\nBlue\nLP\n", "Kind of\nBlue\nLP\n")


BLANKS: list[Any] = [None, "", " ", "\t\n", "\v", "\u00a0", "\u200b", " \ufeff\u200e", "\u3164", "\u2800\ufe0f"]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("place", ["user", "data", "inside", "item"])
def test_a_blank_value_from_any_source_counts_as_missing(blank: object, place: str) -> None:
    name = {"user": "user.name", "data": "name", "inside": "cart.name", "item": "names[0]"}[place]
    data = {"name": blank, "cart": {"name": blank}, "names": [blank, "x"]}
    user = {"id": "u1", "name": blank}

    def html(source: str) -> str:
        return parse_template("t", simple(source)).render(data, user, NOW).html.strip()

    with pytest.raises(TemplateError) as refused:
        html(f"Hello {{{{ {name} }}}},")
    assert (refused.value.reason, refused.value.detail) == (DeliveryReason.UNDEFINED, name)
    assert html(f"Hello {{{{ {name} | default: 'you' }}}},") == "Hello you,"
    assert html(f"Good news{{% if {name} %}}, {{{{ {name} }}}}{{% endif %}}!") == "Good news!"
    assert html(f"{{% unless {name} %}}nobody{{% endunless %}}") == "nobody"
    for other in ("blank", "empty", "''", '""', "nil"):
        assert html(f"{{% if {name} == {other} %}}same{{% endif %}}") == "same"
        assert html(f"{{% if {name} != {other} %}}other{{% endif %}}") == ""
    assert html(f"{{% if {name} and true or false %}}yes{{% endif %}}") == ""
    assert html(f"{{% if true and {name} %}}yes{{% endif %}}") == ""
    assert html(f"{{% case {name} %}}{{% when blank %}}none{{% else %}}some{{% endcase %}}") == "none"


def test_a_value_that_is_not_blank_keeps_its_meaning_in_conditions() -> None:
    data = {"no": False, "zero": 0, "name": "Ann", "list": [], "word": "0"}

    def html(source: str) -> str:
        return parse_template("t", simple(source)).render(data, {}, NOW).html.strip()

    assert html("{{ no }} {{ zero }} {{ word }}") == "false 0 0"
    assert html("{% if zero %}zero{% endif %}{% if word %} word{% endif %}{% if no %} no{% endif %}") == "zero word"
    assert html("{% if name == 'Ann' and name != blank and '' != name %}Ann{% endif %}") == "Ann"
    assert html("{% if list == empty %}none{% endif %}{% if list %} list{% endif %}") == "none list"
    assert html("{% if no == blank %}blank{% endif %}{% if zero == '' %}blank{% endif %}") == ""
    assert html("{% case name %}{% when '' %}none{% when 'Ann' %}Ann{% endcase %}") == "Ann"


def test_a_text_that_the_template_makes_may_be_blank_and_is_then_false() -> None:
    source = "{% assign s = '' %}{% for n in l %}{{ s }}{{ n }}{% assign s = ', ' %}{% endfor %}"
    assert parse_template("t", simple(source)).render({"l": [1, 2]}, {}, NOW).html.strip() == "1, 2"
    source = "{% capture n %} {{ user.name | default: '' }} {% endcapture %}Hello{% if n %},{{ n }}{% endif %}"
    assert parse_template("t", simple(source)).render({}, {"name": ""}, NOW).html.strip() == "Hello"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("{{ items | first }}", "items | first"),
        ("{{ items[3] }}", "items[3]"),
        ("{{ items | find: 'a', 2 }}", "items | find: 'a', 2"),
        ("{{ cart.note | upcase }}", "cart.note"),
        ("{{ price | times: 2 }}", "price"),
        ("{{ 5 | plus: price }}", "price"),
        ("{{ when | date: '%Y' }}", "when"),
        ("{% echo price %}", "price"),
        ("{% for n in gone %}{{ n }}{% endfor %}", "gone"),
        ("{{ items | first | upcase }}", "… | upcase"),
    ],
)
def test_a_value_that_would_show_as_nothing_or_zero_fails_the_mail_and_is_named(html: str, expected: str) -> None:
    error = refusal(
        simple("<p>\n" + html), {"items": [], "cart": {"note": None}, "price": None, "when": " ", "gone": None}
    )
    assert (error.reason, error.detail) == (DeliveryReason.UNDEFINED, expected)


def test_data_nested_too_deeply_fails_the_mail() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    assert refusal(simple("x"), {"deep": deep}).reason is DeliveryReason.RENDER_LIMIT


def test_a_rendering_uses_the_time_that_it_is_given() -> None:
    source = "{{ now | date: '%F %R %Z' }}, {{ 'now' | date: '%F %R' }}, {{ today | date: '%F' }}"
    content = parse_template("t", simple(source)).render({}, {}, NOW)
    assert content.html.strip() == "2026-01-05 10:30 UTC, 2026-01-05 10:30, 2026-01-05"


@pytest.mark.parametrize("subject", ["{% if no %}x{% endif %}", "{{ '' }}", " {{ ' ' }}\u200b"])
def test_a_subject_that_is_blank_with_this_data_fails_the_mail(subject: str) -> None:
    error = refusal(fronted(f'subject: "{subject}"'))
    assert (error.reason, error.detail) == (DeliveryReason.HEADER, "Subject: blank with this data")


def fronted(*lines: str) -> str:
    return "\n".join(["---", *lines, "---", "<p>x</p>", "--- text ---", "x", ""])


SHOP = fronted('subject: "Hello"', 'from: "{{ seller }} <{{ box }}@shop.example>"', "reply_to: '{{ clerk }}'")


def test_the_senders_and_the_address_for_replies_are_liquid() -> None:
    data = {"seller": "Läden, Ann", "box": "mail", "clerk": "ann@bücher.example"}
    content = parse_template("t", SHOP).render(data, {}, NOW)
    assert content.sender == Mailbox("Läden, Ann", "mail@shop.example")
    assert content.reply_to == Mailbox("", "ann@xn--bcher-kva.example")


@pytest.mark.parametrize(
    "seller", ['Ann" <eve@evil.example>, "', "eve@evil.example", "Eve <eve@evil.example>", "a\r\nBcc: eve@evil.example"]
)
def test_a_value_in_a_name_cannot_become_an_address_or_a_header(seller: str) -> None:
    content = parse_template("t", SHOP).render({"seller": seller, "box": "m", "clerk": "a@b.example"}, {}, NOW)
    assert content.sender is not None
    composed = bytes(compose(Mail("ab" * 16, content.sender, "a@b.example", "s", "x", "x", NOW, "shop.example")))
    parsed: Any = message_from_bytes(composed, policy=policy.SMTP)
    assert [each.addr_spec for each in parsed["From"].addresses] == ["m@shop.example"]
    assert parsed["Bcc"] is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"box": "two words"}, "From: not a plain mail address"),
        ({"box": "zoë"}, "From: the part before the @ must be ASCII"),
        ({"clerk": "a@b.example, c@d.example"}, "Reply-To: not a plain mail address"),
        ({"clerk": "Ann"}, "Reply-To: not a plain mail address"),
    ],
)
def test_a_mailbox_that_is_wrong_with_this_data_fails_the_mail_and_the_error_omits_the_data(
    data: dict[str, str], expected: str
) -> None:
    error = refusal(SHOP, {"seller": "Ann", "box": "mail", "clerk": "a@b.example"} | data)
    assert error.reason is DeliveryReason.HEADER
    assert error.detail.startswith(expected)


@pytest.mark.parametrize(
    ("lines", "expected", "at"),
    [
        (["subject: x", "reply-to: a@b.example"], "unknown key `reply-to`; did you mean `reply_to`?", "reply-to"),
        (["subject: x", "sbject: y"], "unknown key `sbject`; did you mean `subject`?", "sbject"),
        (
            ["subject: x", "colour: red"],
            "unknown key `colour`; known here: subject, preheader, from, reply_to",
            "colour",
        ),
        (["subject: x", "subject: y"], "`subject` is written twice", "subject: y"),
        (["subject: "], "`subject` is empty; it is required", "subject"),
        (['subject: " "'], "`subject` is empty; it is required", "subject"),
        (['subject: "\u200b"'], "`subject` is empty; it is required", "subject"),
        (["preheader: x"], "`subject` is required, as text", "preheader"),
        (["subject: x", "preheader:"], "`preheader` is empty; leave it out", "preheader"),
        (["subject: x", "preheader: 3"], "`preheader` is not text; put it in quotes", "preheader"),
        (["subject: yes"], "`subject` is not text; put it in quotes", "subject"),
        (["subject: 2026-11-27"], "`subject` is not text; put it in quotes", "subject"),
        (["subject: x", "from: nobody"], "From: not a plain mail address", "nobody"),
        (["subject: x", "from: Shop <a@b..example>"], "From: the domain has an empty part", "a@b"),
        (["subject: x", "from: a@b.example, Shop <c@d.example>"], "From: not one mailbox", "a@b"),
        (["subject: x", "reply_to: a@b.example, c@d.example"], "Reply-To: not a plain mail address", "a@b"),
        (["subject: x", "from: zoë@b.example"], "From: the part before the @ must be ASCII", "zoë"),
        (["subject: [x"], "not YAML", ""),
        (["subject: x", "to: a@b.example"], "unknown key `to`", "to:"),
    ],
)
def test_each_fault_of_the_front_matter_has_its_place(lines: list[str], expected: str, at: str) -> None:
    body = fronted(*lines)
    [fault] = template_faults("t", body)
    assert fault.detail.startswith(f"t: front matter: {expected}")
    assert not at or body[fault.index :].startswith(at)


def test_all_faults_of_a_template_are_reported_at_once() -> None:
    body = fronted('subject: "{% if %}"', "colour: red", "from: nobody").replace("<p>x</p>", "{% if x %}")
    parts = [fault.detail.removeprefix("t: ").split(":")[0] for fault in template_faults("t", body)]
    assert parts == ["front matter", "front matter", "subject", "HTML part"]


def test_a_byte_order_mark_before_the_front_matter_changes_nothing() -> None:
    assert parse_template("t", "\ufeff" + FULL).render({"n": 3}, {"name": "Ann"}, NOW).subject == "Hello Ann"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_of_utf_16_without_its_mark_is_named(encoding: str) -> None:
    [fault] = template_faults("t", FULL.encode(encoding).decode())
    assert fault.detail == "t: it is UTF-16; save the file as UTF-8"


def test_the_preheader_is_first_in_the_body() -> None:
    html = parse_template("t", FULL).render({"n": 3}, {"id": "u1"}, NOW).html
    assert '<body class="x"><div' in html
    assert html.index("3 things") < html.index("<p>")


def test_a_missing_name_is_an_error_only_where_it_is_shown() -> None:
    assert parse_template("t", simple("{% if user.name %}x{% endif %}")).render({}, {}, NOW).html == "\n"
    assert refusal(simple("{{ nothing }}")).reason is DeliveryReason.UNDEFINED


@pytest.mark.parametrize(
    ("html", "named"),
    [("{{ nothing }}", "nothing"), ("{{ cart.total }}", "cart.total"), ("{{ user.nam }}", "user.nam")],
)
def test_the_error_names_what_is_missing(html: str, named: str) -> None:
    assert refusal(simple(html), {"cart": {}}).detail == named


@pytest.mark.parametrize("before", ['subject: "', 'preheader: "', "<body>\n", "--- text ---\n"])
def test_an_error_has_its_place_in_the_file(before: str) -> None:
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
def test_a_template_that_exceeds_a_limit_or_cannot_be_rendered_fails_with_its_reason(
    html: str, reason: DeliveryReason
) -> None:
    data = {"n": 1, "long": "x" * 1000, "huge": 10**40}
    error = refusal(simple(html), data)
    assert error.reason is reason
    assert "xxx" not in error.detail


@pytest.mark.parametrize(
    ("body", "expected"),
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
def test_the_error_of_a_template_names_the_part(body: str, expected: str) -> None:
    with pytest.raises(TemplateError, match="t: ") as refused:
        parse_template("t", body)
    assert expected in refused.value.detail


def test_windows_line_ends_are_accepted() -> None:
    content = parse_template("t", simple("a", "b").replace("\n", "\r\n")).render({}, {}, NOW)
    assert (content.html.strip(), content.text.strip()) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("cart-reminder", {"items": ["Blue <Train>", "Être"], "total": 27.5, "cart_id": "c/9"}, "$27.50"),
        ("cart-reminder", {"items": [f"CD {n}" for n in range(14)], "total": 1200, "cart_id": "c"}, "4 more"),
        ("back-in-stock", {"album": "Blue <Train>", "sku": "cd/8", "copies": 1}, "1 copy"),
        ("back-in-stock", {"album": "Être", "sku": "cd-8", "copies": 40}, "40 copies"),
        ("thank-you", {"order_id": "o-17", "total": 9.99, "quantity": 1}, "o-17"),
        ("we-miss-you", {}, "Hello"),
    ],
)
@pytest.mark.parametrize("user", [{"id": "u1"}, {"id": "u1", "name": "Zoë & Co"}])
def test_the_examples_render_with_and_without_a_name(
    name: str, data: dict[str, Any], shown: str, user: dict[str, Any]
) -> None:
    content = parse_template(name, (EXAMPLES / f"{name}.liquid").read_text()).render(data, user, NOW)
    assert content.subject[0].isupper() or content.subject.startswith(user.get("name", "-"))
    assert shown in content.text or shown in content.html
    assert "<Train>" not in content.html
    if "name" in user:
        assert "Zoë &amp; Co" in content.html
        assert "Zoë & Co" in content.text


def test_a_part_without_tags_keeps_to_the_limit_too() -> None:
    found = refusal(simple("x" * 500_001))
    assert found.reason is DeliveryReason.RENDER_LIMIT
