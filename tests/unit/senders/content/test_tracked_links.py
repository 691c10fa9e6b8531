"""Links of templates: found once, rewritten in each mail, and left alone where they lead to no web page."""

import re
from datetime import UTC, datetime

import pytest

from senders.content.links import LinkKeys, LinkKind, LinkPages, LinkToken, MailLinks, link_id
from senders.content.render import TemplateError, parse_template, template_faults

NOW = datetime(2026, 11, 29, tzinfo=UTC)
COMMAND = "ab" * 16
KEYS = LinkKeys(["a key of the tests"])
PAGES = LinkPages("https://mail.shop.example", KEYS)
CLICK = re.compile(r"https://mail\.shop\.example/c/([\w-]+)")


def template(html: str = "<p>x</p>", text: str = "x", more: str = "") -> str:
    return f"---\nsubject: s\n{more}---\n{html}\n--- text ---\n{text}\n"


def rendered(source: str, links: MailLinks | None = None, **data: object) -> tuple[str, str]:
    pages = {"unsubscribe_url": "https://mail.shop.example/u/x"}
    content = parse_template("t", source).render(data, {"id": "u1"}, NOW, pages, links)
    return content.html, content.text


def mail_links(*, opens: bool = False, clicks: bool = True) -> MailLinks:
    return PAGES.of(COMMAND, opens=opens, clicks=clicks)


def followed(html_or_text: str, links: MailLinks) -> list[str]:
    """Where the clicks in it lead, by what the mail says that it stores."""
    found = []
    for token in CLICK.findall(html_or_text):
        said = KEYS.read(token)
        assert said is not None
        assert (said.kind, said.command_id) == (LinkKind.CLICK, COMMAND)
        found.append(links.targets[said.link])
    return found


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ('<a href="https://shop.example/cart">x</a>', "https://shop.example/cart"),
        ("<a class='b' href='https://shop.example/cart' id=c>x</a>", "https://shop.example/cart"),
        ("<A HREF=https://shop.example/cart>x</A>", "https://shop.example/cart"),
        ('<a\n  href = "https://shop.example/cart">x</a>', "https://shop.example/cart"),
        ('<area href="https://shop.example/cart">', "https://shop.example/cart"),
        (
            '<!--[if mso]><v:roundrect href="https://shop.example/cart"></v:roundrect><![endif]-->',
            "https://shop.example/cart",
        ),
        ('<a title="a > b, href=\'c\'" href="https://shop.example/cart">x</a>', "https://shop.example/cart"),
        ('<a href="https://shop.example/?a=1&amp;b=2">x</a>', "https://shop.example/?a=1&b=2"),
        ('<a href="https://shop.example/?a=1&copy=2">x</a>', "https://shop.example/?a=1&copy=2"),
        ('<a href=" https://shop.example/cart ">x</a>', "https://shop.example/cart"),
        ('<a href="https://shop.example/{{ word }}/{{ word }}">x</a>', "https://shop.example/a&b/a&b"),
        ('<a href="{{ url }}">x</a>', 'https://shop.example/p?q="1"&r=2'),
        ('<a class="{{ word }}" href="{{ url }}">x</a>', 'https://shop.example/p?q="1"&r=2'),
        (
            '<a href="{% if word %}https://shop.example/a{% else %}https://shop.example/b{% endif %}">x</a>',
            "https://shop.example/a",
        ),
        ('{% if word %}<a href="https://shop.example/a">x</a>{% endif %}', "https://shop.example/a"),
        ('{% capture c %}<a href="https://shop.example/a">x</a>{% endcapture %}{{ c }}', "https://shop.example/a"),
    ],
)
def test_a_link_of_the_html_part_leads_over_ours_to_its_target(source: str, url: str) -> None:
    links = mail_links()
    html, _ = rendered(template(source), links, word="a&b", url='https://shop.example/p?q="1"&r=2')
    assert followed(html, links) == [url]
    assert links.targets == {link_id(url): url}
    assert "shop.example/" not in CLICK.sub("", html)


def test_a_link_in_a_loop_leads_to_the_target_of_its_round() -> None:
    links = mail_links()
    source = '{% for item in items %}<a href="https://shop.example/p/{{ item }}">x</a>{% endfor %}'
    html, _ = rendered(template(source), links, items=[1, 2, 1])
    assert followed(html, links) == [f"https://shop.example/p/{item}" for item in (1, 2, 1)]
    assert len(links.targets) == 2


@pytest.mark.parametrize(
    "source",
    [
        '<a href="mailto:ann@example.net">x</a>',
        '<a href="#top">x</a>',
        '<a href="{{ word }}">x</a>',
        '<a name="x">x</a>',
        '<a href="">x</a>',
        '<a data-track="off" href="https://shop.example/reset">x</a>',
        '<a href="https://shop.example/reset" data-track=off>x</a>',
        '<a href="{{ unsubscribe_url }}">x</a>',
        '<a href="https://mail.shop.example/p/x">x</a>',
        '<a href="https://shop.example/größe">x</a>',
        '<a data-href="https://shop.example/reset">x</a>',
        '<img src="https://shop.example/logo.png">',
        '<link href="https://shop.example/font.css">',
        "<p>https://shop.example/cart</p>",
        '<abbr href="https://shop.example/cart">x</abbr>',
    ],
)
def test_what_leads_to_no_page_of_others_or_is_to_be_left_alone_stays(source: str) -> None:
    links = mail_links()
    assert (
        rendered(template(source), links, word="javascript:alert(1)")[0]
        == rendered(template(source), word="javascript:alert(1)")[0]
    )
    assert links.targets == {}


@pytest.mark.parametrize(
    ("source", "url", "rest"),
    [
        ("See https://shop.example/cart.", "https://shop.example/cart", "See @."),
        ("(https://shop.example/a?b=c)", "https://shop.example/a?b=c", "(@)"),
        ("{{ word }}: https://shop.example/{{ word }}\nBye", "https://shop.example/w", "w: @\nBye"),
        ("<https://shop.example/cart>", "https://shop.example/cart", "<@>"),
    ],
)
def test_a_link_of_the_text_part_leads_over_ours_too(source: str, url: str, rest: str) -> None:
    links = mail_links()
    _, text = rendered(template(text=source), links, word="w")
    assert followed(text, links) == [url]
    assert CLICK.sub("@", text).strip() == rest


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'https://shop.example/reset' }}",
        "{{ unsubscribe_url }}",
        "https://shop.example/{% for i in items %}{{ i }} and {% endfor %}",
        "shop.example",
    ],
)
def test_a_link_of_the_text_part_that_comes_from_an_output_stays(source: str) -> None:
    links = mail_links()
    assert rendered(template(text=source), links, items=[1, 2])[1] == rendered(template(text=source), items=[1, 2])[1]
    assert links.targets == {}


def test_the_pixel_stands_at_the_end_of_the_body() -> None:
    links = mail_links(opens=True, clicks=False)
    html, text = rendered(
        template('<html><body>{{ w }}<a href="https://shop.example/a">x</a></BODY></html>'), links, w="w"
    )
    assert re.search(r'x</a><img src="https://mail\.shop\.example/o/[\w-]{38}" [^>]*></BODY></html>', html)
    assert '<a href="https://shop.example/a">' in html, "clicks are not tracked"
    assert "mail.shop.example" not in text
    assert '<img src="https://mail.shop.example/o/' in rendered(template("{{ w }}"), links, w="w")[0]


def test_a_mail_without_links_of_ours_reads_as_before() -> None:
    source = template('<body><a href="https://shop.example/{{ w }}">x</a></body>', "https://shop.example/{{ w }}")
    assert rendered(source, w="w") == rendered(source, mail_links(clicks=False), w="w")
    assert rendered(source, w="w")[0] == '<body><a href="https://shop.example/w">x</a></body>\n'


def test_a_missing_value_in_a_link_names_its_place_in_the_template() -> None:
    source = template('<a href="https://shop.example/{{ gone }}">x</a>')
    with pytest.raises(TemplateError) as refused:
        rendered(source, mail_links())
    assert (refused.value.detail, source[refused.value.index :][:4]) == ("gone", "gone")


@pytest.mark.parametrize(
    ("line", "track"),
    [
        ("track: [opens, clicks]\n", frozenset({"opens", "clicks"})),
        ("track: [clicks]\n", frozenset({"clicks"})),
        ("track: []\n", frozenset()),
        ("", None),
    ],
)
def test_a_template_says_what_is_tracked(line: str, track: frozenset[str] | None) -> None:
    assert parse_template("t", template(more=line)).track == track


@pytest.mark.parametrize(
    "line", ["track: clicks\n", "track: [click]\n", "track: no\n", "track: {opens: 1}\n", "track:\n"]
)
def test_another_word_for_what_is_tracked_is_a_fault(line: str) -> None:
    [fault] = template_faults("t", template(more=line))
    assert "`track` is not a list of `opens` and `clicks`" in fault.detail


def test_the_token_of_a_click_is_one_of_the_mails_command() -> None:
    links = mail_links()
    html, _ = rendered(template('<a href="https://shop.example/a">x</a>'), links)
    [token] = CLICK.findall(html)
    assert KEYS.read(token) == LinkToken(LinkKind.CLICK, COMMAND, link_id("https://shop.example/a"))
