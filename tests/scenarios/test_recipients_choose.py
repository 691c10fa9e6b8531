"""A recipient unsubscribes, pauses and subscribes again, over HTTP: what they then get, counted at the receiver."""

import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from drivers.real_servers import RealServers
from drivers.recipient_pages import SECRET
from drivers.running_senders import Harbour, a_command, lasting_harbour, parsed, wait_until
from drivers.running_web import RunningWeb, running_web

from schemas.commands import SendCommand
from schemas.topics import COMMANDS
from schemas.vocabulary import PREFERENCES, TRANSACTIONAL, LedgerState, SuppressionReason

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

PUBLIC = "https://mail.shop.example"
KNOWN = (
    "SELECT now(), user_id, consent, paused_until, known_at FROM recipients",
    "SELECT user_id, scope, reason, since FROM suppressions",
    "SELECT topic, partition, next_offset, as_of FROM recipients_progress ORDER BY as_of LIMIT 2",
    "SELECT user_id, state FROM profiles",
    "SELECT count(*), min(number) FROM web_outbox",
    "SELECT * FROM web_publisher",
    "SELECT * FROM web_progress WHERE reader = 'profiles' ORDER BY caught_up",
    "SELECT kind, made_at, confirmed_at FROM confirmations",
)
"""Where a choice can be on its way, told if it does not arrive."""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def delivery(servers: RealServers, tmp_path: Path) -> Iterator[Harbour]:
    yield from lasting_harbour(servers, tmp_path, public_url=PUBLIC, link_keys=(SECRET,))


@pytest.fixture
def web(delivery: Harbour) -> Iterator[RunningWeb]:
    pages = {"public_url": PUBLIC, "link_keys": (SECRET,)}
    with running_web(delivery.kafka, delivery.database_url, publishes=True, **pages) as running:
        yield running


def sent(delivery: Harbour, user: str, template: str, **changes: str) -> SendCommand:
    command = a_command(user, template, **changes)
    delivery.publish(COMMANDS.name, user, command)
    return command


def answer(delivery: Harbour, user: str, template: str, **changes: str) -> tuple[str, str | None]:
    """What becomes of a mail to a user: its state, and the reason."""
    command = sent(delivery, user, template, **changes)
    delivery.wait_for(command, LedgerState.ACCEPTED, LedgerState.SUPPRESSED)
    [[state, reason]] = delivery.rows("SELECT state, reason FROM ledger WHERE command_id = %s", command.id)
    return state, reason


def until(delivery: Harbour, user: str, template: str, expected: tuple[str, str | None]) -> None:
    """Mails to a user until one has this answer: a choice reaches delivery within two seconds or so."""
    told: list[tuple[str, str | None]] = []

    def comes() -> bool:
        told.append(answer(delivery, user, template))
        return told[-1] == expected

    try:
        wait_until(comes, f"mail is {expected}")
    except AssertionError as failure:
        failure.add_note(f"{len(told)} mails, the last: {told[-1:]}")
        for query in KNOWN:
            failure.add_note(f"{query}: {delivery.rows(query)}")
        raise


def second_of_unsubscribe_is_over(delivery: Harbour, user: str) -> None:
    """An unsubscribe counts from the end of its second: a consent within that second does not undo it."""
    query = "SELECT now() > since FROM suppressions WHERE user_id = %s"
    wait_until(lambda: delivery.rows(query, user) == [(True,)], "the unsubscribe counts")


def address_is_known(delivery: Harbour, user: str) -> None:
    """A mail to confirm goes to the address in the store, which follows the topic of profiles."""
    query = "SELECT FROM profiles WHERE user_id = %s AND state::text LIKE '%%@%%'"
    wait_until(lambda: delivery.rows(query, user), "the store has the address")


def link(mail: Message, kind: str) -> str:
    """The path of the first link of a kind in a mail."""
    text = str(mail) if kind == "u" else mail.get_body(("plain",)).get_content()  # type: ignore[attr-defined]
    found = re.search(rf"https://mail\.shop\.example(/{kind}/[\w-]+)", text.replace("=\n", ""))
    assert found is not None
    return found[1]


def mails(delivery: Harbour, trigger: str, user: str) -> list[Message]:
    """The mails of a trigger to a user that the receiver took."""
    rows = delivery.rows(
        "SELECT command_id FROM ledger WHERE user_id = %s AND trigger = %s ORDER BY state_at", user, trigger
    )
    ids = [command for (command,) in rows]
    found = {parsed(mail.raw)["X-Ebbtide-Command"]: parsed(mail.raw) for mail in delivery.sink.messages()}
    return [found[command] for command in ids if command in found]


ACCEPTED = (LedgerState.ACCEPTED, None)


def test_what_a_recipient_chooses_on_the_pages_is_what_they_get(delivery: Harbour, web: RunningWeb) -> None:
    template, user = delivery.publish_template(), delivery.publish_user()
    assert answer(delivery, user, template) == ACCEPTED
    [first] = mails(delivery, "hello", user)
    unsubscribe = urlsplit(first["List-Unsubscribe"].strip("<>")).path
    told = web.ask(unsubscribe, b"List-Unsubscribe=One-Click", key="", **FORM)
    assert told.status == 200
    wait_until(lambda: answer(delivery, user, template)[0] == LedgerState.SUPPRESSED, "mails are suppressed")
    assert answer(delivery, user, template, purpose=TRANSACTIONAL) == ACCEPTED

    address_is_known(delivery, user)
    assert web.ask(f"{unsubscribe}/resubscribe", b"", key="", **FORM).status == 303
    [confirm] = wait_until(lambda: mails(delivery, PREFERENCES, user), "the mail to confirm")
    assert answer(delivery, user, template)[0] == LedgerState.SUPPRESSED
    assert web.ask(link(confirm, "v"), key="").status == 200
    assert answer(delivery, user, template)[0] == LedgerState.SUPPRESSED
    second_of_unsubscribe_is_over(delivery, user)
    assert web.ask(link(confirm, "v"), b"", key="", **FORM).status == 303
    until(delivery, user, template, ACCEPTED)

    settings = re.search(r"/p/[\w-]+", web.ask(unsubscribe, key="").body.decode())
    assert settings is not None
    assert web.ask(f"{settings[0]}/pause", b"", key="", **FORM).status == 303
    until(delivery, user, template, (LedgerState.SUPPRESSED, SuppressionReason.USER_PAUSED))
    assert answer(delivery, user, template, purpose=TRANSACTIONAL) == ACCEPTED
    assert web.ask(f"{settings[0]}/pause", urlencode({"pause": "end"}).encode(), key="", **FORM).status == 303
    until(delivery, user, template, ACCEPTED)
