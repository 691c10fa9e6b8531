"""Whatever is sent to the pages: each answers with a page, and what only looks changes nothing."""

from collections.abc import Iterator, Mapping

import psycopg
import pytest
from drivers.real_servers import RealServers
from drivers.recipient_pages import BROWSER, path_of
from drivers.recipient_site import RecipientSite, lasting_site
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.vocabulary import OutcomeKind
from senders.content.links import LinkKind

pytestmark = pytest.mark.servers

ACTIONS = ("", "/unsubscribe", "/resubscribe", "/purposes", "/pause", "/place", "/address")
FIELDS = st.sampled_from(["on", "was", "none", "pause", "locale", "zone", "address", "x"])
HOSTILE = ["marketing", "\0", "a@b\r\nBcc: x@y", "<script>", "%00", "é@ü.example"]
VALUES = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE))
PARTS = st.lists(st.tuples(FIELDS, VALUES), max_size=6)
TYPES = st.sampled_from(
    [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-7",
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=b; charset=none-such",
        "multipart/form-data",
        "application/json",
        "",
    ]
)
LOOKED_AT = ("", "/", "/unsubscribe", "/resubscribe", "/purposes", "/pause", "/place", "/address", "/confirm", "/x")
FORM = "none=1&on=news&was=marketing&pause=30&locale=fr&zone=Europe/Paris&address=x@example.org&page=1"
HEADERS: tuple[Mapping[str, str], ...] = (
    {},
    BROWSER,
    {"content-type": "application/x-www-form-urlencoded"},
    {"x-http-method-override": "POST"},
)
KEPT = """SELECT (SELECT json_agg(p ORDER BY user_id)::text FROM profiles p),
                 (SELECT json_agg(c ORDER BY command_id)::text FROM confirmations c),
                 (SELECT count(*) FROM web_outbox)"""


@pytest.fixture(scope="module")
def site(servers: RealServers) -> Iterator[RecipientSite]:
    yield from lasting_site(servers)


@pytest.fixture(scope="module")
def mail(site: RecipientSite) -> str:
    """A mail whose reader has something to confirm."""
    return _a_mail(site)


@pytest.fixture(scope="module")
def looked_at(site: RecipientSite) -> str:
    """Another one, whose links nobody posts to."""
    return _a_mail(site)


def _a_mail(site: RecipientSite) -> str:
    command = site.do(site.edge.a_reader({"marketing": True, "news": False}))
    site.do(site.edge.post(f"{path_of(LinkKind.PREFERENCES, command)}/purposes", on=["marketing", "news"]))
    return command


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """The body of a form, whole or not, or any bytes."""
    parts = draw(PARTS)
    plain = "&".join(f"{name}={value}" for name, value in parts).encode("utf-8", "replace")
    part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    file = draw(st.sampled_from(["", '; filename="x"']))
    multipart = "".join(part.format(name, file, value) for name, value in parts).encode("utf-8", "replace") + b"--b--"
    whole = draw(st.sampled_from([plain, multipart, draw(st.binary(max_size=200))]))
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


@settings(deadline=None, max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
    kind=st.sampled_from([LinkKind.UNSUBSCRIBE, LinkKind.PREFERENCES, LinkKind.CONFIRM]),
    action=st.sampled_from(ACTIONS),
    media_type=TYPES,
    body=bodies(),
    host=st.sampled_from(["mail.shop.example", "[", "evil.example/", "", "a b"]),
    language=st.sampled_from(["de", "\xff\xfe;q=9", ",,,;;", "x" * 5000]),
)
def test_any_request_gets_a_page(
    site: RecipientSite,
    mail: str,
    method: str,
    kind: LinkKind,
    action: str,
    media_type: str,
    body: bytes,
    host: str,
    language: str,
) -> None:
    command = mail
    if kind is LinkKind.CONFIRM:
        with psycopg.connect(site.edge.database_url) as connection:
            [command] = connection.execute("SELECT command_id FROM confirmations LIMIT 1").fetchone() or (mail,)
    headers = {"content-type": media_type, "host": host, "accept-language": language}
    answer = site.do(site.edge.request(method, path_of(kind, command) + action, headers, body))
    assert answer.status in (200, 303, 400, 404, 405, 422)
    assert answer.headers.get("location", "/").startswith("/")
    assert "//" not in answer.headers.get("location", "/")
    assert b"<script" not in answer.body
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    ("method", "kind", "action"),
    [
        ("GET", LinkKind.UNSUBSCRIBE, ""),
        ("GET", LinkKind.PREFERENCES, ""),
        ("GET", LinkKind.CONFIRM, ""),
        ("POST", LinkKind.UNSUBSCRIBE, "/unsubscribe"),
        ("POST", LinkKind.PREFERENCES, "/pause"),
        ("POST", LinkKind.CONFIRM, ""),
    ],
)
def test_without_the_database_there_is_a_page_that_says_so(
    site: RecipientSite, mail: str, method: str, kind: LinkKind, action: str
) -> None:
    answer = site.do(site.away.request(method, path_of(kind, mail) + action, {"accept-language": "fr"}))
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert '<html lang="fr">' in answer.body.decode()


@settings(deadline=None, max_examples=60)
@given(
    method=st.sampled_from(["GET", "HEAD"]),
    kind=st.sampled_from(LinkKind),
    of_confirmation=st.booleans(),
    action=st.sampled_from(LOOKED_AT),
    query=st.sampled_from(["", FORM, "said=saved", "List-Unsubscribe=One-Click"]),
    body=st.sampled_from([b"", b"List-Unsubscribe=One-Click", FORM.encode()]),
    headers=st.sampled_from(HEADERS),
)
def test_get_and_head_of_any_page_change_nothing(
    site: RecipientSite,
    looked_at: str,
    method: str,
    kind: LinkKind,
    of_confirmation: bool,
    action: str,
    query: str,
    body: bytes,
    headers: Mapping[str, str],
) -> None:
    with psycopg.connect(site.edge.database_url) as connection:
        query = "SELECT command_id FROM confirmations WHERE user_id = %s"
        [[confirmation]] = connection.execute(query, [f"user-{looked_at[:8]}"]).fetchall()
        before = connection.execute(KEPT).fetchone()
        path = path_of(kind, confirmation if of_confirmation else looked_at) + action
        answer = site.do(site.edge.request(method, f"{path}?{query}", headers, body))
        assert answer.status in (200, 404, 405)
        assert {"location", "set-cookie"}.isdisjoint(answer.headers)
        assert connection.execute(KEPT).fetchone() == before


def test_none_of_it_was_an_unsubscribe(site: RecipientSite, looked_at: str) -> None:
    kinds = {outcome.kind for outcome in site.do(site.edge.recorded(looked_at))}
    assert kinds <= {OutcomeKind.OPENED, OutcomeKind.CLICKED}
