"""Opens sessions: host after host of a route, address after address, with EHLO, STARTTLS and AUTH done."""

import asyncio
import dataclasses
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException

from schemas.outcomes import Reply
from senders.bounces.classifier import Classifier
from senders.channels.channel import MailPath, Unreachable
from senders.channels.smtp import replies
from senders.channels.smtp.addresses import addresses_of, same_family
from senders.channels.smtp.conversation import Conversation
from senders.channels.smtp.dane import usable, verify
from senders.channels.smtp.extensions import Extensions
from senders.channels.smtp.host_memory import HostMemory
from senders.channels.smtp.route import Login, MailHost, MailRoute, SmtpLimits
from senders.channels.smtp.session import SmtpSession
from senders.channels.smtp.starttls import StarttlsMemory
from senders.shaping.document import SmtpState
from senders.shaping.keys import TlsPolicy

SILENT_KEEP_S: Final = 3600.0
UNREACHABLE_KEEP_S: Final = 300.0


class Connector:
    """One for all routes of a process: it keeps the TLS contexts, and what went wrong with hosts lately."""

    def __init__(self, classifier: Classifier, *, allow_real_mail: bool, ca_file: Path | None = None) -> None:
        self.starttls = StarttlsMemory()
        self._classifier = classifier
        self._allow_real_mail = allow_real_mail
        self._ca_file = ca_file
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._unreachable = HostMemory(UNREACHABLE_KEEP_S)
        self._silent = HostMemory(SILENT_KEEP_S)

    async def check(self, route: MailRoute) -> None:
        """Raise RealMailRefused unless all addresses of the route are allowed, and Unreachable if a host has none."""
        for host in route.hosts:
            await addresses_of(host, allow_real_mail=self._allow_real_mail)

    async def open(self, route: MailRoute, last: str | None = None) -> SmtpSession:
        """A session with the first address that answers, the host named `last` after all others.

        Raises Unreachable, or RealMailRefused. Names are resolved each time, and the connection goes to the address
        that was checked.
        """
        targets = await self._targets(route, last)
        failure: Exception = Unreachable(f"{route.name}: has no host")
        try:
            async with asyncio.timeout(route.limits.longest_open_s):
                for host, address in targets:
                    try:
                        session = await self._open(route, host, address)
                    except (SMTPException, OSError) as error:
                        self._unreachable.note(address)
                        failure = error
                    else:
                        self._unreachable.forget(address)
                        return session
        except TimeoutError:
            failure = TimeoutError(f"no host answered within {route.limits.longest_open_s:g} s")
        if isinstance(failure, Unreachable):
            raise failure
        raise Unreachable(f"{route.name}: {failure}", *_said(failure)) from failure

    async def _targets(self, route: MailRoute, last: str | None) -> Sequence[tuple[MailHost, str]]:
        """Hosts and addresses in order; those that could not be reached lately come at the end."""
        targets: list[tuple[MailHost, str]] = []
        failure = Unreachable(f"{route.name}: none of its addresses can be reached from {route.source or 'here'}")
        for host in route.ordered(last):
            try:
                addresses = await addresses_of(host, allow_real_mail=self._allow_real_mail)
            except Unreachable as error:
                failure = error
            else:
                targets += [(host, address) for address in addresses if same_family(address, route.source)]
        if not targets:
            raise failure
        return sorted(targets, key=lambda target: self._unreachable.has(target[1]))

    def closed_silently(self, session: SmtpSession) -> None:
        """Note that a host ended a connection without a reply to an envelope that had the content behind it.

        From then on it gets the content only after its reply to the envelope, so that this leaves no doubt again.
        """
        self._silent.note(session.path.address)

    # one address

    async def _open(self, route: MailRoute, host: MailHost, address: str) -> SmtpSession:
        """A session that is ready for mail, with TLS as the host's policy says."""
        if host.tls is TlsPolicy.OPPORTUNISTIC and not host.tlsa and not self.starttls.failed_recently(address):
            try:
                return await self._connect_to(route, host, address, secure=True)
            except _StarttlsFailed as failed:
                self.starttls.failed(address, failed.cause, route.broken_tls_s)
        secure = bool(host.tlsa) or host.tls in (TlsPolicy.REQUIRED, TlsPolicy.VERIFIED)
        return await self._connect_to(route, host, address, secure=secure)

    async def _connect_to(self, route: MailRoute, host: MailHost, address: str, *, secure: bool) -> SmtpSession:
        client = aiosmtplib.SMTP(
            hostname=address,
            port=host.port,
            start_tls=False,
            local_hostname=route.hello,
            timeout=route.limits.connect_s,
            source_address=None if route.source is None else (route.source, 0),
        )
        try:
            greeting = await client.connect()
            await _say_hello(client, route.limits.hello_s)
            if secure and client.supports_extension("starttls"):
                await self._start_tls(client, host, route.limits)
                self.starttls.worked(address)
            elif host.tlsa or host.tls in (TlsPolicy.REQUIRED, TlsPolicy.VERIFIED):
                raise Unreachable(f"{host.server}: offers no STARTTLS, which {_demand(host)} requires")
            if route.login is not None:
                await _log_in(client, host, route.login, route.limits.hello_s)
            return self._session(client, route, host, address, f"< {greeting.code} {greeting.message}")
        except BaseException:
            client.close()
            raise

    async def _start_tls(self, client: aiosmtplib.SMTP, host: MailHost, limits: SmtpLimits) -> None:
        """STARTTLS, and EHLO again, because the server has discarded what the first one said (RFC 3207, 4.2)."""
        verified = host.tls is TlsPolicy.VERIFIED and not any(map(usable, host.tlsa))
        name = host.name if verified else host.tls_name or host.name
        try:
            context = self._context(verified=verified)
            await client.starttls(server_hostname=name, tls_context=context, timeout=limits.starttls_s)
            if host.tlsa:
                verify(client.get_transport_info("ssl_object"), host)
            await client.ehlo(timeout=limits.hello_s)
        except (SMTPException, OSError) as error:
            raise _StarttlsFailed(error) from error

    def _context(self, *, verified: bool) -> ssl.SSLContext:
        """One context for all connections of a kind: making one takes 40 ms."""
        if verified not in self._contexts:
            context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
            if not verified:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[verified] = context
        return self._contexts[verified]

    def _session(
        self, client: aiosmtplib.SMTP, route: MailRoute, host: MailHost, address: str, greeting: str
    ) -> SmtpSession:
        """Take the connection over from aiosmtplib, which allows one command in flight."""
        transport = client.protocol.transport if client.protocol is not None else None
        if not isinstance(transport, asyncio.Transport):
            raise ConnectionResetError("the connection was lost after EHLO")
        extensions = Extensions.of(client.esmtp_extensions)
        if self._silent.has(address):
            extensions = dataclasses.replace(extensions, chunking=False)
        own, tls = transport.get_extra_info("sockname"), transport.get_extra_info("ssl_object")
        path = MailPath(host.name, address, str(own[0]) if own else "", None if tls is None else tls.version())
        opening = (greeting, f"> EHLO {route.hello}", f"< {client.last_ehlo_response}")
        return SmtpSession(Conversation(transport), extensions, route.limits, self._classifier, path, opening)


class _StarttlsFailed(ConnectionError):
    """The server offered STARTTLS and then refused it, or the handshake failed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"STARTTLS failed: {cause}")
        self.cause = cause


def _said(failure: Exception) -> tuple[Reply | None, SmtpState]:
    """The reply that a host gave instead of a session, if it gave one, and what it answered."""
    match failure:
        case _StarttlsFailed():
            return _said(failure.cause)[0], SmtpState.STARTTLS
        case aiosmtplib.SMTPAuthenticationError():
            answered = SmtpState.AUTH
        case aiosmtplib.SMTPHeloError():
            answered = SmtpState.EHLO
        case _:
            answered = SmtpState.GREETING
    said = replies.parse(failure.code, failure.message) if isinstance(failure, SMTPResponseException) else None
    return said, answered


def _demand(host: MailHost) -> str:
    return "its TLSA record" if host.tlsa else f"its TLS policy `{host.tls}`"


async def _say_hello(client: aiosmtplib.SMTP, wait_s: float) -> None:
    """EHLO, or HELO if the server does not know EHLO (RFC 5321, 3.2)."""
    try:
        await client.ehlo(timeout=wait_s)
    except aiosmtplib.SMTPHeloError as refused:
        if not 500 <= refused.code < 600:
            raise
        await client.helo(timeout=wait_s)


async def _log_in(client: aiosmtplib.SMTP, host: MailHost, login: Login, wait_s: float) -> None:
    """AUTH, which nobody gets to hear without verified TLS."""
    if host.tls is not TlsPolicy.VERIFIED:
        raise Unreachable(
            f"{host.server}: gets no password, because its TLS policy `{host.tls}` verifies no certificate"
        )
    await client.login(login.user, login.password.get_secret_value(), timeout=wait_s)
