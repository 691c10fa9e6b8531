"""`ebbtide send-test`: mails a rendered template to one address."""

import asyncio
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from cli.environment import Environment
from cli.rules.preview import faults_of, read_template, template_text
from cli.rules.samples import PreviewError, Sample
from cli.running import make_dkim_key
from schemas.addresses import plain_address
from schemas.commands import SendCommand
from schemas.rules import text_hash
from schemas.vocabulary import TRANSACTIONAL, LedgerState
from senders.channels.channel import Channel, SendResult, Unreachable
from senders.channels.smtp.channel import SmtpChannel
from senders.content.dkim import NoSigningKey, load_signer
from senders.content.links import LinkKeys, LinkPages
from senders.content.mail_builder import MailBuilder, Tracking
from senders.settings import SenderSettings


def send_test(environment: Environment, template: Path, to: str, sample: Sample) -> tuple[str, SendResult]:
    """Mails the template to an address through the configured server; the server and what it answered.

    Raises RealMailRefused if the server is not on this machine and real mail is not allowed. Raises PreviewError if the
    address is invalid, the brand's key is not here, or no server answers.
    """
    try:
        to = plain_address(to)
    except ValueError as error:
        raise PreviewError(f"--to: {error}") from None
    compiled = read_template(template)
    settings = environment.settings(SenderSettings)
    make_dkim_key(environment)
    signer = load_signer(settings.dkim_domain, settings.dkim_selector, settings.dkim_key, settings.dkim_keys)
    now = datetime.now(UTC)
    command = _command(template, sample, now)
    with faults_of(template, sample):
        pages = settings.link_pages or LinkPages("https://mail.example", LinkKeys([uuid.uuid4().hex]))
        builder = MailBuilder(signer, settings.sender, pages, Tracking(frozenset()))
        try:
            mail = builder.build(command, to, sample.user, compiled, now, sample.brand).message
        except NoSigningKey as error:
            raise PreviewError(f"{error}; EBBTIDE_DKIM_KEYS names the file of keys (docs/delivery.md)") from None
    channel: Channel = SmtpChannel.of(settings)
    try:
        with _log_on_stderr():
            sender = settings.sender.address if sample.brand is None else sample.brand.sender.address
            return channel.server, asyncio.run(_deliver(channel, sender, to, mail))
    except Unreachable as error:
        raise PreviewError(f"no mail server answers at {error}; `ebbtide run sink` starts one here") from None


def _command(template: Path, sample: Sample, now: datetime) -> SendCommand:
    """A command that comes from no rule and is in no ledger."""
    return SendCommand(
        id=uuid.uuid4().hex,
        trigger="send-test",
        rule_hash="",
        occurrence="send-test",
        step="send-test",
        user_id=sample.user.user_id,
        template=template.stem,
        template_hash=text_hash(template_text(template)),
        brand=sample.brand and sample.brand.name,
        purpose=TRANSACTIONAL,
        data=sample.data,
        decided_at=now,
        expires_at=now + timedelta(hours=1),
    )


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Standard output is the result. What delivery logs, such as TLS that fails, goes to standard error."""
    before = structlog.get_config()
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _deliver(channel: Channel, mail_from: str, to: str, mail: bytes) -> SendResult:
    client = channel.client()
    try:
        return await client.send(mail_from, to, mail)
    finally:
        await client.close()


def result_words(server: str, result: SendResult) -> str:
    """What the server said, on one line."""
    reply = result.reply
    parts = [result.reason] if reply is None else [str(reply.code), reply.enhanced, reply.text]
    return f"{result.state} by {server}: {' '.join(filter(None, parts))}"


def accepted(result: SendResult) -> bool:
    """Whether the server took the mail."""
    return result.state is LedgerState.ACCEPTED
