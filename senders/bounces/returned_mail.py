"""What a mail at a return path is: a bounce, a complaint, an automatic answer; and what it says of whom. Pure.

A report in the form of RFC 3464 is read by its fields; any other bounce by its words: who sent it, what its subject
says, which addresses stand in it before the original. The rules of `classes.toml` then judge the words that belong to
each recipient, so that a report, a reply and another dialect of either have one verdict.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from itertools import islice

from schemas.vocabulary import ReplyClass
from senders.bounces.auto_replies import is_auto_reply, is_challenge
from senders.bounces.classifier import Classifier, Judgment
from senders.bounces.delivery_status import (
    MAX_RECIPIENTS,
    Action,
    RecipientStatus,
    code_in,
    first_address,
    recipient_statuses,
    status_in,
)
from senders.bounces.feedback_report import COMPLAINTS, complained_recipients, feedback_type
from senders.bounces.mime import Headers, ReturnedMail, read_mail
from senders.bounces.notifications import Notification, notification_in
from senders.bounces.phrases import phrases
from senders.bounces.refusal import MAX_CHARS, MAX_READ, Refusal, Stage, fold, without_accents
from senders.bounces.report_text import ReportText, own_addresses, recipients_of, report_text

_SAID = re.compile(
    r"smtp error from remote (?:mail )?server after [^:]{1,60}(?:<[^>]{1,254}>)?:"
    r"|\b(?:host|server|mta) \S{1,200} (?:\(\S{1,100}\) )?(?:said|replied|responded|refused to talk to me):"
    r"|\(in reply to [a-z ]{1,40} command\)|remote host said:|while talking to \S{1,200}",
    re.IGNORECASE,
)
"""Who said it and to what: a host's name says nothing of the mail."""
_NO_REPLY = re.compile(r"\bno-?reply\b")
_REPLY = re.compile(r"(re|aw|sv|antw|rif|r)\s?:", re.IGNORECASE)
_AT_MAIL = re.compile(r"in reply to mail from|after (?:initial connection and )?mail from", re.IGNORECASE)


class MailKind(StrEnum):
    """What came."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    AUTO_REPLY = "auto_reply"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a mail says of one recipient. `recipient` is empty if it names none."""

    kind: MailKind
    recipient: str
    status: str | None
    bounce_class: str | None
    hard: bool
    rule: str
    text: str = ""


def read_returned_mail(raw: bytes, classifier: Classifier) -> list[Finding]:
    """The findings of a mail that is not read yet."""
    return findings_in(read_mail(raw), classifier)


def findings_in(mail: ReturnedMail, classifier: Classifier) -> list[Finding]:
    """A finding for each recipient that a mail speaks of; one of kind `none` if it speaks of no delivery."""
    reported = feedback_type(mail)
    if reported is not None:
        kind = MailKind.COMPLAINT if reported in COMPLAINTS else MailKind.NONE
        return [Finding(kind, each, None, None, False, "") for each in complained_recipients(mail)]
    notification = notification_in(_own_text(mail))
    if notification is not None:
        return list(_from_notification(notification, mail, classifier)) or [_nothing(notification.delivered_to)]
    statuses = _statuses(mail)
    text = report_text(mail, bool(statuses))
    if statuses:
        found = list(_from_statuses(statuses, mail, text, classifier))
        return found or [_nothing(statuses[0].recipient)]
    if _is_receipt(mail):
        return [_nothing("")]
    if _is_bounce(mail, text):
        return list(_from_words(mail, text, classifier))
    if is_auto_reply(mail, text.everything):
        challenge = is_challenge(mail, text.everything)
        bounce_class = ReplyClass.CHALLENGE_RESPONSE if challenge else ReplyClass.AUTO_REPLY
        return [Finding(MailKind.AUTO_REPLY, first_address(mail.headers.get("from")), None, bounce_class, False, "")]
    return [_nothing(first_address(mail.headers.get("from")))]


def _own_text(mail: ReturnedMail) -> str:
    """The text of the first part that has one."""
    return next((part.text for part in mail.parts if part.content_type in ("text/plain", "application/json")), "")


def _from_notification(notification: Notification, mail: ReturnedMail, classifier: Classifier) -> Iterator[Finding]:
    kind = MailKind.COMPLAINT if notification.complaint_type in COMPLAINTS else MailKind.NONE
    for recipient in notification.complained:
        yield Finding(kind, recipient, None, None, False, "")
    yield from _from_statuses(notification.statuses, mail, ReportText((), "", Headers(), False), classifier)


def _statuses(mail: ReturnedMail) -> list[RecipientStatus]:
    """What the report says by its fields, or else the report that it passes on."""
    parts = [part for part in mail.parts if _is_status(part.content_type)]
    own = [status for part in parts if not part.returned for status in recipient_statuses(part.content)]
    return own or [status for part in parts if part.returned for status in recipient_statuses(part.content)]


def _nothing(recipient: str) -> Finding:
    return Finding(MailKind.NONE, recipient, None, None, False, "")


def _is_status(content_type: str) -> bool:
    return content_type in ("message/delivery-status", "message/global-delivery-status", "text/delivery-status")


def _is_receipt(mail: ReturnedMail) -> bool:
    """Whether a reader's program says that the mail was shown (RFC 8098). One that says otherwise may be a refusal."""
    receipts = [
        part for part in mail.parts if part.content_type == "message/disposition-notification" and not part.returned
    ]
    shown = any(b"displayed" in part.body.lower() for part in receipts)
    return shown or (bool(receipts) and not phrases()["bounce_subject"].within(mail.headers.get("subject")))


def _is_bounce(mail: ReturnedMail, text: ReportText) -> bool:
    """Whether a mail without the fields of RFC 3464 reports that another was not delivered."""
    headers, says = mail.headers, phrases()
    if "x-failed-recipients" in headers or mail.parameters.get("report-type", "").lower() == "delivery-status":
        return True
    subject, words = fold(headers.get("subject")), fold(text.everything)
    sender = without_accents(headers.get("from").lower())  # with its address, which often is all there is
    from_machine = says["bounce_sender"].folded(sender) or not sender.strip("<> ")
    about_delivery = says["bounce_subject"].folded(subject)
    points = (
        2 * from_machine
        + ("mailer-daemon" in sender)
        + 2 * about_delivery
        + says["bounce_body"].folded(words)
        + text.returns_mail
    )
    returned = headers.get("return-path").replace(" ", "") == "<>"
    points += returned + (text.returns_mail and bool(_NO_REPLY.search(sender)))
    if not (from_machine or text.returns_mail or returned) and _answers_a_mail(mail, text):
        return False
    answers = is_auto_reply(mail, text.everything)
    return points >= (5 if answers and sender.strip("<> ") else 3)


def _answers_a_mail(mail: ReturnedMail, text: ReportText) -> bool:
    """Whether a person answers, who may speak of what was not delivered."""
    if "in-reply-to" in mail.headers or "references" in mail.headers:
        return True
    return bool(_REPLY.match(mail.headers.get("subject"))) and "\n> " in text.everything


def _from_statuses(
    statuses: Sequence[RecipientStatus], mail: ReturnedMail, text: ReportText, classifier: Classifier
) -> Iterator[Finding]:
    about, of_words = text.about([each.recipient for each in statuses]), _judging(classifier)
    likely = "" if all("@" in each.recipient for each in statuses) else _likely(mail, text)
    for each in _once(statuses):
        if each.action in (Action.DELIVERED, Action.RELAYED, Action.EXPANDED):
            continue
        recipient = each.recipient if "@" in each.recipient else likely or each.recipient
        candidates = [each.diagnostic, about.get(each.recipient.lower(), ""), text.whole]
        judged = _judge(candidates, each.status or None, each.action is Action.DELAYED, classifier, of_words)
        yield Finding(
            MailKind.BOUNCE,
            recipient,
            each.status or judged.status,
            judged.judgment.bounce_class,
            judged.judgment.hard,
            judged.judgment.rule,
            judged.text,
        )


def _once(statuses: Sequence[RecipientStatus]) -> list[RecipientStatus]:
    """Each recipient once: a failure goes before a delay, and the first before those that repeat it."""
    found: dict[str, RecipientStatus] = {}
    for each in sorted(statuses, key=lambda status: status.action is not Action.FAILED):
        found.setdefault(each.recipient.lower(), each)
    return sorted(found.values(), key=statuses.index)


def _likely(mail: ReturnedMail, text: ReportText) -> str:
    """The recipient of a report that names it nowhere by its fields."""
    return next(iter(_named(mail, text)), "")


def _named(mail: ReturnedMail, text: ReportText) -> dict[str, str]:
    """The recipients that the words of a report are about, with the word by which each is named there.

    They are `MAX_RECIPIENTS` at most: every line of the report is searched for each of them.
    """
    return dict(islice(_all_named(mail, text).items(), MAX_RECIPIENTS))


def _all_named(mail: ReturnedMail, text: ReportText) -> dict[str, str]:
    failed = [first_address(each) for value in mail.headers.all("x-failed-recipients") for each in value.split(",")]
    if any(failed):
        return {each: each for each in failed if each}
    written = recipients_of(text.original)
    known = {each.lower() for each in written}
    ours = own_addresses(mail, text)
    addresses = text.addresses(ours)
    both = [each for each in addresses if each.lower() in known]
    found = text.listed(ours) or both or addresses
    if not found and (domain := first_address(mail.headers.get("from")).partition("@")[2]):
        local = {f"{name}@{domain}": name for name in text.local_names()}
        if local:
            return local
    return {each: each for each in found or written[:1] or text.other_addresses(ours)}


def _from_words(mail: ReturnedMail, text: ReportText, classifier: Classifier) -> Iterator[Finding]:
    names = _named(mail, text)
    subject = mail.headers.get("subject")
    delayed = phrases()["delay_subject"].within(subject) and "fail" not in subject.lower()
    about, of_words = text.about(names.values()), _judging(classifier)
    for recipient, name in list(names.items()) or [("", "")]:
        judged = _judge([about.get(name.lower(), ""), text.whole, subject], None, delayed, classifier, of_words)
        yield Finding(
            MailKind.BOUNCE,
            recipient,
            judged.status,
            judged.judgment.bounce_class,
            judged.judgment.hard,
            judged.judgment.rule,
            judged.text,
        )


def _is_exact(status: str | None) -> bool:
    """Whether an enhanced code says more than its first digit."""
    return status is not None and not status.endswith(".0.0")


@dataclass(frozen=True, slots=True)
class _Judged:
    judgment: Judgment
    status: str | None
    text: str


_OfWords = Callable[[str, str | None, bool, bool], _Judged | None]


def _of_words(
    classifier: Classifier, words: str, status: str | None, says_something: bool, delayed: bool
) -> _Judged | None:
    """The judgment of words, if there are any."""
    stripped = _SAID.sub(" ", words[:MAX_READ]).strip()
    if not stripped:
        return None
    known = status if says_something else status_in(stripped) or status
    stage = Stage.MAIL if _AT_MAIL.search(words[:MAX_READ]) else Stage.REPORT
    judgment = classifier.classify(Refusal(stripped, code_in(stripped), known, stage, delayed))
    return _Judged(judgment, known, stripped[:MAX_CHARS])


def _judging(classifier: Classifier) -> _OfWords:
    """The judgment of words, kept for as long as a mail is read: those of the whole report are asked for often."""
    return cache(partial(_of_words, classifier))


def _judge(
    candidates: Sequence[str], status: str | None, delayed: bool, classifier: Classifier, of_words: _OfWords
) -> _Judged:
    """The judgment by the first words that a rule knows, else by the codes.

    The last words are those of the whole report, or what a report without fields says after those of a recipient:
    they may speak of others, so a code that says something goes before them.
    """
    alone = classifier.classify(Refusal("", 0, status, Stage.REPORT, delayed))
    says_something = _is_exact(status) and bool(alone.rule)
    by_code = _Judged(alone, status, "") if says_something else None
    for words in candidates:
        judged = of_words(words, status, says_something, delayed)
        if judged is None:
            continue
        judgment = judged.judgment
        by_others = words is candidates[-1] or (status is None and by_code is not None and _is_exact(by_code.status))
        if judgment.by_text and not (by_code is not None and by_others):
            return judged
        if judgment.rule and (by_code is None or not by_code.text):
            by_code = judged
    return by_code or _Judged(alone, status, "")
