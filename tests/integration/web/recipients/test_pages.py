"""The pages of recipients on real servers: what each changes, when, and with what proof."""

import asyncio
import base64
import hashlib
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio
from drivers.asgi_client import AsgiAnswer
from drivers.real_servers import RealServers
from drivers.recipient_pages import RecipientEdge, path_of, recipient_edge
from drivers.running_senders import have_topics

from infra.kafka.topic_reader import read_all
from schemas.codec import decode
from schemas.rules import Text, text_hash, text_key
from schemas.topics import RULES
from schemas.vocabulary import TRANSACTIONAL, Evidence, OutcomeKind
from senders.content.links import LinkKind
from senders.content.render import parse_template
from web.profiles.patches import ProfilePatch
from web.recipients.pages.confirmations import MOST_A_DAY
from web.recipients.pages.texts import languages

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(servers: RealServers) -> AsyncIterator[RecipientEdge]:
    """One edge for all tests of this file; each test has mails and readers of its own."""
    have_topics(servers.kafka)
    database_url = servers.create_database()
    async with recipient_edge(servers.kafka, database_url) as running:
        yield running
    servers.drop_database(database_url)


def text(answer: AsgiAnswer) -> str:
    return answer.body.decode()


def said(answer: AsgiAnswer) -> str | None:
    """What a page says of the POST before."""
    assert answer.status == 200
    found = re.search(r'<p class="status status" role="status">(.*?)</p>', text(answer))
    return found and found[1]


async def follow(edge: RecipientEdge, answer: AsgiAnswer) -> AsgiAnswer:
    assert answer.status == 303
    return await edge.request("GET", answer.headers["location"])


def link_in(command_data: dict[str, str]) -> str:
    return command_data["link"].removeprefix("https://mail.shop.example")


async def test_the_button_of_the_page_unsubscribes_and_the_page_then_says_so(edge: RecipientEdge) -> None:
    mail = await edge.a_reader(locale="en")
    path = path_of(LinkKind.UNSUBSCRIBE, mail)
    asked = await edge.request("GET", path)
    assert 'action="' + path + '/unsubscribe"' in text(asked)
    done = await follow(edge, await edge.post(f"{path}/unsubscribe"))
    assert "Offers and news" in (said(done) or "")
    [outcome] = await edge.recorded(mail)
    assert (outcome.kind, outcome.purpose, outcome.evidence) == (
        OutcomeKind.UNSUBSCRIBED,
        "marketing",
        Evidence.PAGE_POST,
    )
    answer = (await edge.profile(mail)).consent["marketing"]
    assert (answer.granted, answer.method) == (False, "preference_page")
    assert answer.text_version == languages()["en"].version
    assert datetime.now(UTC) - answer.time < timedelta(minutes=1)
    assert path_of(LinkKind.PREFERENCES, mail) in text(done)


async def test_the_one_click_of_a_mail_program_is_kept_in_the_profile_too(edge: RecipientEdge) -> None:
    mail = await edge.a_reader()
    answer = await edge.request("POST", path_of(LinkKind.UNSUBSCRIBE, mail), {}, b"List-Unsubscribe=One-Click")
    assert answer.status == 200
    consent = (await edge.profile(mail)).consent["marketing"]
    assert (consent.granted, consent.method, consent.text_version) == (False, "one_click", "")


async def test_what_is_turned_off_counts_at_once_and_nothing_else_changes(edge: RecipientEdge) -> None:
    mail = await edge.a_reader({"marketing": True, "news": True, "harbour/news": True, "digest": False})
    settings = path_of(LinkKind.PREFERENCES, mail)
    shown = text(await edge.request("GET", settings))
    assert re.findall(r'name="on" value="([^"]+)" checked', shown) == ["marketing", "news", "harbour/news"]
    fields = {"was": ["marketing", "news", "harbour/news"], "on": ["marketing", "harbour/news", "never/asked"]}
    assert said(await follow(edge, await edge.post(f"{settings}/purposes", **fields))) == "Gespeichert."
    consent = (await edge.profile(mail)).consent
    assert {purpose: each.granted for purpose, each in consent.items()} == {
        "marketing": True,
        "news": False,
        "harbour/news": True,
        "digest": False,
    }
    assert (consent["news"].method, consent["marketing"].method) == ("preference_page", "checkout")
    assert edge.sent(mail) == []
    await edge.post(f"{settings}/purposes", none="1", on=["marketing"])
    assert not any(each.granted for each in (await edge.profile(mail)).consent.values())


async def test_what_is_turned_on_counts_once_a_mail_is_confirmed(edge: RecipientEdge) -> None:
    mail = await edge.a_reader({"marketing": False, "news": True}, locale="de")
    settings = path_of(LinkKind.PREFERENCES, mail)
    await edge.post(f"{settings}/purposes", was=["news"], on=["news", "marketing"])
    [command] = edge.sent(mail)
    assert (command.to, command.purpose) == ((await edge.profile(mail)).address, TRANSACTIONAL)
    confirm = link_in(command.data)
    for method in ("GET", "HEAD", "GET"):
        assert (await edge.request(method, confirm)).status == 200
    assert not (await edge.profile(mail)).consent["marketing"].granted
    done = await follow(edge, await edge.post(confirm))
    assert said(done) == "Sie sind wieder angemeldet."
    answer = (await edge.profile(mail)).consent["marketing"]
    assert (answer.granted, answer.method) == (True, "confirmed_mail")
    assert answer.text_version == languages()["de"].version
    await edge.post(f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/unsubscribe")
    await edge.post(confirm)
    assert not (await edge.profile(mail)).consent["marketing"].granted, "a link that was used does not work again"


async def test_the_mail_to_confirm_can_be_rendered_in_every_language(edge: RecipientEdge) -> None:
    mails = [await edge.a_reader({"marketing": False}, locale=code) for code in languages()]
    for mail in mails:
        await edge.post(f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/resubscribe")
    commands = [edge.sent(mail)[0] for mail in mails]
    key = text_key(commands[0].template_hash).encode()
    [published] = {record.value() for record in read_all(edge.kafka, RULES.name) if record.key() == key}
    body = decode(Text, published).body
    assert text_hash(body) == commands[0].template_hash
    template = parse_template("confirm", body)
    for command in commands:
        content = template.render(command.data, {"id": command.user_id}, command.decided_at)
        assert content.subject == command.data["subject"]
        assert f'href="{command.data["link"]}"' in content.html
        assert command.data["link"] in content.text
        assert f'<html lang="{command.data["language"]}">' in content.html


async def test_another_address_counts_once_both_addresses_have_confirmed_it(edge: RecipientEdge) -> None:
    mail = await edge.a_reader()
    before, new = (await edge.profile(mail)).address, f"{uuid.uuid4().hex[:8]}@example.org"
    await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address=f"  {new} ")
    [first] = edge.sent(mail)
    assert first.to == before
    assert new in first.data["text"]
    await edge.post(link_in(first.data))
    assert (await edge.profile(mail)).address == before
    [_, second] = edge.sent(mail)
    assert second.to == new
    assert new in (said(await edge.request("GET", link_in(first.data))) or "")
    await edge.post(link_in(first.data))
    assert len(edge.sent(mail)) == 2, "a second click sends no second mail"
    await edge.post(link_in(second.data))
    assert (await edge.profile(mail)).address == new


async def test_mails_to_confirm_come_from_the_brand_whose_mail_was_acted_on(edge: RecipientEdge) -> None:
    of_brand, of_none = [await edge.a_reader({"marketing": False}) for _ in range(2)]
    with psycopg.connect(edge.database_url) as connection:
        connection.execute("UPDATE ledger_outcomes SET brand = 'harbour' WHERE command_id = %s", [uuid.UUID(of_brand)])
    for mail, brand in ((of_brand, "harbour"), (of_none, None)):
        await edge.post(f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/resubscribe")
        await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address="new@example.org")
        await edge.post(link_in(edge.sent(mail)[-1].data))
        assert [(command.step, command.brand) for command in edge.sent(mail)] == [
            ("resubscribe", brand),
            ("address", brand),
            ("new_address", brand),
        ]


async def moves(edge: RecipientEdge, mail: str, address: str) -> None:
    """A backend gives the user of this mail another address."""
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    assert not await edge.store.store([ProfilePatch(f"user-{mail[:8]}", now_us, "shop", {"address": address})])


async def test_what_a_mailbox_confirms_counts_only_while_the_user_has_it(edge: RecipientEdge) -> None:
    mail = await edge.a_reader({"marketing": False})
    await edge.post(f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/resubscribe")
    await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address="x@example.org")
    await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address="y@example.org")
    again, to_x, to_y = (link_in(command.data) for command in edge.sent(mail))
    await edge.post(to_x)
    at_x = link_in(edge.sent(mail)[-1].data)
    await moves(edge, mail, "owner@example.net")
    for link in (again, to_y, at_x):
        await edge.post(link)
        shown = await edge.request("GET", link)
        assert shown.status == 410
        assert "/p/" not in text(shown)
    profile = await edge.profile(mail)
    assert (profile.address, profile.consent["marketing"].granted) == ("owner@example.net", False)
    assert len(edge.sent(mail)) == 4
    assert "/p/" not in text(await edge.request("GET", to_x)), "the mailbox that confirmed is no longer the user's"


async def test_who_did_not_confirm_a_new_address_does_not_see_the_settings(edge: RecipientEdge) -> None:
    mail = await edge.a_reader()
    await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address="stranger@example.org")
    [first] = edge.sent(mail)
    await edge.post(link_in(first.data))
    [_, second] = edge.sent(mail)
    assert "/p/" not in text(await edge.request("GET", link_in(second.data)))
    with psycopg.connect(edge.database_url) as connection:
        connection.execute("UPDATE confirmations SET expires_at = now() WHERE command_id = %s", [second.id])
    expired = await edge.request("GET", link_in(second.data))
    assert expired.status == 410
    assert "/p/" not in text(expired)


async def test_an_address_that_was_written_but_not_noted_is_confirmed_by_another_click(edge: RecipientEdge) -> None:
    mail = await edge.a_reader()
    await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address="new@example.org")
    await edge.post(link_in(edge.sent(mail)[0].data))
    second = edge.sent(mail)[1]
    await moves(edge, mail, "new@example.org")
    done = await follow(edge, await edge.post(link_in(second.data)))
    assert "new@example.org" in (said(done) or "")
    assert "/p/" in text(done)


async def test_many_clicks_at_once_send_one_mail_to_the_new_address(edge: RecipientEdge) -> None:
    mail = await edge.a_reader()
    await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address="third@example.org")
    [first] = edge.sent(mail)
    answers = await asyncio.gather(*(edge.post(link_in(first.data)) for _ in range(30)))
    assert {answer.status for answer in answers} == {303}
    commands = {(command.id, command.to) for command in edge.sent(mail)} - {(first.id, first.to)}
    assert [to for _, to in commands] == ["third@example.org"], "delivery sends a command once, however often it comes"


async def test_only_so_many_mails_go_to_new_addresses_in_a_day(edge: RecipientEdge) -> None:
    mail = await edge.a_reader(locale="en")
    for number in range(MOST_A_DAY + 1):
        with psycopg.connect(edge.database_url) as connection:
            connection.execute(
                """UPDATE confirmations SET made_at = made_at - interval '1 day'
                   WHERE user_id = %s AND kind = 'address'""",
                [f"user-{mail[:8]}"],
            )
        await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address=f"n{number}@example.org")
        confirm = link_in(edge.sent(mail)[-1].data)
        answer = await edge.post(confirm)
    assert answer.headers["location"].endswith("?said=too_many")
    assert len(edge.sent(mail)) == 2 * MOST_A_DAY + 1
    assert 'method="post"' in text(await edge.request("GET", confirm)), "it can be confirmed tomorrow"


async def test_what_kafka_did_not_take_is_sent_by_asking_again_and_counts_once(edge: RecipientEdge) -> None:
    mail = await edge.a_reader({"marketing": False})
    again = f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/resubscribe"
    address = f"{path_of(LinkKind.PREFERENCES, mail)}/address"
    async with recipient_edge("127.0.0.1:9", edge.database_url) as away:
        answers = await asyncio.gather(*(away.post(again) for _ in range(MOST_A_DAY + 1)))
        assert {answer.status for answer in answers} == {503}
        assert (await edge.post(again)).headers["location"].endswith("?said=confirm")
        await edge.post(address, address="new@example.org")
        resubscribe, first = edge.sent(mail)
        assert (await away.post(link_in(first.data))).status == 503
    for _ in range(2):
        assert (await edge.post(link_in(first.data))).status == 303
    [_, _, second] = edge.sent(mail)
    for command in (resubscribe, second):
        await edge.post(link_in(command.data))
    profile = await edge.profile(mail)
    assert (profile.address, profile.consent["marketing"].granted) == ("new@example.org", True)


@pytest.mark.parametrize("wrong", ["", "ann", "a@b@example.net", "ann@example.net, bob@example.net", "<script>@x"])
async def test_a_wrong_address_is_said_beside_its_field(edge: RecipientEdge, wrong: str) -> None:
    mail = await edge.a_reader(locale="en")
    answer = await edge.post(f"{path_of(LinkKind.PREFERENCES, mail)}/address", address=wrong)
    assert answer.status == 422
    assert 'role="alert"' in text(answer)
    assert "<script>" not in text(answer)
    assert edge.sent(mail) == []


async def test_a_pause_lasts_30_days_and_can_be_ended(edge: RecipientEdge) -> None:
    mail = await edge.a_reader(locale="en")
    settings = path_of(LinkKind.PREFERENCES, mail)
    shown = await follow(edge, await edge.post(f"{settings}/pause"))
    until = (await edge.profile(mail)).paused_until
    assert until is not None
    assert timedelta(days=29, hours=23) < until - datetime.now(UTC) <= timedelta(days=30)
    assert "End the pause" in text(shown)
    await edge.post(f"{settings}/pause", pause="end")
    ended = (await edge.profile(mail)).paused_until
    assert ended is not None
    assert ended <= datetime.now(UTC)
    assert "End the pause" not in text(await edge.request("GET", settings))


async def test_language_and_time_zone_are_set_as_far_as_they_were_changed(edge: RecipientEdge) -> None:
    mail = await edge.a_reader(locale="de-AT", zone="Europe/Vienna")
    place = f"{path_of(LinkKind.PREFERENCES, mail)}/place"
    await edge.post(place, locale="de-AT", zone="Nowhere/Atall")
    await edge.post(place, locale="xx", zone="")
    profile = await edge.profile(mail)
    assert (profile.locale, profile.zone) == ("de-AT", "Europe/Vienna")
    shown = await follow(edge, await edge.post(place, locale="fr", zone="Europe/Paris"))
    profile = await edge.profile(mail)
    assert (profile.locale, profile.zone) == ("fr", "Europe/Paris")
    assert '<html lang="fr">' in text(shown)


async def test_a_user_gets_only_so_many_mails_to_confirm_in_a_day(edge: RecipientEdge) -> None:
    mail = await edge.a_reader({"marketing": False}, locale="en")
    again = f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/resubscribe"
    answers = [said(await follow(edge, await edge.post(again))) for _ in range(MOST_A_DAY + 2)]
    assert len(edge.sent(mail)) == MOST_A_DAY
    assert len(set(answers)) == 2
    assert "tomorrow" in (answers[-1] or "")


async def test_a_link_to_confirm_expires(edge: RecipientEdge) -> None:
    mail = await edge.a_reader({"marketing": False})
    await edge.post(f"{path_of(LinkKind.UNSUBSCRIBE, mail)}/resubscribe")
    [command] = edge.sent(mail)
    assert datetime.now(UTC) < command.expires_at < datetime.now(UTC) + timedelta(hours=1, minutes=1)
    with psycopg.connect(edge.database_url) as connection:
        connection.execute("UPDATE confirmations SET expires_at = now() WHERE command_id = %s", [command.id])
    await edge.post(link_in(command.data))
    assert (await edge.request("GET", link_in(command.data))).status == 410
    assert not (await edge.profile(mail)).consent["marketing"].granted


async def test_every_page_keeps_its_link_a_secret_and_runs_and_loads_nothing(edge: RecipientEdge) -> None:
    mail = await edge.a_reader()
    for path in (path_of(LinkKind.UNSUBSCRIBE, mail), path_of(LinkKind.PREFERENCES, mail), "/v/x", "/nothing"):
        answer = await edge.request("GET", path)
        style = re.search(r"<style>(.*?)</style>", text(answer), re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert answer.headers["content-security-policy"] == (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-robots-tag"] == "noindex"
        assert "set-cookie" not in answer.headers
        assert not re.search(r"<script|\son\w+=|\sstyle=|https?://", text(answer))


async def test_no_text_of_a_profile_stands_in_a_page_unescaped(edge: RecipientEdge) -> None:
    hostile = "<b onclick=x>'\"&"
    mail = await edge.a_reader({"marketing": True, "a.b/c-d": False}, locale=hostile, zone=hostile)
    for path in (path_of(LinkKind.UNSUBSCRIBE, mail), path_of(LinkKind.PREFERENCES, mail) + f"?said={hostile}"):
        page = text(await edge.request("GET", path))
        assert "<b" not in page.replace("<body>", "").replace("<button", "")
    assert "&lt;b onclick=x&gt;&#39;&#34;&amp;" in page


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_forged_link_is_a_page_that_leads_nowhere(edge: RecipientEdge, method: str) -> None:
    mail = await edge.a_reader()
    unsubscribe, settings = (path_of(kind, mail)[3:] for kind in (LinkKind.UNSUBSCRIBE, LinkKind.PREFERENCES))
    paths = [f"/p/{unsubscribe}", f"/v/{settings}", f"/u/{settings}", path_of(LinkKind.CONFIRM, "00" * 16)]
    paths += [f"/p/{settings[:-1]}", f"/p/{settings}x", path_of(LinkKind.PREFERENCES, "00" * 16)]
    paths += [f"/p/{unsubscribe}/pause", f"/u/{settings}/unsubscribe", f"/u/{settings}/resubscribe"]
    for path in paths:
        answer = await edge.request(method, path)
        assert answer.status in (404, 405)
        assert "location" not in answer.headers
        assert "<h1>Diese Seite gibt es nicht</h1>" in text(answer)
    assert await edge.recorded(mail) == []
