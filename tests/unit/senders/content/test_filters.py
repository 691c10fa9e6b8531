"""Filters: the examples of Shopify's documentation, and where python-liquid differs."""

import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.vocabulary import DeliveryReason
from senders.content.render import TemplateError, parse_template

NOW = datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
GARAGE = [
    {"title": "Vacuum", "type": "cleaning", "price": 30, "available": True},
    {"title": "Spatula", "type": "kitchen", "price": 5, "available": True},
    {"title": "Television", "type": "electronics", "price": 200.5, "available": False},
    {"title": "Garlic press", "type": "kitchen", "available": True},
]


def shown(source: str, **data: Any) -> str:
    body = f"---\nsubject: s\n---\nx\n--- text ---\n{source}"
    return parse_template("t", body).render(data, {}, NOW).text


def html(source: str, **data: Any) -> str:
    return (
        parse_template("t", f"---\nsubject: s\n---\n{source}\n--- text ---\nx").render(data, {}, NOW).html.rstrip("\n")
    )


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        # https://shopify.github.io/liquid/filters/
        ('{{ -17 | abs }} {{ 4 | abs }} {{ "-19.86" | abs }}', "17 4 19.86"),
        ('{{ "/my/fancy/url" | append: ".html" }}', "/my/fancy/url.html"),
        ("{{ 4 | at_least: 5 }} {{ 4 | at_least: 3 }}", "5 4"),
        ("{{ 4 | at_most: 5 }} {{ 4 | at_most: 3 }}", "4 3"),
        ('{{ "my GREAT title" | capitalize }}', "My great title"),
        ('{{ 1.2 | ceil }} {{ 2.0 | ceil }} {{ 183.357 | ceil }} {{ "3.5" | ceil }}', "2 2 184 4"),
        ('{{ "a, b" | split: ", " | concat: c | join: "-" }}', "a-b-1-2"),
        ('{{ "March 14, 2016" | date: "%b %d, %y" }}', "Mar 14, 16"),
        ('{{ "" | default: 2.99 }} {{ 4.99 | default: 2.99 }}', "2.99 4.99"),
        ("{{ false | default: true }} {{ false | default: true, allow_false: true }}", "true false"),
        ("{{ 16 | divided_by: 4 }} {{ 5 | divided_by: 3 }} {{ 20 | divided_by: 7.0 }}", "4 1 2.857142857142857"),
        ('{{ "Parker Moore" | downcase }}', "parker moore"),
        (
            "{{ \"Have you read 'James & the Giant Peach'?\" | escape }}",
            "Have you read &#39;James &amp; the Giant Peach&#39;?",
        ),
        ('{{ "1 < 2 & 3" | escape_once }} {{ "1 &lt; 2 &amp; 3" | escape_once }}', "1 &lt; 2 &amp; 3 1 &lt; 2 &amp; 3"),
        ('{{ "Ground control to Major Tom." | split: " " | first }}', "Ground"),
        ("{{ 1.2 | floor }} {{ 183.357 | floor }}", "1 183"),
        ('{{ "John, Paul, George" | split: ", " | join: " and " }}', "John and Paul and George"),
        ('{{ "Ground control to Major Tom." | split: " " | last }}', "Tom."),
        ('{{ garage | map: "type" | uniq | join: ", " }}', "cleaning, kitchen, electronics"),
        ("{{ 3 | modulo: 2 }} {{ 24 | modulo: 7 }} {{ 183.357 | modulo: 12 }}", "1 3 3.357"),
        ('{{ "Ann\nLee" | newline_to_br }}', "Ann<br />\nLee"),
        ('{{ "I strained" | remove: "rain" }} {{ "rain, rain" | remove_first: "rain" }}', "I sted , rain"),
        ('{{ "Take my" | replace_first: "my", "your" }}', "Take your"),
        ('{{ "apples, oranges" | split: ", " | reverse | join: ", " }}', "oranges, apples"),
        ("{{ 1.2 | round }} {{ 2.7 | round }} {{ 183.357 | round: 2 }}", "1 3 183.36"),
        ('{{ "Ground control to Major Tom." | size }}', "28"),
        ('{{ "Liquid" | slice: 0 }} {{ "Liquid" | slice: 2, 5 }} {{ "Liquid" | slice: -3, 2 }}', "L quid ui"),
        (
            '{{ "zebra, octopus, giraffe, Sally Snake" | split: ", " | sort | join: ", " }}',
            "Sally Snake, giraffe, octopus, zebra",
        ),
        ('{{ "zebra, giraffe, Sally" | split: ", " | sort_natural | join: ", " }}', "giraffe, Sally, zebra"),
        ('{{ "Have <em>you</em> read <strong>Ulysses</strong>?" | strip_html }}', "Have you read Ulysses?"),
        ('{{ garage | sum: "price" }}', "235.5"),
        ('{{ "Ground control to Major Tom." | truncate: 20 }}', "Ground control to..."),
        ('{{ "Ground control to Major Tom." | truncate: 25, ", and so on" }}', "Ground control, and so on"),
        ('{{ "Ground control to Major Tom." | truncate: 20, "" }}', "Ground control to Ma"),
        ('{{ "Ground control to Major Tom." | truncatewords: 3 }}', "Ground control to..."),
        ('{{ "Ground control to Major Tom." | truncatewords: 3, "--" }}', "Ground control to--"),
        (
            '{{ "john@liquid.com" | url_encode }} {{ "Tetsuro Takara" | url_encode }}',
            "john%40liquid.com Tetsuro+Takara",
        ),
        ('{{ "%27Stop%21%27+said+Fred" | url_decode }}', "'Stop!' said Fred"),
        ('{{ garage | where: "type", "kitchen" | map: "title" | join: ", " }}', "Spatula, Garlic press"),
        ('{{ garage | where: "available" | size }}', "3"),
    ],
)
def test_shopifys_examples_give_the_documented_results(source: str, answer: str) -> None:
    assert shown(source, garage=GARAGE, c=[1, 2]) == answer


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ('{{ "abcdef" | truncate: 2 }}', "..."),
        ('{{ "abcdef" | truncate: 6 }}', "abcdef"),
        ('{{ "abcdef" | truncate: 5, "…" }}', "abcd…"),
        ('{{ "one  two three" | truncatewords: 3 }}', "one  two three"),
        ('{{ "one  two three" | truncatewords: 2 }}', "one two..."),
        ('{{ l | map: "p" | compact | size }}', "2"),
        ('{{ l | compact: "p" | size }}', "2"),
        ('{{ l | map: "p" | join: "," }}', "2,,,1"),
        ('{{ l | sort: "p" | map: "n" | join: "," }}', "d,a,b,c"),
        ('{{ l | sort_natural: "p" | map: "n" | join: "," }}', "d,a,b,c"),
        ('{{ mixed | sort | join: "," }}', "1,3,"),
        ('{{ l | where: "p", 2 | size }} {{ l | where: "p" | size }}', "1 2"),
        ('{{ stock | where: "left" | size }} {{ stock | where: "left", 1 | size }}', "2 1"),
        (
            '{{ stock | reject: "left" | size }} {{ stock | has: "left", 0 }} {{ stock | find_index: "left", true }}',
            "1 true 2",
        ),
        ('{{ l | sum: "p" }} {{ words | sum }} {{ floats | sum }}', "3 0 0.3"),
        ("{{ 2.5 | round }} {{ -2.5 | round }} {{ 1.005 | round: 2 }} {{ 185 | round: -1 }}", "3 -3 1.01 190"),
        ("{{ -7 | modulo: 3 }} {{ -7.5 | modulo: 2 }}", "2 0.5"),
        ('{{ "a,b,," | split: "," | size }} {{ "" | split: "," | size }} {{ "," | split: "," | size }}', "2 0 0"),
        (
            '{{ "xabx" | replace_last: "x", "y" }} {{ "xab" | replace_last: "x", "y" }} {{ "xab" | remove_last: "x" }}',
            "xaby yab ab",
        ),
        ('{{ "abc" | slice: -5, 3 }}|{{ "abc" | slice: 0, -1 }}|{{ "abc" | slice: 5 }}', "||"),
        ('{{ words | slice: -2, 2 | join: "," }}', "c,B"),
        ("{{ words | sort | first }} {{ words | last }}", "B B"),
        ('{{ yes | append: "!" }} {{ flags | join: "," }} {{ flags }}', "true! true,false truefalse"),
        ('{{ "a" | append: nil }}', "a"),
        ('{{ "a<script>x</script>b<!-- c -->d<style>e</style></script>f" | strip_html }}', "abdf"),
        ('{{ ones | uniq | join: "," }}', "1,true,2"),
        ('{{ l | uniq: "p" | map: "n" | join: "," }}', "a,b,d"),
        ("{{ 5 | size }} {{ yes | size }}", "0 0"),
        (
            '{{ hollow | default: "x" }}{{ spaces | default: "y" }}{{ none | default: "z" }}{{ no | default: "n" }}',
            "xyzn",
        ),
        ('{{ zero | default: "x" }} {{ l2 | default: "none" }}', "0 none"),
    ],
)
def test_filters_that_differ_from_python_liquids(source: str, answer: str) -> None:
    data: dict[str, Any] = {
        "l": [{"n": "a", "p": 2}, {"n": "b", "p": None}, {"n": "c"}, {"n": "d", "p": 1}],
        "mixed": [3, None, 1],
        "stock": [{"left": 0}, {"left": None}, {"left": 1} | {"left": True}],
        "words": ["a", "c", "B"],
        "floats": [0.1, 0.2],
        "flags": [True, False],
        "ones": [1, True, 2, 1],
        "yes": True,
        "no": False,
        "hollow": "",
        "spaces": "  ",
        "none": None,
        "zero": 0,
        "l2": [],
    }
    data["stock"] = (
        [{"left": 0}, {"left": None}, {"left": True}, {"left": 1}]
        if "find_index" in source
        else [
            {"left": 0},
            {"left": None},
            {"left": 1},
        ]
    )
    assert shown(source, **data) == answer


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ('{{ mixed | sort | join: "," }}', DeliveryReason.TEMPLATE_INVALID),
        ("{{ 5 | divided_by: 0 }}", DeliveryReason.TEMPLATE_INVALID),
        ("{{ 5 | modulo: 0.0 }}", DeliveryReason.TEMPLATE_INVALID),
        ('{{ "abc" | truncate: "many" }}', DeliveryReason.TEMPLATE_INVALID),
        ('{{ "abc" | slice: 1.5 }}', DeliveryReason.TEMPLATE_INVALID),
        ('{{ words | map: "p" }}', DeliveryReason.TEMPLATE_INVALID),
        ('{{ holes | map: "p" }}', DeliveryReason.UNDEFINED),
        ("{{ 'ask us' | currency }}", DeliveryReason.TEMPLATE_INVALID),
        ("{{ yes | currency }}", DeliveryReason.TEMPLATE_INVALID),
        ("{{ price | currency }}", DeliveryReason.UNDEFINED),
        ("{{ empty_list | first }}", DeliveryReason.UNDEFINED),
        ("{{ empty_list | last }}", DeliveryReason.UNDEFINED),
    ],
)
def test_a_filter_that_cannot_take_its_value_fails_the_mail(source: str, reason: DeliveryReason) -> None:
    data = {"mixed": [1, "a"], "words": ["a"], "holes": [None], "price": None, "empty_list": [], "yes": True}
    with pytest.raises(TemplateError) as refused:
        shown(source, **data)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ('{{ l | sum: "p" }}', "4"),
        ("{{ x | times: 2.0 }} {{ x }} {{ 2.0 }}", "98 49 2"),
        ("{{ 5 | divided_by: 2.5 }} {{ 5.0 | divided_by: 2 }}", "2 2.5"),
        ("{{ 1.5 | plus: 1.5 }} {{ 3.5 | minus: 0.5 }} {{ -2.0 | abs }} {{ 7.5 | modulo: 2.5 }}", "3 3 2 0"),
        ("{{ 1 | at_least: 2.0 }} {{ 3 | at_most: 2.0 }} {{ nil | default: 2.0 }}", "2 2 2"),
        ("{{ 4.001 | round: 2 }} {{ 183.357 | round: 2 }} {{ fixed }} {{ fixed | append: '' }}", "4 183.36 4.00 4.00"),
        ("{{ x | append: 2.0 }} {{ 'a' | prepend: x }} {{ x | upcase }} {{ x | size }}", "492 49a 49 0"),
        ("{{ floats }} {{ floats | join: ',' }} {{ floats | join: 0.0 }}", "11.5 1,1.5 101.5"),
        ("{{ floats | first }} {% for each in floats %}{{ each }};{% endfor %}{% echo x %}", "1 1;1.5;49"),
        ("{% assign y = x | times: 1 %}{{ y }} {% capture z %}{{ x }}{% endcapture %}{{ z }}", "49 49"),
        ("{{ thing }}", "{'n': 1, 'l': [2, 2.5]}"),
        (
            "{{ large }} {{ large | append: '' }} {{ 1000000.0 | times: 1000000.0 }}",
            f"2{'0' * 21} 2{'0' * 21} 1{'0' * 12}",
        ),
        ("{{ small }} {{ least }} {{ zero }} {{ third }}", f"0.0000001 -0.000025 0 {1 / 3}"),
    ],
)
@pytest.mark.parametrize("show", [shown, html])
def test_whole_numbers_are_written_whole_and_no_number_with_an_exponent(
    show: Callable[..., str], source: str, answer: str
) -> None:
    data = {
        "l": [{"p": 1.5}, {"p": 2.5}],
        "x": 49.0,
        "fixed": "4.00",
        "floats": [1.0, 1.5],
        "thing": {"n": 1.0, "l": [2.0, 2.5]},
        "large": 2e21,
        "small": 1e-7,
        "least": -2.5e-5,
        "zero": -0.0,
        "third": 1 / 3,
    }
    assert unescape(show(source, **data)) == answer


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_as_digits_that_read_back_as_the_same_number(number: float) -> None:
    text = shown("{{ number }}", number=number)
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text)
    assert float(text) == number


def test_a_number_that_is_too_large_fails_the_mail() -> None:
    with pytest.raises(TemplateError) as refused:
        shown("{{ x | times: 10 }}", x=1e308)
    assert refused.value.reason is DeliveryReason.TEMPLATE_INVALID


@pytest.fixture(params=["UTC", "Asia/Tokyo", "Pacific/Auckland"])
def machine_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The zone of the machine, which no mail may show."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("machine_zone")
@pytest.mark.parametrize(
    ("value", "form", "answer"),
    [
        (1_152_098_955, "%Y-%m-%d %H:%M", "2006-07-05 11:29"),
        (1_152_098_955.0, "%Y-%m-%d %H:%M", "2006-07-05 11:29"),
        (1_152_098_955.75, "%S.%L", "15.750"),
        ("1152098955", "%Y", "2006"),
        (-1, "%F %T", "1969-12-31 23:59:59"),
        (0, "%F", "1970-01-01"),
        ("2026-03-01T23:30:00Z", "%d %H:%M", "01 23:30"),
        ("2026-03-01T23:30:00+09:00", "%d %H:%M %z", "01 23:30 +0900"),
        ("2026-03-01 23:30 PST", "%H:%M %z %s", "23:30 -0800 1772436600"),
        ("Sun, 01 Mar 2026 23:30:00 EST", "%H:%M %z", "23:30 -0500"),
        ("2026-03-01 23:30 NZDT", "%H:%M %s", "23:30 1772407800"),
        ("2026-03-01 23:30 CET", "%H:%M %s", "23:30 1772407800"),
        ("1990-05-03", "%-d %B %Y", "3 May 1990"),
        ("1990-05-03", "%s", "641692800"),
        ("2026-03-01T23:30:00+09:00", "%s", "1772375400"),
        ("2026-03-01", "100%% of %Y", "100% of 2026"),
        ("May 3", "%F", "2026-05-03"),
        ("now", "%F %R", "2026-01-05 10:30"),
        ("today", "%F", "2026-01-05"),
        ("soon", "%F", "soon"),
        (10**17, "%F", str(10**17)),
        ("9" * 30, "%F", "9" * 30),
        (True, "%F", "true"),
        ("2026-03-01", "", "2026-03-01"),
    ],
)
def test_date_takes_texts_and_numbers_and_ignores_the_machines_zone(value: object, form: str, answer: str) -> None:
    assert shown(f'{{{{ value | date: "{form}" }}}}', value=value) == answer


def test_in_the_html_part_values_are_escaped_and_text_of_the_template_is_not() -> None:
    data = {"name": "Ann <b> & Co", "l": ["<i>", "x"], "url": "a b&c"}
    assert html("{{ name | truncate: 7 }}", **data) == "Ann ..."
    assert html("{{ name | default: 'x' | append: '<' }}", **data) == "Ann &lt;b&gt; &amp; Co<"
    assert html("{{ l | join: '<br>' }}", **data) == "&lt;i&gt;<br>x"
    assert html("{{ name | truncate: 11, '&hellip;' }}", **data) == "Ann&hellip;"
    assert html("{{ l }}{{ l | first }}", **data) == "&lt;i&gt;x&lt;i&gt;"
    assert html("{{ name | escape }}", **data) == "Ann &lt;b&gt; &amp; Co"
    assert html("{{ name | strip_html }}", **data) == "Ann  &amp; Co"
    assert html("{{ name | split: ' ' | last }} {{ url | url_encode }}", **data) == "Co a+b%26c"
    assert html("{{ name | newline_to_br }}", name="a<\nb") == "a&lt;<br />\nb"


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40),
    st.integers(-3, 50),
    st.sampled_from(["...", "", "…", ", and so on"]),
)
def test_truncate_never_gives_more_than_the_length_or_the_ending(text: str, length: int, ending: str) -> None:
    made = shown(
        'x{{ "a" | append: text | truncate: length, ending }}', text=f".{text}", length=length, ending=ending or "-"
    )
    assert len(made) - 1 <= max(length, len(ending or "-"))


VALUES = st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5))


@given(st.lists(VALUES, max_size=12))
def test_sort_puts_null_last_and_keeps_every_item(values: list[float | None]) -> None:
    items = [{"v": value, "i": index} for index, value in enumerate(values)]
    order = [int(each) for each in shown('{{ l | sort: "v" | map: "i" | join: " " }}', l=items).split()]
    assert sorted(order) == list(range(len(values)))
    found = [values[index] for index in order]
    there = [each for each in found if each is not None]
    assert there == sorted(there)
    assert found[: len(there)] == there


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("{% cycle 1.0 %}", "1"),
        ("{% for n in numbers %}{% cycle 1.0, 2.5 %} {% endfor %}", "1 2.5 1 "),
        ("{% for n in numbers %}{% cycle 'list': n, 'x' %} {% endfor %}", "1 x 3 "),
        ('{% for n in numbers %}{% cycle "rows": "", "<odd>" %}{% endfor %}', "<odd>"),
    ],
)
def test_cycle_writes_whole_numbers_whole(source: str, answer: str) -> None:
    assert shown(source, numbers=[1.0, 2.0, 3.0]) == answer


def test_an_amount_is_written_alike_when_it_comes_again_and_otherwise_when_its_settings_change() -> None:
    source = "{{ a | currency }} {% assign currency_code = 'EUR' %}{% assign locale = 'de' %}{{ a | currency }}"
    for amount, shown_as in ((1234.5, "$1,234.50 1.234,50 €"), (1, "$1.00 1,00 €"), ("1", "$1.00 1,00 €")):
        assert shown(source, a=amount).replace("\u00a0", " ") == shown_as
        assert shown(source, a=amount).replace("\u00a0", " ") == shown_as
    with pytest.raises(TemplateError):
        shown("{{ a | currency }}", a=True)
