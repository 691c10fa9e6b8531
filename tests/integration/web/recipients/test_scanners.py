"""Who only looks changes nothing and is no person: every route by GET and HEAD, a scanner, a browser with scripts."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from drivers.chromium import chromium
from drivers.real_servers import RealServers
from drivers.recipient_pages import RecipientEdge, path_of
from drivers.recipient_site import RecipientSite, recipient_site
from drivers.running_senders import have_topics
from starlette.routing import Route

from schemas.vocabulary import OutcomeKind
from senders.content.links import LinkKind

pytestmark = pytest.mark.servers

STORED = ("profiles", "identity_links", "web_outbox", "confirmations")
SEEN = {OutcomeKind.OPENED, OutcomeKind.CLICKED}
ONE_CLICK = b"List-Unsubscribe=One-Click"


@pytest.fixture(scope="module")
def site(servers: RealServers) -> Iterator[RecipientSite]:
    have_topics(servers.kafka)
    url = servers.create_database()
    with recipient_site(servers.kafka, url) as running:
        yield running
    servers.drop_database(url)


def stored(edge: RecipientEdge) -> dict[str, list[tuple[object, ...]]]:
    """All that the pages can change."""
    with psycopg.connect(edge.database_url) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1".encode()).fetchall() for table in STORED}


async def look_at_everything(edge: RecipientEdge, command: str) -> list[str]:
    """Ask for every route of the application with every token of this mail, by every way that is no POST."""
    link = edge.a_link(command, "https://shop.example/cart")
    tokens = [path_of(kind, command)[3:] for kind in LinkKind if kind is not LinkKind.CLICK] + [link[3:]]
    paths = sorted({route.path for route in edge.part.app.routes if isinstance(route, Route)})
    for path in paths:
        for token in tokens:
            asked = path.replace("{token}", token)
            for method in ("GET", "HEAD", "OPTIONS", "PUT"):
                for query in ("", "?List-Unsubscribe=One-Click&unsubscribe=1&said=saved"):
                    answer = await edge.request(method, asked + query, body=ONE_CLICK)
                    assert answer.status in (200, 302, 404, 405), (method, asked)
                    assert "set-cookie" not in answer.headers
    return paths


def test_no_route_changes_anything_unless_it_is_posted_to(site: RecipientSite) -> None:
    edge = site.edge
    command = site.do(edge.a_reader())
    before = stored(edge)
    paths = site.do(look_at_everything(edge, command))
    assert len(paths) >= 10
    assert stored(edge) == before
    assert edge.sent(command) == []
    assert {outcome.kind for outcome in site.do(edge.recorded(command))} == SEEN


def test_a_browser_with_scripts_that_follows_every_link_of_a_mail_is_no_person(site: RecipientSite) -> None:
    edge = site.edge
    command = edge.a_mail(ago=timedelta(seconds=5))
    links = [edge.a_link(command, site.url(f"/landing/{number}")) for number in range(5)]
    pages = [path_of(kind, command) for kind in (LinkKind.OPEN, LinkKind.UNSUBSCRIBE, LinkKind.PREFERENCES)]
    before = stored(edge)
    with chromium().started() as browser:
        for path in (*links, *pages):
            browser.get(site.url(path))
            browser.execute_script("document.querySelectorAll('a').forEach(each => each.focus())")
    outcomes = site.do(edge.recorded(command))
    assert {outcome.kind for outcome in outcomes} == SEEN
    assert [outcome for outcome in outcomes if outcome.machine is False] == []
    assert stored(edge) == before
