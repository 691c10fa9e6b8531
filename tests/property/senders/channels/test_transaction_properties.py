"""Whatever a server answers at each stage: one verdict, doubt only where it may have the mail, no false yes."""

import asyncio
from collections.abc import Callable

from drivers.mail_receiver import Receiver, Talk, running
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.vocabulary import LedgerState
from senders.bounces.classifier import load_classifier
from senders.channels.channel import SendResult
from senders.channels.smtp.channel import MAX_CONNECTIONS, SmtpChannel
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import MailHost, MailRoute, SmtpLimits
from senders.shaping.keys import TlsPolicy

ACCEPTED, REFUSED, DEFERRED, IN_DOUBT = (
    LedgerState.ACCEPTED,
    LedgerState.REFUSED,
    LedgerState.DEFERRED,
    LedgerState.IN_DOUBT,
)
MAIL = b"Subject: hello\r\n\r\nhello\r\n"
YES, GO, LATER, NO, CLOSING = (
    b"250 2.0.0 ok",
    b"354 go on",
    b"451 4.3.0 later",
    b"550 5.1.1 no such user",
    b"421 4.3.2 bye",
)
BROKEN = (None, b"what?", b"250-a\r\n550 b", b"\x80\xff")
"""A close, and what is no reply."""
ANSWERS = st.sampled_from([YES, YES, YES, LATER, NO, CLOSING, *BROKEN])
WAYS = {"chunked": ("PIPELINING", "CHUNKING"), "pipelined": ("PIPELINING",), "one by one": ()}
STATES = {YES: ACCEPTED, LATER: DEFERRED, NO: REFUSED, CLOSING: DEFERRED}


def allowed(way: str, answers: dict[str, bytes | None]) -> set[LedgerState]:
    """The states that a mail may end in. Behind a refusal, a broken reply may hide it."""
    unclear = {IN_DOUBT} if way == "chunked" else {DEFERRED}
    stages = [answers["MAIL"], answers["RCPT"], *([] if way == "chunked" else [answers["DATA"]])]
    for number, answer in enumerate(stages):
        if answer in BROKEN:
            return unclear
        if answer not in (YES, GO) or (number == 2 and answer is YES):
            rest = [*stages[number + 1 :], answers["FINAL"]]
            hidden = unclear if way != "one by one" and any(later in BROKEN for later in rest) else set()
            state = DEFERRED if number == 2 and answer is YES else STATES[answer]
            return {state} | hidden | ({REFUSED, DEFERRED} if answer is NO else set())
    final = answers["FINAL"]
    if final in BROKEN:
        return {IN_DOUBT}
    return {REFUSED, DEFERRED} if final is NO else {STATES[final or YES]}


def says(answer: bytes | None) -> Callable[[Talk], bytes | None]:
    return lambda _: answer


async def sent(way: str, answers: dict[str, bytes | None]) -> tuple[SendResult, bool, Receiver]:
    by_verb = {verb: says(answers[verb]) for verb in ("MAIL", "RCPT", "DATA")}
    async with running(Receiver(answers=by_verb, final=says(answers["FINAL"]), offers=WAYS[way])) as receiver:
        host = MailHost("mx.example", receiver.port, tls=TlsPolicy.OFF, addresses=("127.0.0.1",))
        limits = SmtpLimits.alike(connect_s=5, command_s=5, final_reply_s=5)
        channel = SmtpChannel.to(
            MailRoute("site.example", (host,), limits=limits), Connector(load_classifier(), allow_real_mail=False)
        )
        client = channel.client()
        result = await client.send("hello@harbour.example", "ann@example.net", MAIL)
        handed_over = client.handed_over
        await client.close()
    return result, handed_over, receiver


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(WAYS)),
    ANSWERS,
    ANSWERS,
    st.sampled_from([GO, GO, GO, YES, LATER, NO, CLOSING, *BROKEN]),
    ANSWERS,
)
def test_each_conversation_has_one_verdict_and_doubt_only_where_the_server_may_have_the_mail(
    way: str, mail: bytes | None, rcpt: bytes | None, data: bytes | None, final: bytes | None
) -> None:
    answers = {"MAIL": mail, "RCPT": rcpt, "DATA": data, "FINAL": final}
    result, handed_over, receiver = asyncio.run(sent(way, answers))
    assert result.state in allowed(way, answers)
    assert receiver.connections <= MAX_CONNECTIONS
    if result.state is ACCEPTED:
        assert (receiver.mails, receiver.contents) == (1, [MAIL])
    if result.state is IN_DOUBT:
        assert handed_over
        assert receiver.connections == 1, "a mail in doubt is never sent again by the channel"
    if result.reply is None and result.state is DEFERRED:
        assert not handed_over
