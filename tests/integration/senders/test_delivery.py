"""Delivery as a whole, on real Kafka, TimescaleDB and SMTP: what becomes of a command."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dkim as dkimpy
import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import DOMAIN, Harbour, Tail, a_command, have_topics, lasting_harbour, parsed, wait_until

from schemas.brands import Brand, DkimName, SenderName
from schemas.codec import decode, encode, partition_for
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.profiles import Consent
from schemas.rules import CURRENT, Manifest
from schemas.topics import COMMANDS, DEAD_LETTERS, DECISIONS, OUTCOMES, PROFILES, RULES
from schemas.vocabulary import PREFERENCES, DeadLetterCause, DecisionOutcome, LedgerState, OutcomeKind
from senders.content.dkim import dns_record, load_key

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def delivery(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """One delivery that runs for all tests of this file; each test uses users and commands of its own."""
    yield from lasting_harbour(servers, tmp_path_factory.mktemp("delivery"), template_wait_s=1.0)


@pytest.fixture(scope="module")
def template(delivery: Harbour) -> str:
    return delivery.publish_template()


def send(delivery: Harbour, command: SendCommand) -> SendCommand:
    delivery.publish(COMMANDS.name, command.user_id, command)
    return command


def reason(delivery: Harbour, command: SendCommand) -> Any:
    return delivery.rows("SELECT reason, detail, attempt FROM ledger WHERE command_id = %s", command.id)[0]


def outcomes(tail: Tail, command: SendCommand, count: int) -> list[Outcome]:
    def found() -> list[Outcome]:
        published = [decode(Outcome, value) for value in tail.read()]
        mine = [outcome for outcome in published if outcome.command_id == command.id]
        return mine if len(mine) >= count else []

    return wait_until(found, f"{count} outcomes")


def test_a_command_becomes_one_signed_mail_an_accepted_row_an_outcome_and_a_delivery(
    delivery: Harbour, template: str
) -> None:
    tail = Tail(delivery.kafka, OUTCOMES.name)
    user = delivery.publish_user()
    command = send(delivery, a_command(user, template, data={"word": "Größe <b>"}))
    delivery.wait_for(command, LedgerState.ACCEPTED)

    [raw] = delivery.mails(command)
    record = dns_record(load_key(delivery.key_file)).encode()
    assert dkimpy.verify(
        raw, dnsfunc=lambda name, **_: record if name == f"demo._domainkey.{DOMAIN}.".encode() else b""
    )
    mail = parsed(raw)
    assert mail["Message-ID"] == f"<{command.id}@{DOMAIN}>"
    assert mail["To"] == f"ann+{user}@example.net"
    assert mail["Subject"] == f"Hello {user}"
    text, html = list(mail.walk())[1:]
    assert "Größe <b>" in text.get_payload(decode=True).decode()
    assert "Größe &lt;b&gt;" in html.get_payload(decode=True).decode()

    [outcome] = outcomes(tail, command, 1)
    tail.close()
    assert (outcome.kind, outcome.user_id, outcome.attempt) == (OutcomeKind.ACCEPTED, user, 1)
    rows = wait_until(
        lambda: delivery.rows(
            "SELECT id, kind, code, trigger, purpose, time FROM deliveries WHERE command_id = %s", command.id
        ),
        "a row in deliveries",
    )
    assert rows == [(outcome.id, "accepted", 250, "hello", "marketing", outcome.time)]


def test_the_same_command_twice_is_one_mail(delivery: Harbour, template: str) -> None:
    command = a_command(delivery.publish_user(), template)
    send(delivery, command)
    send(delivery, command)
    delivery.wait_for(command, LedgerState.ACCEPTED)
    send(delivery, command)
    marker = send(delivery, a_command(command.user_id, template))
    delivery.wait_for(marker, LedgerState.ACCEPTED)
    assert len(delivery.mails(command)) == 1
    assert reason(delivery, command)[2] == 1


def test_each_command_that_is_not_sent_has_its_reason(delivery: Harbour, template: str) -> None:
    withdrawn = {"marketing": Consent(granted=False, time=datetime.now(UTC))}
    gone = delivery.publish_user()
    delivery.publish(PROFILES.name, gone, None)
    cases = {
        "no_recipient": [
            a_command("nobody-at-all", template),
            a_command(delivery.publish_user(address=None), template, purpose="transactional"),
            a_command(gone, template),
        ],
        "no_consent": [
            a_command(delivery.publish_user(consent={}), template),
            a_command(delivery.publish_user(consent=withdrawn), template),
            a_command(delivery.publish_user(), template, purpose="digest"),
        ],
    }
    for expected, commands in cases.items():
        for command in commands:
            send(delivery, command)
            delivery.wait_for(command, LedgerState.SUPPRESSED, LedgerState.ACCEPTED)
            assert reason(delivery, command)[0] == expected
            assert delivery.mails(command) == []


def test_transactional_mail_needs_no_consent_and_goes_to_the_address_in_the_command(
    delivery: Harbour, template: str
) -> None:
    user = delivery.publish_user(consent={})
    command = send(delivery, a_command(user, template, purpose="transactional", to="desk@example.net"))
    delivery.wait_for(command, LedgerState.ACCEPTED)
    [raw] = delivery.mails(command)
    assert parsed(raw)["To"] == "desk@example.net"
    assert parsed(raw)["Auto-Submitted"] == "auto-generated"


def test_a_line_break_in_a_subject_becomes_a_space(delivery: Harbour) -> None:
    template = delivery.publish_template("---\nsubject: '{{ word }}'\n---\nx\n--- text ---\nx\n")
    command = send(delivery, a_command(delivery.publish_user(), template, data={"word": "a\r\nBcc: x@example.net"}))
    delivery.wait_for(command, LedgerState.ACCEPTED)
    [raw] = delivery.mails(command)
    assert (parsed(raw)["Subject"], parsed(raw)["Bcc"]) == ("a Bcc: x@example.net", None)


def test_an_address_at_a_domain_beyond_ascii_gets_mail_and_is_suppressed_in_every_spelling(
    delivery: Harbour, template: str
) -> None:
    name = f"ann+{uuid.uuid4().hex}"  # the database of the tests keeps suppressions from one run to the next
    user = delivery.publish_user(address=f"{name}@bücher.example")
    first = send(delivery, a_command(user, template))
    delivery.wait_for(first, LedgerState.ACCEPTED)
    [raw] = delivery.mails(first)
    assert parsed(raw)["To"] == f"{name}@xn--bcher-kva.example"
    reported = Outcome(id=name, command_id=first.id, user_id=user, kind=OutcomeKind.COMPLAINED, time=datetime.now(UTC))
    delivery.publish(OUTCOMES.name, user, reported)
    wait_until(lambda: delivery.rows("SELECT 1 FROM suppressions WHERE command_id = %s", first.id), "a suppression")
    again = delivery.publish_user(address=f"{name}@XN--BCHER-KVA.example".upper())
    withheld = send(delivery, a_command(again, template))
    assert delivery.wait_for(withheld, LedgerState.SUPPRESSED, LedgerState.ACCEPTED) == LedgerState.SUPPRESSED


def test_a_command_waits_for_a_profile_published_at_the_same_time(delivery: Harbour, template: str) -> None:
    commands = []
    for _ in range(10):
        user = delivery.publish_user()
        commands.append(send(delivery, a_command(user, template)))
    for command in commands:
        assert delivery.wait_for(command, LedgerState.ACCEPTED, LedgerState.SUPPRESSED) == LedgerState.ACCEPTED


def test_451_twice_and_then_250_is_accepted_at_the_third_attempt(delivery: Harbour, template: str) -> None:
    tail = Tail(delivery.kafka, OUTCOMES.name)
    command = send(delivery, a_command(delivery.publish_user("451-2"), template))
    delivery.wait_for(command, LedgerState.ACCEPTED)
    published = outcomes(tail, command, 3)
    tail.close()
    assert [(o.kind.value, o.attempt, o.reply and o.reply.code) for o in published] == [
        ("deferred", 1, 451),
        ("deferred", 2, 451),
        ("accepted", 3, 250),
    ]
    assert len({o.id for o in published}) == 3
    assert len(delivery.mails(command)) == 1


def test_550_is_refused_and_the_address_is_suppressed_for_every_purpose(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user("550")
    refused = send(delivery, a_command(user, template))
    delivery.wait_for(refused, LedgerState.REFUSED)
    assert reason(delivery, refused)[0] == "invalid_recipient"
    later = send(delivery, a_command(user, template, purpose="transactional"))
    delivery.wait_for(later, LedgerState.SUPPRESSED)
    assert reason(delivery, later)[0] == "suppressed"


def test_a_block_leaves_the_mail_waiting_and_the_address_alone(delivery: Harbour, template: str) -> None:
    for answered in ("554", "data-554", "data-552"):  # refused by policy at RCPT and at the dot; a full mailbox
        user = delivery.publish_user(answered)
        blocked = send(delivery, a_command(user, template))
        delivery.wait_for(blocked, LedgerState.DEFERRED)
        query = "SELECT hard, next_attempt_at IS NOT NULL, classifier_hash <> '' FROM ledger WHERE command_id = %s"
        assert delivery.rows(query, blocked.id) == [(False, True, True)]
        assert delivery.rows("SELECT 1 FROM suppressions WHERE command_id = %s", blocked.id) == []


def test_a_complaint_suppresses_every_purpose_and_an_unsubscribe_its_own(delivery: Harbour, template: str) -> None:
    for kind, withheld in (
        (OutcomeKind.COMPLAINED, {"marketing", "transactional"}),
        (OutcomeKind.UNSUBSCRIBED, {"marketing"}),
    ):
        user = delivery.publish_user()
        first = send(delivery, a_command(user, template))
        delivery.wait_for(first, LedgerState.ACCEPTED)
        reported = Outcome(id=f"{kind}-{user}", command_id=first.id, user_id=user, kind=kind, time=datetime.now(UTC))
        delivery.publish(OUTCOMES.name, user, reported)
        wait_until(
            lambda first=first: delivery.rows("SELECT 1 FROM suppressions WHERE command_id = %s", first.id),  # type: ignore[misc]
            "a suppression",
        )
        for purpose in ("marketing", "transactional"):
            command = send(delivery, a_command(user, template, purpose=purpose))
            state = delivery.wait_for(command, LedgerState.SUPPRESSED, LedgerState.ACCEPTED)
            assert (state == LedgerState.SUPPRESSED) is (purpose in withheld)
        rows = wait_until(
            lambda reported=reported: delivery.rows("SELECT kind, trigger FROM engagement WHERE id = %s", reported.id),  # type: ignore[misc]
            "a row in engagement",
        )
        assert rows == [(kind.value, "hello")]


def test_an_expired_command_is_not_sent(delivery: Harbour, template: str) -> None:
    tail = Tail(delivery.kafka, OUTCOMES.name)
    past = datetime.now(UTC) - timedelta(seconds=1)
    command = send(delivery, a_command(delivery.publish_user(), template, expires_at=past))
    delivery.wait_for(command, LedgerState.EXPIRED)
    [outcome] = outcomes(tail, command, 1)
    tail.close()
    assert (outcome.kind, outcome.attempt) == (OutcomeKind.EXPIRED, 0)
    assert delivery.mails(command) == []


def test_a_mail_that_cannot_be_made_fails_with_the_reason(delivery: Harbour, template: str) -> None:
    user = delivery.publish_user()
    broken = delivery.publish_template("---\nsubject: s\n---\n{% if %}\n--- text ---\n")
    header = delivery.publish_template("---\nsubject: '{% if none %}x{% endif %}'\n---\nx\n--- text ---\nx\n")
    cases = [
        (a_command(user, template, data={}), "undefined", "word"),
        (a_command(user, "0" * 32), "template_missing", "hello"),
        (a_command(user, broken), "template_invalid", None),
        (a_command(user, header), "header", None),
        (a_command(user, template, channel="sms"), "channel", "sms"),
    ]
    for command, expected, detail in cases:
        send(delivery, command)
        delivery.wait_for(command, LedgerState.FAILED)
        answer = reason(delivery, command)
        assert answer[0] == expected
        assert detail is None or answer[1] == detail
        assert delivery.mails(command) == []


def test_a_brands_mail_is_sent_as_the_manifest_says_and_without_its_key_it_waits(
    delivery: Harbour, template: str
) -> None:
    sender = SenderName(shown="The Shop", address=f"mail@shop.{DOMAIN}")
    shop = Brand(name="shop", sender=sender, dkim=DkimName(domain=DOMAIN, selector="demo"), list_id=f"lists.{DOMAIN}")
    keyless = Brand(name="keyless", sender=sender, dkim=DkimName(domain=DOMAIN, selector="spring"))
    now = datetime.now(UTC)
    manifest = Manifest(number=int(now.timestamp()), texts=[], applied_at=now, brands=[shop, keyless])
    delivery.publish(RULES.name, CURRENT, manifest)
    consent = dict.fromkeys(["shop/news", "keyless/news"], Consent(granted=True, time=now))
    user, other = delivery.publish_user(consent=consent), delivery.publish_user()

    def of(brand: str, to: str = user) -> SendCommand:
        return send(delivery, a_command(to, template, brand=brand, purpose=f"{brand}/news"))

    sent, waiting, unknown, elsewhere = of("shop"), of("keyless"), of("nobody"), of("shop", other)
    delivery.wait_for(sent, LedgerState.ACCEPTED)
    [mail] = map(parsed, delivery.mails(sent))
    assert (mail["From"], mail["List-Id"]) == (f"The Shop <mail@shop.{DOMAIN}>", f"<news.lists.{DOMAIN}>")
    assert mail["Message-ID"] == f"<{sent.id}@{DOMAIN}>"
    assert f"d={DOMAIN}; s=demo;" in mail["DKIM-Signature"]
    delivery.wait_for(elsewhere, LedgerState.SUPPRESSED)
    assert reason(delivery, elsewhere)[0] == "no_consent"
    delivery.wait_for(unknown, LedgerState.SUPPRESSED)
    wait_until(lambda: reason(delivery, waiting)[0] == "signing_key_missing", "the mail waits for its key")
    assert reason(delivery, waiting)[1] == f"no key for spring._domainkey.{DOMAIN}"

    transactional = a_command(user, template, brand="nobody", purpose="transactional")
    delivery.wait_for(send(delivery, transactional), LedgerState.FAILED)
    assert reason(delivery, transactional)[:2] == ("brand_missing", "nobody")


def test_a_mail_to_confirm_whose_brand_has_left_the_rules_comes_from_the_default_sender(
    delivery: Harbour, template: str
) -> None:
    user = delivery.publish_user()
    confirm = a_command(user, template, trigger=PREFERENCES, brand="gone", purpose="transactional")
    plain = a_command(user, template, purpose="transactional")
    for command in (confirm, plain):
        delivery.wait_for(send(delivery, command), LedgerState.ACCEPTED)
    [sent], [usual] = (list(map(parsed, delivery.mails(command))) for command in (confirm, plain))
    assert sent["From"] == usual["From"]
    assert f"d={DOMAIN}; s=demo;" in sent["DKIM-Signature"]


def test_without_a_reply_to_the_final_dot_marketing_is_held_and_transactional_mail_is_resent(
    delivery: Harbour, template: str
) -> None:
    held = send(delivery, a_command(delivery.publish_user("keep-then-drop-1"), template))
    resent = send(delivery, a_command(delivery.publish_user("keep-then-drop-1"), template, purpose="transactional"))
    delivery.wait_for(resent, LedgerState.ACCEPTED)
    delivery.wait_for(held, LedgerState.IN_DOUBT)
    assert len(delivery.mails(held)) == 1
    first, second = delivery.mails(resent)
    assert parsed(first)["Message-ID"] == parsed(second)["Message-ID"]
    assert reason(delivery, held) == ("no_reply", None, 1)
    assert reason(delivery, resent)[2] == 2


def test_an_unreadable_record_becomes_a_dead_letter_and_the_others_are_processed(
    delivery: Harbour, template: str
) -> None:
    tail = Tail(delivery.kafka, DEAD_LETTERS.name)
    user = delivery.publish_user()
    good = a_command(user, template)
    stray = a_command(user, template)
    count = have_topics(delivery.kafka)
    elsewhere = (partition_for(user.encode(), count) + 1) % count
    delivery.publish(COMMANDS.name, user, b"{not json")
    delivery.publish(COMMANDS.name, user, encode(good).replace(b'"purpose":"marketing",', b""))
    delivery.publish(COMMANDS.name, user, stray, partition=elsewhere)
    delivery.publish(COMMANDS.name, "another-key", stray)
    delivery.publish(COMMANDS.name, user, a_command(user, template, data={"word": "nul \x00"}))
    delivery.publish(COMMANDS.name, user, None)
    send(delivery, good)
    delivery.wait_for(good, LedgerState.ACCEPTED)

    def mine() -> list[DeadLetter]:
        letters = [decode(DeadLetter, value) for value in tail.read()]
        ours = [letter for letter in letters if letter.reader == "ebbtide-senders"]
        return ours if len(ours) >= 6 else []

    letters = wait_until(mine, "six dead letters")
    tail.close()
    causes = sorted(letter.cause.value for letter in letters)
    assert causes == ["invalid", "invalid", "misrouted", "misrouted", "not_json", "not_json"]
    assert b"{not json" in {letter.original_value() for letter in letters}
    assert any("purpose" in letter.detail for letter in letters if letter.cause is DeadLetterCause.INVALID)
    assert delivery.state(stray.id) is None


def test_decisions_are_recorded_once_and_an_unreadable_one_becomes_a_dead_letter(delivery: Harbour) -> None:
    user = delivery.publish_user()
    decision = Decision(
        id=f"decision-{user}",
        trigger="hello",
        rule_hash="r",
        user_id=user,
        occurrence="o",
        step="s",
        outcome=DecisionOutcome.HELD_OUT,
        event_ids=["e1", "e2"],
        inputs={"score": 0.5, "deep": [1, {"a": None}]},
        decided_at=datetime.now(UTC),
    )
    delivery.publish(DECISIONS.name, user, b"[]")
    delivery.publish(DECISIONS.name, user, decision)
    delivery.publish(DECISIONS.name, user, decision)
    last = decision.model_copy(update={"id": f"last-{user}"})
    delivery.publish(DECISIONS.name, user, last)
    wait_until(lambda: delivery.rows("SELECT 1 FROM decisions WHERE id = %s", last.id), "the last decision's row")
    rows = delivery.rows("SELECT outcome, event_ids, inputs, time FROM decisions WHERE id = %s", decision.id)
    assert rows == [("held_out", ["e1", "e2"], decision.inputs, decision.decided_at)]


def test_an_address_in_the_profile_is_never_logged(
    delivery: Harbour, template: str, capfd: pytest.CaptureFixture[str]
) -> None:
    user = delivery.publish_user("secret-mailbox")
    commands = [a_command(user, template), a_command(user, template, data={}), a_command(user, template, channel="x")]
    for command in commands:
        send(delivery, command)
    delivery.publish(COMMANDS.name, user, b'{"to": "secret-mailbox@example.net"}')
    for command in commands:
        delivery.wait_for(command, LedgerState.ACCEPTED, LedgerState.FAILED)
    output = capfd.readouterr()
    assert "secret-mailbox" not in output.err + output.out
