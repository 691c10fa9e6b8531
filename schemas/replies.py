"""What an SMTP reply says: its class, and whether it condemns the address. Pure; delivery asks it once for each reply.

The text is read first, because codes are used loosely: many servers say `550` without an enhanced code to whatever
they do not like, some say `5.7.1 No such user`, and some say `5.1.1` of a sender. What the text says of us (lists,
policy, relaying, our host, our sender) goes before what it says of the address. Enhanced codes (RFC 3463 and IANA's
registry, RFC 7504, RFC 7505) answer where the text says neither. What nobody can tell is `unclassified` and not hard.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from schemas.vocabulary import HARD, ReplyClass


class SmtpCommand(StrEnum):
    """The command that a reply answered. One mail has one recipient, so a reply to DATA may be about it as well."""

    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Judgment:
    """A reply's class; `hard` if the address must get no mail any more."""

    reply_class: ReplyClass
    hard: bool


def judge(code: int, enhanced: str | None, text: str, answered: SmtpCommand) -> Judgment | None:
    """What a reply says; None of one that refuses nothing (below 400).

    Only a permanent refusal condemns, and never one to MAIL, where the server does not know the recipient yet.
    """
    if code < 400:
        return None
    found = _about(code, enhanced, text, answered)
    if answered is SmtpCommand.MAIL and found in HARD:
        found = ReplyClass.SENDER
    permanent = 500 <= code < 600 and not (enhanced or "").startswith("4.")
    return Judgment(found, permanent and found in HARD)


def _about(code: int, enhanced: str | None, text: str, answered: SmtpCommand) -> ReplyClass:
    words = _URL.sub(r" \1 ", text.lower().replace("\u2019", "'"))
    status = enhanced or _embedded(words)
    if status == "5.4.1" and _EXCHANGE_UNKNOWN.search(words):
        return ReplyClass.BAD_MAILBOX
    for reply_class, pattern in _TEXTS:
        if pattern.search(words):
            return reply_class
    if _MAILBOX_UNAVAILABLE.search(words):
        says_more = status is not None and not status.startswith(("5.0.", "5.1.", "5.5."))
        return ReplyClass.UNAVAILABLE if says_more or answered is not SmtpCommand.RCPT else ReplyClass.BAD_MAILBOX
    return _by_status(status) or _CODES.get(code, ReplyClass.UNCLASSIFIED)


def _embedded(words: str) -> str | None:
    """The enhanced code that qmail puts at the end: `sorry, no mailbox here by that name. (#5.1.1)`."""
    found = _EMBEDDED.search(words)
    return found.group(1) if found else None


def _by_status(status: str | None) -> ReplyClass | None:
    if status is None:
        return None
    detail = status.partition(".")[2]
    return _DETAILS.get(detail) or _SUBJECTS.get(detail.partition(".")[0])


_URL = re.compile(r"https?://([a-z0-9.-]{1,253})\S*")
_EMBEDDED = re.compile(r"#\s?([45]\.\d{1,3}\.\d{1,3})\b")
_EXCHANGE_UNKNOWN = re.compile(r"recipient address(es)? rejected ?: access denied")
"""Exchange Online's answer for an address that the tenant does not have (directory-based edge blocking)."""
_MAILBOX_UNAVAILABLE = re.compile(r"mailbox (is )?(unavailable|not available)")
"""RFC 5321's phrase for 550, which Outlook.com, GMX and 1&1 answer to RCPT for mailboxes that do not exist."""


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


_GAP = r"[^.;:!]{0,60}?"
"""What may stand between two words of one clause. Bounded, so that hostile text costs no more than its length."""
_MAILBOX = r"(?:user(?: ?name| ?id)?|recipient|mailbox|mail box|inbox|account|alias|addressee|address|local[ -]?part)s?"
_MISSING = (
    r"(?:unknown|not known|not found|(?:could|can)(?: ?not|n't) be found|wasn't found|invalid|not valid|undefined|"
    r"(?:does|do|did)(?: ?not|n't) exist|no longer exists?|not exist(?:ing)?|non[- ]?exist[ae]nt|unrecogni[sz]ed|"
    r"not recogni[sz]ed|not listed in (?:the )?(?:domino|public|name)|undeliverable|unroute?able)"
)
_FILLER = r"(?:(?!sender|ip|client|host|helo|ehlo|remote|source|from|return|reverse|envelope)[a-z0-9-]{1,20} ){0,2}?"
_GONE = (
    r"(?:disabled|deactivated|inactive|not active|closed|deleted|terminated|discontinued|cancell?ed|removed|retired)"
)

_TEXTS: tuple[tuple[ReplyClass, re.Pattern[str]], ...] = (
    (
        ReplyClass.LISTED,
        _any(
            r"dns[bwr]l|\brbl|rbl\b|\b[scxp]bl\b|spamhaus|spamcop|sorbs|surbl|uribl|uceprotect|invaluement|senderscore",
            r"(?:block|black|deny|banned?)[ -]?list|(?<!not )\blisted\b|reputation|\bbanned\b",
            r"blocked using|^\W*blocked\b|\bip\b.{0,40} blocked",
        ),
    ),
    (
        ReplyClass.AUTHENTICATION,
        _any(r"\bspf\b|sender policy framework|\bdkim\b|\bdmarc\b|authenticat|authrequired|auth required"),
    ),
    (
        ReplyClass.RELAYING,
        _any(
            r"(?<![.-])\brelay(?:ing|ed)?\b(?![.-]| recipient)|open relay|rcpthosts|rcpt hosts",
            r"n(?:on-|ot (?:an )?)accepted domain|not (?:a )?local (?:domain|host)|isn't in my list|not in my list",
            r"not (?:hosted|handled|served|serviced) (?:here|on this|by this)|mail for .{1,60} not accepted here",
            r"(?:do not|don't|does not|will not|not) accept(?:ing)? (?:e?-?mail|messages?) for\b",
        ),
    ),
    (
        ReplyClass.CONTENT,
        _any(
            r"spam|virus|malware|phish|unsolicited|junk|\bbulk\b|attachment|\bcontents?\b|message[ -]?id|header",
            r"(?:message|mail)[^.;]{0,20} (?:too (?:big|large)|size)|message filtered",
        ),
    ),
    (
        ReplyClass.RATE,
        _any(
            r"too (?:many|much|fast|frequent|often)|rate[ -]?limit|throttl|\bat a rate\b|unusual (?:rate|sending)",
            r"exceed\w*[^.;]{0,40} (?:rate|limit|number|connection|thread)|limits? (?:reached|exceeded)",
            r"gr[ae]y[ -]?list|sending quota|messages? per (?:hour|day|minute)",
        ),
    ),
    (
        ReplyClass.FULL,
        _any(
            r"quota|\bfull\b|(?:out of|insufficient|not enough|exceeded)[^.;]{0,20} (?:storage|space)",
            r"(?:mailbox|storage|account)[^.;]{0,30} exceed|exceed\w*[^.;]{0,30} (?:mailbox|storage|allocation)",
        ),
    ),
    (
        ReplyClass.SENDER,
        _any(
            r"\bsenders?\b|\bmail from\b|\bfrom (?:address|domain|header|field)|\boriginator\b|return[ -]path",
            r"\benvelope\b|callback|call-?out|badmailfrom",
            r"\byour (?:ip|domain|host|server|network|mta|isp|provider|country|helo|ehlo|reverse|dns|mail ?server)",
            r"(?:client|remote|source) (?:host|address)|\byour (?:e?-?mail )?address",
            r"\bhelo\b|\behlo\b|\br?dns\b|\bptr\b|reverse (?:lookup|name|path|host|ip)",
            r"\bip\b(?! ?=)|(?:sending|connecting|remote|source) (?:ip|host|server|domain|mta)|dynamic",
        ),
    ),
    (
        ReplyClass.POLICY,
        _any(
            r"polic(?:y|ies)|prohibit|not (?:allowed|permitted|welcome)|not authori[sz]ed|unauthori[sz]ed|disallow",
            r"denied|forbidden|restrict|permission|violat|rule imposed(?! mailbox)|administratively|\bblocked\b",
            r"not accept(?:ing|ed)?(?: \w+)? from|weren't sent|only accepts? (?:e?-?mail|messages?) from",
            r"recipient has (?:rejected|blocked|refused)|don't want|do not want|encryption|\btls\b",
        ),
    ),
    (
        ReplyClass.UNAVAILABLE,
        _any(r"temporar|try (?:again|later)|at this time|suspend|\blocked\b|frozen|maintenance|timed? ?out"),
    ),
    (
        ReplyClass.MOVED,
        _any(
            r"(?:user|recipient|mailbox|account|address)[^.;]{0,40} (?:has |was |is )?(?:moved|changed|migrated)\b",
            r"user not local[;,:]? please try|no longer (?:at|here|with|works?|work|employed|in use|valid|active)\b",
        ),
    ),
    (
        ReplyClass.NO_MAIL,
        _any(
            r"null ?mx",
            r"(?:domain|host|server)[^;]{0,80} (?:does not|doesn't|never) accepts? (?:any )?e?-?mail\b",
        ),
    ),
    (
        ReplyClass.CLOSED,
        _any(
            rf"{_MAILBOX}\b{_GAP}\b(?:is|are|was|has been|have been) (?:permanently )?{_GONE}",
            rf"(?:inactive|disabled|deactivated|closed|deleted|discontinued) {_MAILBOX}\b",
            rf"(?:mailbox|account|user|recipient|address) {_GONE}",
        ),
    ),
    (
        ReplyClass.BAD_DOMAIN,
        _any(
            r"no such (?:domain|host)|<address>\W*host unknown",
            rf"(?:recipient|destination|rcpt|target)(?:'s)? (?:e?-?mail )?(?:domain|system|host)\b{_GAP}{_MISSING}",
            r"(?:find|resolve|locate) (?:the |a valid mx for )?(?:recipient|destination|rcpt)(?:'s)? domain",
            r"valid mx for (?:the )?(?:recipient|destination|rcpt)",
            r"recipient address rejected: (?:domain|host) (?:not found|unknown|does not exist)",
            r"dns domain\b[^.;]{0,60}\S{0,80} does not exist",
        ),
    ),
    (
        ReplyClass.BAD_MAILBOX,
        _any(
            rf"\b{_MAILBOX}\b{_GAP}\b{_MISSING}",
            rf"\b(?:unknown|invalid|no such|not a valid|non-?existent|bad|illegal|unrecogni[sz]ed) {_FILLER}"
            rf"(?:{_MAILBOX}|person|customer)\b(?![ -](?:agent|credential|password))",
            rf"\bno (?:{_MAILBOX}|one|person|account)(?: \S+)? (?:here|by|with|of|at|named|found|exists?)\b",
            r"doesn't have an? \S+ account|does not have an? \S+ account|not our customer|not a known",
            r"^\W*(?:<address> ?)?(?:un(?:routable|routeable)|undeliverable) (?:mail )?address|recip(?:ient)?notfound",
            r"(?:find|locate) (?:the |this |that |a )?(?:recipient|user|mailbox|account) ?(?:here|<address>)?\W*$",
            r"(?:benutzer|empf\S{1,2}nger|adressat|utilisateur|destinataire|usuario|utente|destinatario)\b.{0,30}"
            r"(?:unbekannt|existiert nicht|inconnu|inexist|invalide|desconocido|no existe|sconosciuto|desconhecido)",
        ),
    ),
)
"""In this order: what a text says of us, what it says of the moment, and then what it says of the address."""

_DETAILS = {
    "1.1": ReplyClass.BAD_MAILBOX,
    "1.2": ReplyClass.BAD_DOMAIN,
    "1.3": ReplyClass.BAD_MAILBOX,
    "1.6": ReplyClass.MOVED,
    "1.7": ReplyClass.SENDER,
    "1.8": ReplyClass.SENDER,
    "1.9": ReplyClass.SENDER,
    "1.10": ReplyClass.NO_MAIL,
    "2.2": ReplyClass.FULL,
    "2.3": ReplyClass.CONTENT,
    "3.4": ReplyClass.CONTENT,
    "5.3": ReplyClass.RATE,
    **{f"7.{detail}": ReplyClass.AUTHENTICATION for detail in range(20, 30)},
}
_SUBJECTS = {
    "2": ReplyClass.UNAVAILABLE,
    "3": ReplyClass.SYSTEM,
    "4": ReplyClass.ROUTING,
    "5": ReplyClass.PROTOCOL,
    "6": ReplyClass.CONTENT,
    "7": ReplyClass.POLICY,
}
_CODES = {
    421: ReplyClass.SYSTEM,
    452: ReplyClass.FULL,
    551: ReplyClass.MOVED,
    556: ReplyClass.NO_MAIL,
}
"""Codes that say it by themselves: 551 'user not local' and 556 'domain does not accept mail' (RFC 5321, RFC 7504)."""
