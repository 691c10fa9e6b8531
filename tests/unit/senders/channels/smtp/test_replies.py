"""SMTP replies: what each means for the mail and for the address."""

import pytest

from schemas.vocabulary import LedgerState
from senders.bounces.classifier import load_classifier
from senders.bounces.refusal import Stage
from senders.channels.smtp.replies import parse, result


@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (250, "2.0.0 ok", LedgerState.ACCEPTED),
        (251, "will forward", LedgerState.ACCEPTED),
        (421, "4.3.2 closing", LedgerState.DEFERRED),
        (451, "4.7.1 later", LedgerState.DEFERRED),
        (354, "go ahead", LedgerState.DEFERRED),
        (0, "", LedgerState.DEFERRED),
        (999, "nonsense", LedgerState.DEFERRED),
        (550, "5.1.1 no such user", LedgerState.REFUSED),
        (554, "5.7.1 spam", LedgerState.REFUSED),
        (554, "5.7.1 blocked using zen.spamhaus.org", LedgerState.DEFERRED),
    ],
)
def test_the_code_decides_the_state_unless_the_class_waits(code: int, text: str, state: LedgerState) -> None:
    assert result(parse(code, text), Stage.DATA, load_classifier()).state is state


@pytest.mark.parametrize(
    ("code", "text", "answered", "hard"),
    [
        (550, "5.1.1 unknown user", Stage.RCPT, True),
        (550, "unknown user", Stage.RCPT, True),
        (550, "Empfänger unbekannt", Stage.RCPT, True),
        (550, "用户不存在", Stage.RCPT, True),
        (550, "5.0.0 no", Stage.RCPT, False),
        (550, "Blocked: 192.0.2.1 is listed at dnsbl.example", Stage.RCPT, False),
        (550, "relay not permitted", Stage.RCPT, False),
        (550, "mailbox full", Stage.RCPT, False),
        (554, "5.1.10 null MX", Stage.DATA, True),
        (550, "message refused", Stage.DATA, False),
        (550, "5.7.1 policy", Stage.RCPT, False),
        (550, "5.7.26 DMARC", Stage.DATA, False),
        (553, "5.1.8 bad sender", Stage.RCPT, False),
        (552, "5.2.2 mailbox full", Stage.RCPT, False),
        (450, "4.1.1 maybe", Stage.RCPT, False),
    ],
)
def test_only_a_reply_about_the_address_is_hard(code: int, text: str, answered: Stage, hard: bool) -> None:
    assert result(parse(code, text), answered, load_classifier()).hard is hard


def test_the_enhanced_code_is_separate_from_the_text() -> None:
    reply = parse(550, "5.1.1 no such user\nreally not")
    assert (reply.code, reply.enhanced, reply.text) == (550, "5.1.1", "no such user really not")
    assert parse(550, "5.1.1").text == ""
    assert parse(550, "5.1 is not a code").enhanced is None
    assert parse(550, "5.\u0661.\u0661 digits of another script").enhanced is None


def test_addresses_in_a_reply_are_left_out() -> None:
    reply = parse(550, "5.1.1 <ann@example.net>: user ann@example.net unknown (ann@example.net)")
    assert "ann" not in reply.text
    assert "unknown" in reply.text


@pytest.mark.parametrize("address", ["jürgen@bücher.example", "ann\uff20example.net", "ann\ufe6bexample.net"])
def test_addresses_in_other_scripts_are_left_out_too(address: str) -> None:
    assert parse(550, f"Empfänger <{address}> unbekannt").text == "Empfänger <address> unbekannt"


def test_what_cannot_be_printed_is_not_kept() -> None:
    assert parse(550, "a\x00b\x1b[1m \u202ec\udc80 \u200bd").text == "a?b?[1m ?c? ?d"


def test_a_reply_of_any_length_and_bytes_fits_into_an_outcome() -> None:
    text = parse(550, "5.1.1 " + "é\udc80\x00" * 5000).text
    assert len(text) <= 1024
    assert text.encode().decode() == text
