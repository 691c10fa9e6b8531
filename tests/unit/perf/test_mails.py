"""Mails composed and signed beside other libraries: each implementation has a rate, and both make the same mail."""

from email import message_from_bytes, policy

from perf.bench_mails import MAIL, composed, signed, standard_mail
from senders.content.message import compose


def test_each_implementation_has_a_rate() -> None:
    found = [*composed(2, 1), *signed(2, 1)]

    assert [(rate.work, rate.implementation) for rate in found] == [
        ("mails composed", "ebbtide"),
        ("mails composed", "email of the standard library"),
        ("mails signed", "ebbtide"),
        ("mails signed", "dkimpy"),
    ]
    assert all(rate.per_s > 0 for rate in found)


def test_both_implementations_make_the_same_mail() -> None:
    ours, theirs = (message_from_bytes(raw, policy=policy.default) for raw in (bytes(compose(MAIL)), standard_mail()))

    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        assert ours[name] == theirs[name]
    for kind in ("plain", "html"):
        bodies = [mail.get_body((kind,)) for mail in (ours, theirs)]
        texts = [body.get_content().splitlines() for body in bodies if body is not None]
        assert len(texts) == 2
        assert texts[0] == texts[1]
