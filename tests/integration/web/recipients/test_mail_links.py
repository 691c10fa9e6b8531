"""The links of mails on real servers: what each answers, what becomes of it, and that only a POST changes anything."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from drivers.own_postgres import own_postgres
from drivers.real_servers import RealServers
from drivers.recipient_pages import BROWSER, PAGES, RecipientEdge, path_of, recipient_edge
from drivers.running_senders import have_topics

from infra.postgres.migrate import migrate
from schemas.vocabulary import Evidence, OutcomeKind
from senders.content.links import HIDDEN_LINK, LinkKeys, LinkKind, LinkPages

pytestmark = pytest.mark.servers

URL = "https://shop.example/cart?a=1&b=2"
ONE_CLICK = b"List-Unsubscribe=One-Click"
MULTIPART = (
    b'--b0undary\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b0undary--\r\n'
)


@pytest.fixture
async def edge(servers: RealServers, database_url: str) -> AsyncIterator[RecipientEdge]:
    have_topics(servers.kafka)
    async with recipient_edge(servers.kafka, database_url) as running:
        yield running


async def test_a_click_leads_to_its_target_and_is_recorded_once_it_was_answered(edge: RecipientEdge) -> None:
    command = edge.a_mail()
    answer = await edge.request("GET", edge.a_link(command, URL))
    assert (answer.status, answer.headers["location"]) == (302, URL)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers
    [outcome] = await edge.recorded(command)
    assert (outcome.kind, outcome.url, outcome.machine) == (OutcomeKind.CLICKED, URL, False)
    assert (outcome.user_id, outcome.trigger, outcome.purpose) == (f"user-{command[:8]}", "hello", "marketing")


async def test_an_open_gets_its_pixel(edge: RecipientEdge) -> None:
    command = edge.a_mail()
    path = path_of(LinkKind.OPEN, command)
    answer = await edge.request("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.body.startswith(b"GIF89a")
    assert (await edge.request("HEAD", path, {})).body == b""
    kinds = {(outcome.kind, outcome.evidence) for outcome in await edge.recorded(command)}
    assert kinds == {(OutcomeKind.OPENED, Evidence.NAVIGATION), (OutcomeKind.OPENED, Evidence.HEAD)}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, ONE_CLICK),
        ({"content-type": "multipart/form-data; boundary=b0undary"}, MULTIPART),
        ({}, b""),
        ({"content-type": "application/json"}, b"\xff{"),
        ({"content-type": "multipart/form-data"}, b"no boundary"),
    ],
)
async def test_any_post_to_an_unsubscribe_link_unsubscribes(
    edge: RecipientEdge, headers: dict[str, str], body: bytes
) -> None:
    command = edge.a_mail()
    path = path_of(LinkKind.UNSUBSCRIBE, command)
    for _ in range(2):
        answer = await edge.request("POST", path, headers, body)
        assert answer.status == 200
        assert {"location", "set-cookie"}.isdisjoint(answer.headers)
    outcomes = await edge.recorded(command)
    assert {(outcome.kind, outcome.purpose, outcome.evidence) for outcome in outcomes} == {
        (OutcomeKind.UNSUBSCRIBED, "marketing", Evidence.ONE_CLICK)
    }


async def test_a_form_of_a_page_that_is_sent_is_evidence_of_a_person(edge: RecipientEdge) -> None:
    command = edge.a_mail()
    assert (await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, command), BROWSER)).status == 200
    [outcome] = await edge.recorded(command)
    assert (outcome.machine, outcome.evidence) == (False, Evidence.PAGE_POST)


async def test_looking_at_a_link_changes_nothing(edge: RecipientEdge) -> None:
    command = edge.a_mail()
    paths = [path_of(kind, command) for kind in LinkKind if kind is not LinkKind.CLICK] + [edge.a_link(command, URL)]
    for path in paths:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
            await edge.request(method, path)
            await edge.request(method, f"{path}?List-Unsubscribe=One-Click", {}, ONE_CLICK)
    for path in paths:
        if not path.startswith("/u/"):
            await edge.request("POST", path, {}, ONE_CLICK)
    kinds = {outcome.kind for outcome in await edge.recorded(command)}
    assert kinds == {OutcomeKind.OPENED, OutcomeKind.CLICKED}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_forged_or_unknown_link_is_a_page_that_leads_nowhere(edge: RecipientEdge, method: str) -> None:
    command = edge.a_mail()
    strangers = LinkPages("", LinkKeys(["a secret of somebody else"]))
    paths = [strangers.address(kind, command, b"12345678" if kind is LinkKind.CLICK else b"") for kind in LinkKind]
    paths += [
        edge.a_link(command, "https://shop.example/never-stored", stored=False),
        path_of(LinkKind.CLICK, command, HIDDEN_LINK),
        f"/c/{path_of(LinkKind.OPEN, command)[3:]}",
        f"/u/{path_of(LinkKind.OPEN, command)[3:]}",
        path_of(LinkKind.UNSUBSCRIBE, "00" * 16),
        "/c/" + "A" * 48,
        "/u/x",
        "/u/",
        "/",
        "/c/https://evil.example/",
        f"{edge.a_link(command, URL)}/",
        f"//evil.example{edge.a_link(command, URL)}",
    ]
    for path in paths:
        answer = await edge.request(method, path)
        assert answer.status in (404, 405), path
        assert "location" not in answer.headers
    kinds = {(outcome.kind, outcome.evidence) for outcome in await edge.recorded(command)}
    assert kinds <= {(OutcomeKind.CLICKED, Evidence.HIDDEN_LINK), (OutcomeKind.CLICKED, Evidence.HEAD)}


async def test_a_scanner_changes_no_consent_and_counts_as_no_person(edge: RecipientEdge) -> None:
    just_now = timedelta(seconds=5)
    scanned, fetched, browsed = (edge.a_mail(ago=just_now) for _ in range(3))
    late = edge.a_mail()
    urls = [f"https://shop.example/{number}" for number in range(100)]
    links = edge.links(scanned, urls)
    await asyncio.gather(*(edge.request("GET", link) for link in links))
    for link in edge.links(late, urls):
        await edge.request("GET", link)
    proxy = {"user-agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"}
    await edge.request("GET", path_of(LinkKind.OPEN, fetched), proxy)
    await edge.request("HEAD", edge.a_link(fetched, URL))
    for path in (
        path_of(LinkKind.UNSUBSCRIBE, browsed),
        path_of(LinkKind.PREFERENCES, browsed),
        edge.a_link(browsed, URL),
    ):
        await edge.request("GET", path)

    outcomes = await edge.recorded(scanned, fetched, browsed, late)
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.OPENED, OutcomeKind.CLICKED}
    assert [outcome for outcome in outcomes if outcome.machine is False] == []
    found = {command: {each.evidence for each in outcomes if each.command_id == command} for command in (scanned, late)}
    assert found == {scanned: {Evidence.BURST}, late: {Evidence.BURST}}


async def test_a_mail_that_the_ledger_has_forgotten_can_still_be_unsubscribed_from(edge: RecipientEdge) -> None:
    command = uuid.uuid4().hex
    with psycopg.connect(edge.database_url) as connection:
        connection.execute(
            """INSERT INTO deliveries (id, time, command_id, user_id, trigger, purpose, kind, provider, attempt)
               VALUES ('o1', now() - interval '200 days', %s, 'old-user', 'hello', 'news', 'accepted', 'smtp', 1)""",
            [command],
        )
    assert (await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, command), {}, ONE_CLICK)).status == 200
    [outcome] = await edge.recorded(command)
    assert (outcome.user_id, outcome.purpose) == ("old-user", "news")


async def test_clicks_redirect_and_are_recorded_later_while_postgresql_is_away(
    servers: RealServers, tmp_path: Path
) -> None:
    have_topics(servers.kafka)
    with own_postgres(servers, tmp_path) as postgres:
        migrate(postgres.url)
        async with recipient_edge(servers.kafka, postgres.url) as edge:
            known, unknown = edge.a_mail(), edge.a_mail()
            path = edge.a_link(known, URL)
            unfollowed = edge.a_link(known, "https://shop.example/unfollowed")
            await edge.part.new_links.look()
            cold = edge.a_link(known, "https://shop.example/cold", stored=False)
            assert (await edge.request("GET", path)).status == 302
            await edge.recorded(known)
            postgres.stop()
            answer = await edge.request("GET", path_of(LinkKind.CLICK, unknown, _link_of(path)))
            assert (answer.status, answer.headers["location"]) == (302, URL)
            assert (await edge.request("GET", unfollowed)).status == 302
            away = await edge.request("GET", cold)
            assert (away.status, away.headers["retry-after"]) == (503, "30")
            assert (await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, unknown), {}, ONE_CLICK)).status == 503
            assert (await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, known), {}, ONE_CLICK)).status == 200
            postgres.start()
            kinds = {outcome.kind for outcome in await edge.recorded(unknown)}
            assert kinds == {OutcomeKind.CLICKED}


def _link_of(path: str) -> bytes:
    said = PAGES.keys.read(path.rpartition("/")[2])
    assert said is not None
    return said.link
