"""Tokens of links: what our keys signed is read as it was signed, and nothing else is read at all."""

import re
import string
from datetime import UTC, datetime

from hypothesis import assume, given
from hypothesis import strategies as st

from senders.content.links import LINK_BYTES, LinkKeys, LinkKind, LinkPages, is_target
from senders.content.render import parse_template

NOW = datetime(2026, 11, 29, tzinfo=UTC)
KEYS = LinkKeys(["a key of the tests", "the key before it"])
PAGES = LinkPages("https://mail.shop.example", KEYS)
COMMANDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
LINKS = st.binary(min_size=LINK_BYTES, max_size=LINK_BYTES)
TOKENS = st.builds(
    lambda kind, command, link: KEYS.token(kind, command, link if kind is LinkKind.CLICK else b""),
    st.sampled_from(LinkKind),
    COMMANDS,
    LINKS,
)
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(st.sampled_from(LinkKind), COMMANDS, LINKS)
def test_a_token_is_read_as_it_was_signed(kind: LinkKind, command: str, link: bytes) -> None:
    link = link if kind is LinkKind.CLICK else b""
    assert KEYS.read(KEYS.token(kind, command, link)) == (kind, command, link)


@given(TOKENS, st.data())
def test_a_token_with_one_other_character_is_none(token: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(ALPHABET))
    assume(other != token[at])
    assert KEYS.read(token[:at] + other + token[at + 1 :]) is None


@given(TOKENS, st.text(min_size=1, max_size=3))
def test_a_token_with_more_or_less_of_it_is_none(token: str, more: str) -> None:
    assert KEYS.read(token + more) is None
    assert KEYS.read(more + token) is None
    assert KEYS.read(token[: -len(more)]) is None


@given(st.text(max_size=60) | st.text(ALPHABET, min_size=38, max_size=48))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert KEYS.read(text) is None


URLS = st.builds(
    lambda scheme, host, rest: f"{scheme}://{host}{rest}",
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["shop.example", "shop.example:8080", "[2001:db8::1]", "a.b.c"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30).map(lambda text: f"/{text}"),
)
ANY = st.text(max_size=30)


HREF = re.compile('<a href="([^"]*)">')


@given(st.lists(URLS | ANY, max_size=4))
def test_each_link_of_a_mail_leads_to_what_was_written_or_stays_as_it_is(values: list[str]) -> None:
    assume(all(value.strip() and value.isprintable() for value in values))
    source = "".join(f'<a href="{{{{ v{number} }}}}">x</a>' for number in range(len(values)))
    template = parse_template("t", f"---\nsubject: s\n---\n{source}\n--- text ---\nx\n")
    data = {f"v{number}": value for number, value in enumerate(values)}
    links = PAGES.of("ab" * 16, opens=False, clicks=True)
    rewritten = HREF.findall(template.render(data, {}, NOW, {}, links).html)
    as_written = HREF.findall(template.render(data, {}, NOW).html)
    assert len(rewritten) == len(as_written) == len(values)
    for value, href, before in zip(values, rewritten, as_written, strict=True):
        if is_target(value.strip()):
            said = KEYS.read(href.removeprefix(PAGES.clicks))
            assert said is not None
            assert links.targets[said.link] == value.strip()
        else:
            assert href == before
