"""From a command to the analysts' row: delivery sends a mail, its reader follows the links that stand in it."""

import re
from collections.abc import Iterator
from email.message import EmailMessage, Message
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.recipient_pages import PAGES, SECRET, RecipientEdge, recipient_edge
from drivers.running_senders import Harbour, a_command, harbour, have_topics, parsed, wait_until

from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import LedgerState

pytestmark = pytest.mark.servers

TEMPLATE = """---
subject: Your cart
---
<body><a href="https://shop.example/cart/{{ user.id }}?a=1&amp;b=2">Cart</a>
<a href="{{ preferences_url }}">Choose</a></body>
--- text ---
Cart: https://shop.example/cart/{{ user.id }}?a=1&b=2
"""


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    for made in harbour(servers.kafka, database_url, tmp_path, public_url=PAGES.origin, link_keys=[SECRET]):
        made.start()
        yield made


def body(mail: Message, kind: str) -> str:
    assert isinstance(mail, EmailMessage)
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def paths(text: str) -> list[str]:
    """The paths of links of ours, in their order."""
    return re.findall(rf"{re.escape(PAGES.origin)}(/\w/[\w-]+)", text)


async def follow(edge: RecipientEdge, mail: Message, user: str) -> None:
    target = f"https://shop.example/cart/{user}?a=1&b=2"
    click, preferences, pixel = paths(body(mail, "html"))
    assert paths(body(mail, "plain")) == [click]
    answer = await edge.request("GET", click)
    assert (answer.status, answer.headers["location"]) == (302, target)
    assert (await edge.request("GET", preferences)).status == 200
    assert (await edge.request("GET", pixel)).status == 200
    [unsubscribe] = paths(str(mail["List-Unsubscribe"]))
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (await edge.request("POST", unsubscribe, {}, b"List-Unsubscribe=One-Click")).status == 200
    await edge.part.recorder.drain()


def send(delivery: Harbour, user: str, template: str) -> SendCommand:
    command = a_command(user, template)
    delivery.publish(COMMANDS.name, user, command)
    return command


async def test_the_links_of_a_mail_lead_where_its_template_says_and_stop_the_next_mail(delivery: Harbour) -> None:
    template, user = delivery.publish_template(TEMPLATE), delivery.publish_user()
    first = send(delivery, user, template)
    delivery.wait_for(first, LedgerState.ACCEPTED)
    [raw] = delivery.mails(first)
    async with recipient_edge(delivery.kafka, delivery.database_url) as edge:
        await follow(edge, parsed(raw), user)
    query = "SELECT kind, evidence, machine, trigger, purpose FROM engagement WHERE command_id = %s ORDER BY kind"
    wait_until(lambda: len(delivery.recorded(query, first.id)) == 3, "the reader's outcomes")
    assert delivery.recorded(query, first.id) == [
        ("clicked", "none", None, "hello", "marketing"),
        ("opened", "none", None, "hello", "marketing"),
        ("unsubscribed", "one_click", None, "hello", "marketing"),
    ]
    suppressed = "SELECT scope, reason FROM suppressions WHERE command_id = %s"
    wait_until(lambda: delivery.rows(suppressed, first.id) == [("marketing", "unsubscribed")], "the suppression")
    delivery.wait_for(send(delivery, user, template), LedgerState.SUPPRESSED)


def test_links_that_are_known_are_stored_once(delivery: Harbour) -> None:
    template = delivery.publish_template(TEMPLATE.replace("{{ user.id }}", "all"))
    for user in (delivery.publish_user(), delivery.publish_user()):
        delivery.wait_for(send(delivery, user, template), LedgerState.ACCEPTED)
    assert delivery.rows("SELECT url FROM links") == [("https://shop.example/cart/all?a=1&b=2",)]
