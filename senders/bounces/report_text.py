"""The words of a report, apart from the mail that it returns, and which of them belong to a recipient. Pure."""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from senders.bounces.delivery_status import code_in, first_address
from senders.bounces.mime import Headers, MimePart, ReturnedMail, split_headers
from senders.bounces.phrases import phrases
from senders.bounces.refusal import MAX_READ, fold

MAX_LINES: Final = 400
LINES_AFTER: Final = 10
"""How many lines after a recipient's may belong to it."""
_WORD = re.compile(r"[^\s<>\"'()\[\],;:|\u3000-\u303f\uff00-\uff20]+")
_AT_DOMAIN = re.compile(r"@[a-z0-9][a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,63}){0,8}", re.IGNORECASE)
_START = re.compile(r"(?<![\w.%+=-])")
_MAX_LOCAL_PART: Final = 64
_TYPED = re.compile(r"^(smtp|rfc822|mailto|to|dda:smtp)[=:]", re.IGNORECASE)
_QUOTED_FIELD = re.compile(
    r"^\W{0,4}(to|cc|from|subject|sent|date|an|von|betreff|de|para|asunto|objet|envoye|a|da|oggetto|aan|van|onderwerp)\s?:",
    re.IGNORECASE,
)
"""A line of the original's header that a report quotes: it names who else got the mail."""
_LOCAL_NAME = re.compile(r"^[ \t]+<?([a-z0-9][\w.+-]{0,63})>?(?:[ \t]*\(.{0,200}\))?[ \t]*$", re.IGNORECASE)
_BEGINS = re.compile(r"[\W_]*+(?:smtp:|rfc822;|mailto:)?[^\s<>\"'()\[\],;:|@]{1,64}@", re.IGNORECASE)
_SAYS = re.compile(r"(?<=[\w>]):\s|:$|\(|\.\.\.|[45]\d\d[ -]")
_BETWEEN_WORDS = re.compile(r"[\s<>\"'()\[\],;:|]")
_ADDRESSES_LOOKED_AT: Final = 5
"""A line with more is a list, in which nothing is said of one of them."""
_ANNOUNCES = re.compile(
    r"\b(recipient|address|addressee|user|mailbox|deliver|reach|following|because).*:\s*$", re.IGNORECASE
)
_HEADING = re.compile(r"\bfollowing (recipient|address|user|destination)\S*\b.{0,60}:\s*$", re.IGNORECASE)
"""A line that announces recipients: what is said of those before ends there."""
_SHORT: Final = 400
"""Longer lines are no headings."""
_MARK: Final = 6
"""The letters and digits of a bullet, a number or `mailto` beside an address that stands alone."""
_LABELLED = re.compile(
    r"^\W{0,8}(?:[^\s:@]{1,20} ){0,3}?[^\s:@]{0,12}(?:recipient|addres|adress|empf|destinat|mailbox|receiver)"
    r"[^\s:@]{0,16} ?: {0,8}[^\s@]{1,64}@[^\s@]{1,255}\s*$",
    re.IGNORECASE,
)
"""A line such as `Failed recipient: ann@example.com`."""
_SENTENCE = re.compile(r"(?<=[.!?。])\s+")
_MARGIN = re.compile(r"[> \t|]*")
"""What a report puts before the lines of the mail that it returns."""
_QUOTED_HEADER = re.compile(r"^[>|] ?(received|return-path|message-id|from|to|subject|date): ", re.IGNORECASE)
"""A line of the original's header, quoted without a word before it."""
_COMMAND = re.compile(
    r"^.{0,60}?(-->|>>>|<--|<<<|\b[CS]:) *((ehlo|helo|mail|data|rset|quit|auth|starttls|noop)\b|[23]\d\d\b)"
    r"|^\s{0,8}(2\d\d[ -]|(ehlo|helo) |mail from:)",
    re.IGNORECASE,
)
"""A line of a conversation by SMTP that says nothing of the refusal."""
_RULE = re.compile(r"^\W{10,}$")
"""A line across the page: what a recipient's lines say ends there."""
_SERVICE = re.compile(
    r"^(mailer-?daemon|postmaster|abuse|noc|root|support|help(desk)?|hostmaster|admin(istrator)?|security|info-?desk|mail-?admin|no-?reply|spam|delist|unblock|removal|feedback)@",
    re.IGNORECASE,
)
_ORIGINAL_FIELD = re.compile(
    r"^(received|return-path|message-id|dkim-signature|mime-version|x-[\w-]{2,30}): ", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ReportText:
    """The lines of a report in order, and the header of the mail that it returns, if it has that."""

    lines: tuple[str, ...]
    everything: str
    """All words, with those that stand in every report of a program."""
    original: Headers
    returns_mail: bool

    @property
    def whole(self) -> str:
        """All of the words."""
        return "\n".join(self.lines)

    def about(self, recipients: Collection[str]) -> dict[str, str]:
        """For each recipient in lower case, the lines that name it, and what follows up to one that names another.

        Recipients of a list, of which nothing is said, share what follows the last of them.
        """
        names = dict.fromkeys(each.lower() for each in recipients if each)
        kept: dict[str, list[str]] = {}
        left: dict[str, int] = {}
        alone: set[str] = set()
        for line in self.lines:
            lower = line.lower()
            here = [name for name in names if name in lower]
            if _RULE.match(line) or _HEADING.search(line[:_SHORT]) or (here and not _stands_alone(here[0], lower)):
                left, alone = {}, set()
            elif here:
                left, alone = {name: left[name] for name in alone}, alone.union(here)
            elif line.strip():
                alone = set()
            left |= dict.fromkeys(here, LINES_AFTER)
            for name in left:
                kept.setdefault(name, []).append(line)
            left = {name: lines - 1 for name, lines in left.items() if lines > 1}
            alone &= left.keys()
        return {name: "\n".join(lines)[:MAX_READ] for name, lines in kept.items()}

    def addresses(self, ours: Collection[str]) -> list[str]:
        """The addresses that the report names, without those of services, and without ours."""
        return _addresses(self._own_lines(), ours)

    def listed(self, ours: Collection[str]) -> list[str]:
        """Those with which lines begin: a report names so what it is about, and others in the words of a server."""
        return _addresses(map(_beginning, self._own_lines()), ours)

    def _own_lines(self) -> list[str]:
        return [_without_others(line[:2000]) for line in self.lines if not _QUOTED_FIELD.match(line)]

    def other_addresses(self, ours: Collection[str]) -> list[str]:
        """Those that seem to be of others, such as a recipient's new one, of who can help, or of a quoted field."""
        plain = [line for line in self.lines if not _QUOTED_FIELD.match(line)]
        return _addresses(plain, ours) or _addresses(self.lines, ours)

    def local_names(self) -> list[str]:
        """The names without a domain that stand on lines of their own, after the words that announce them."""
        found: dict[str, None] = {}
        announced = False
        for line in self.lines:
            name = _LOCAL_NAME.match(line)
            if name is not None and announced:
                found[name.group(1)] = None
            elif line.strip():
                announced = bool(_ANNOUNCES.search(line[:_SHORT]))
        return list(found)


def _stands_alone(recipient: str, line: str) -> bool:
    """Whether a line says nothing but a recipient."""
    return len(line) < _SHORT and sum(map(str.isalnum, line.replace(recipient, ""))) <= _MARK


def _addresses(lines: Iterable[str], ours: Collection[str]) -> list[str]:
    found: dict[str, str] = {}
    for line in lines:
        for each in _addresses_in(line[:2000]):
            address = _TYPED.sub("", each)
            known = address.lower()
            if known not in ours and not _SERVICE.match(known):
                found.setdefault(known, address)
    return list(found.values())


def _addresses_in(line: str) -> Iterator[str]:
    """The addresses of a line from left to right, in time linear in its length."""
    for word in _WORD.finditer(line):
        domains = deque(_AT_DOMAIN.finditer(line, *word.span()))
        end = word.start()
        while domains:
            at, end_of_domain = domains.popleft().span()
            begins = _START.search(line, max(end, at - _MAX_LOCAL_PART), at)
            if begins is None or begins.start() == at:
                continue
            end = end_of_domain
            while domains and domains[0].start() <= begins.start() + _MAX_LOCAL_PART:
                end = domains.popleft().end()
            yield line[begins.start() : end]


def _beginning(line: str) -> str:
    """What a line says before its first colon or bracket, if it begins with an address, or all if a label does."""
    if _LABELLED.match(line):
        return line
    return _SAYS.split(line, maxsplit=1)[0] if _BEGINS.match(line) else ""


def _without_others(line: str) -> str:
    """A line up to the words after which it names somebody else."""
    at = line.find("@")
    for _ in range(_ADDRESSES_LOOKED_AT):
        if at < 0:
            return line
        before = line[max(0, at - 300) : at]
        before = before.removesuffix(_BETWEEN_WORDS.split(before[-_MAX_LOCAL_PART:])[-1])
        if phrases()["another_address"].within(before):
            return line[: max(0, at - 300) + len(before)]
        at = line.find("@", at + 1)
    return line


def report_text(mail: ReturnedMail, fields_read: bool = False) -> ReportText:
    """The words of a mail. HTML counts only if it has no plain text, and fields only if they are not `fields_read`."""
    own = [part for part in mail.parts if not part.returned]
    plain = [part for part in own if part.content_type == "text/plain" and part.body.strip()]
    chosen = (
        plain or [part for part in own if part.content_type == "text/html"] or ([] if fields_read else _unnamed(own))
    )
    lines: list[str] = []
    for part in chosen:
        said = [line[:MAX_READ] for line in part.text.splitlines() if not _COMMAND.match(line)]
        lines += said[: MAX_LINES - len(lines)]
    kept, rest = _cut(lines)
    kept = _without_disclaimer(kept)
    returned = next((part.mail for part in mail.parts if part.returned), None)
    telling = [" ".join(each for each in _SENTENCE.split(line) if _tells(each)) for line in kept]
    return ReportText(tuple(telling), "\n".join(kept), returned or _inlined(rest), returned is not None or bool(rest))


def _tells(sentence: str) -> bool:
    """Whether a sentence may say something of the mail: not those that a program puts into each report."""
    return "@" in sentence or bool(code_in(sentence)) or not phrases()["boilerplate"].within(sentence)


def _unnamed(parts: Iterable[MimePart]) -> list[MimePart]:
    kinds = ("text/", "message/delivery-status")
    return [part for part in parts if part.content_type.startswith(kinds) or part.content_type == "multipart/report"]


def _cut(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines before the original, and from there on."""
    follows = phrases()["original_follows"]
    for number, line in enumerate(lines):
        if len(line) > 3 and number > 0 and (_QUOTED_HEADER.match(line) or follows.folded(fold(line[:300]))):
            after = lines[number:]
            if _ORIGINAL_FIELD.match(line) or len(after) > 1:
                return lines[:number], after
    return lines, []


def _without_disclaimer(lines: list[str]) -> list[str]:
    """The lines before what a gateway puts under each mail."""
    says = phrases()["disclaimer"]
    start = next((number for number, line in enumerate(lines) if number > 2 and says.within(line)), len(lines))
    return lines[:start]


def _inlined(lines: list[str]) -> Headers:
    """The header of an original that stands in the text, `> ` before its lines or not."""
    for start in range(min(len(lines), 12)):
        margin = _MARGIN.match(lines[start])
        cut = len(margin.group()) if margin else 0
        block = "\n".join(line[cut:] if not line[:cut].strip("> \t|") else line for line in lines[start : start + 80])
        headers, _ = split_headers(block.encode("utf-8", "replace"))
        if any(name in headers for name in ("to", "from", "subject", "received")):
            return headers
    return Headers()


def own_addresses(mail: ReturnedMail, text: ReportText) -> set[str]:
    """The addresses that a report has of itself and of the sender: none of them is its subject."""
    fields = [
        mail.headers.get(name)
        for name in ("from", "to", "reply-to", "sender", "errors-to", "return-path", "delivered-to", "x-original-to")
    ]
    fields += [text.original.get(name) for name in ("from", "sender", "return-path", "reply-to", "errors-to")]
    return {found.lower() for each in fields for found in [first_address(each)] if found}


def recipients_of(headers: Headers) -> list[str]:
    """The recipients that the header of a mail names."""
    values = [
        value
        for name in ("x-failed-recipients", "to", "cc", "x-envelope-to", "envelope-to", "apparently-to")
        for value in headers.all(name)
    ]
    return [_TYPED.sub("", address) for value in values for address in _addresses_in(value[:4000])]
