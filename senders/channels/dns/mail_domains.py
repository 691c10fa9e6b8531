"""From a recipient's domain to its mail servers: MX (RFC 5321, 5.1), null MX (RFC 7505), MTA-STS, DANE (RFC 7672).

A lookup that fails answers nothing: the mail waits, or goes to a host whose lookups answer. It never makes a host look
as if it demanded less. What was found is kept by its TTL. At most MAX_HOSTS of a set are looked up, the preferred ones.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import structlog

from schemas.addresses import ascii_domain
from schemas.vocabulary import LedgerState, ReplyClass
from senders.channels.channel import LookupFailed, NoDestination, SendResult, Unreachable
from senders.channels.dns.mail_domain import MailDomain, best_hosts
from senders.channels.dns.public_addresses import may_get_mail
from senders.channels.dns.resolver import DnsAnswer, DnsResolver, host_name
from senders.channels.dns.sts import StsPolicies
from senders.channels.dns.sts_policy import StsMode, StsPolicy
from senders.channels.smtp.route import MailHost, TlsaRecord
from senders.shaping.keys import TlsPolicy

MAX_HOSTS: Final = 16
SHORTEST_S: Final = 30.0
LONGEST_S: Final = 3600.0
FAILURE_KEEP_S: Final = 15.0
MAX_NAMES: Final = 100
"""Hosts that a site is named by, the preferred ones."""
MAX_KEPT: Final = 20_000
NEXT_STEP: Final = "let EBBTIDE_DNS_SERVERS name a resolver that validates DNSSEC"


class _Unfit(Enum):
    """Why a host gets no mail now."""

    FAILED = "its lookups fail"
    NO_ADDRESS = "has no address"
    PROHIBITED = "has only private, own or loopback addresses"
    NOT_IN_POLICY = "is not in the domain's MTA-STS policy"


@dataclass(frozen=True, slots=True)
class _Question:
    domain: str
    sts: bool


@dataclass(frozen=True, slots=True)
class _Lookup:
    """What a lookup gave, and until when it holds."""

    found: MailDomain | NoDestination | Unreachable
    until: float


class MailDomains:
    """For all domains of a process. Lookups of one domain at the same time are one."""

    def __init__(
        self,
        resolver: DnsResolver,
        policies: StsPolicies,
        *,
        allow_private: bool = False,
        dane: bool = True,
        port: int = 25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._policies = policies
        self._allow_private = allow_private
        self._dane = dane
        self._port = port
        self._clock = clock
        self._kept: dict[_Question, _Lookup] = {}
        self._running: dict[_Question, asyncio.Task[_Lookup]] = {}
        self._log = structlog.get_logger("senders.channels.dns.mail_domains")
        self.dane_works: bool | None = None
        """Whether DANE is used: not without a resolver that validates. None before the first lookup."""

    def problems(self) -> list[str]:
        """What is wrong with the lookups, and what to do."""
        if self._dane and self.dane_works is False:
            return [f"DANE is off: the resolver sets no AD bit; {NEXT_STEP}"]
        return []

    async def find(self, domain: str, *, sts: bool = True) -> MailDomain:
        """The mail servers of a domain, in letters of any script; with `sts` as its MTA-STS policy demands.

        Raises NoDestination if it takes no mail, and LookupFailed if that cannot be said now, or no host may get mail.
        """
        question = _Question(domain, sts)
        kept = self._kept.get(question)
        if kept is None or self._clock() >= kept.until:
            kept = await self._looked_up(question)
        match kept.found:
            case MailDomain() as found:
                return found
            case NoDestination() as none:
                raise NoDestination(str(none), none.result)
            case failure:
                raise LookupFailed(str(failure))

    async def _looked_up(self, question: _Question) -> _Lookup:
        task = self._running.get(question)
        if task is None:
            task = self._running[question] = asyncio.create_task(self._look_up(question))
            task.add_done_callback(lambda _: self._running.pop(question))
        kept = await asyncio.shield(task)  # one that waits may be cancelled; the others go on waiting
        self._kept.pop(question, None)
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[question] = kept
        return kept

    async def _look_up(self, question: _Question) -> _Lookup:
        try:
            found, ttl_s = await self._find(question.domain, sts=question.sts)
        except NoDestination as none:
            return _Lookup(none, self._clock() + SHORTEST_S)
        except Unreachable as failure:
            return _Lookup(failure, self._clock() + FAILURE_KEEP_S)
        return _Lookup(found, self._clock() + min(max(ttl_s, SHORTEST_S), LONGEST_S))

    async def _find(self, domain: str, *, sts: bool) -> tuple[MailDomain, float]:
        try:
            name = ascii_domain(domain).lower()
            mx = await self._resolver.ask(name, "MX")
        except ValueError as problem:
            raise _no_mail(f"{domain[:80]}: {problem}", ReplyClass.BAD_DOMAIN, hard=True) from None
        await self._look_at_dane()
        hosts = _mx_hosts(name, mx)
        policy = await self._policies.policy(name) if sts else None
        enforced = policy if policy is not None and policy.mode is StsMode.ENFORCE else None
        lookups = [self._host(host, preference, mx, enforced) for preference, host in best_hosts(hosts, MAX_HOSTS)]
        answers = await asyncio.gather(*lookups)
        fit = tuple(host for host, _ in answers if isinstance(host, MailHost))
        if not fit:
            raise _unfit(name, implicit=not mx.records, reasons=[host for host, _ in answers])
        names = frozenset(host for _, host in best_hosts(hosts, MAX_NAMES))
        return MailDomain(name, names, fit), min([mx.ttl_s, *(ttl_s for _, ttl_s in answers)])

    async def _look_at_dane(self) -> None:
        """Note whether the resolver validates, and say so once if DANE is off for want of that."""
        works = self._dane and await self._resolver.validates()
        if self._dane and not works and self.dane_works is not False:
            self._log.warning("dane_off", next_step=NEXT_STEP)
        self.dane_works = works

    # one host

    async def _host(
        self, name: str, preference: int, mx: DnsAnswer, policy: StsPolicy | None
    ) -> tuple[MailHost | _Unfit, float]:
        """A host that may get mail, or why it may not; and for how long that holds."""
        if policy is not None and not policy.allows(name):
            return _Unfit.NOT_IN_POLICY, LONGEST_S
        try:
            proving = bool(self.dane_works and mx.authentic)
            addresses, answers = await self._addresses(name, whole=proving)
            allowed = tuple(address for address in addresses if self._allow_private or may_get_mail(address))
            if not allowed:
                return (_Unfit.PROHIBITED if addresses else _Unfit.NO_ADDRESS), min(_ttls(answers))
            host = MailHost(
                name, self._port, preference, TlsPolicy.OFF if policy is None else TlsPolicy.VERIFIED, allowed
            )
            if not (proving and all(answer.authentic for answer in answers)):
                return host, min(_ttls(answers))
            return await self._with_dane(host, answers)
        except (LookupFailed, ValueError):
            return _Unfit.FAILED, FAILURE_KEEP_S

    async def _addresses(self, name: str, *, whole: bool) -> tuple[list[str], list[DnsAnswer]]:
        """The addresses, those of IPv6 first, and the answers. Raises LookupFailed, if `whole` also for one of both."""
        results = await asyncio.gather(
            *(self._resolver.ask(name, kind) for kind in ("AAAA", "A")), return_exceptions=True
        )
        answers = [answer for answer in results if isinstance(answer, DnsAnswer)]
        records: list[Any] = [record for answer in answers for record in answer.records]
        for failure in results:
            if isinstance(failure, BaseException) and (whole or not records or not isinstance(failure, LookupFailed)):
                raise failure
        return [str(record.address) for record in records], answers

    async def _with_dane(self, host: MailHost, answers: list[DnsAnswer]) -> tuple[MailHost, float]:
        """The host with its TLSA records, at the end of its CNAMEs or else at its own name (RFC 7672, 2.2.2)."""
        canonical = next((answer.canonical for answer in answers if answer.records), host.name)
        asked = []
        for name in dict.fromkeys((canonical, host.name)):
            answer = await self._resolver.ask(f"_{host.port}._tcp.{name}", "TLSA")
            asked.append(answer)
            records: list[Any] = list(answer.records) if answer.authentic else []
            if records:
                tlsa = tuple(TlsaRecord(item.usage, item.selector, item.mtype, item.cert) for item in records)
                return _proven_by(host, tlsa, name), min(_ttls([*answers, *asked]))
        return host, min(_ttls([*answers, *asked]))


def _proven_by(host: MailHost, tlsa: tuple[TlsaRecord, ...], name: str) -> MailHost:
    return MailHost(host.name, host.port, host.preference, host.tls, host.addresses, tlsa, name)


def _ttls(answers: list[DnsAnswer]) -> list[float]:
    return [answer.ttl_s for answer in answers]


def _mx_hosts(domain: str, mx: DnsAnswer) -> list[tuple[int, str]]:
    """Preferences and hosts. Without MX the domain is its own host; raises NoDestination if it takes no mail."""
    if not mx.exists:
        raise _no_mail(f"{domain}: does not exist", ReplyClass.BAD_DOMAIN, hard=True)
    records: list[Any] = list(mx.records)
    if not records:
        return [(0, domain)]
    hosts = [(int(record.preference), name) for record in records if (name := host_name(record.exchange))]
    if not hosts:
        raise _no_mail(f"{domain}: takes no mail (null MX)", ReplyClass.NO_MAIL, hard=True)
    return hosts


def _unfit(domain: str, *, implicit: bool, reasons: list[MailHost | _Unfit]) -> Exception:
    """What to raise for a domain without a host that may get mail."""
    why = next((reason for reason in _Unfit if reason in reasons), _Unfit.NO_ADDRESS)
    if implicit and why is _Unfit.NO_ADDRESS:
        return _no_mail(f"{domain}: has neither MX nor address", ReplyClass.BAD_DOMAIN, hard=True)
    if why is _Unfit.PROHIBITED:
        return _no_mail(f"{domain}: {why.value}", ReplyClass.ROUTING_ERRORS, hard=False)
    return Unreachable(f"{domain}: each of its mail servers {why.value}")


def _no_mail(text: str, reason: ReplyClass, *, hard: bool) -> NoDestination:
    return NoDestination(text, SendResult(LedgerState.REFUSED, reason, None, hard))
