"""The mails of cases: each send's template rendered with its data, so that one that would fail fails its case."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from cli.rules.rule_folder import Folder
from schemas.vocabulary import DeliveryReason
from schemas.wording import quoted
from senders.content.headers import HeaderError
from senders.content.mail_builder import content_of
from senders.content.message import Mail, Mailbox, compose
from senders.content.recipient import Recipient
from senders.content.render import Content, Template, TemplateError, parse_template
from triggers.cases.case_runner import CaseResult, Sent

_SENDER = Mailbox("Shop", "shop@shop.example")
_SENT_AT = datetime(2026, 1, 5, tzinfo=UTC)


class CaseMails:
    """The templates of a folder, each compiled when a case first sends it."""

    def __init__(self, folder: Folder) -> None:
        self._files = folder.templates
        self._compiled = cache(self._compile)

    @property
    def given(self) -> bool:
        """Whether there is any template; without one nothing can be rendered."""
        return bool(self._files)

    def rendered(self, result: CaseResult) -> CaseResult:
        """The case's result, failed by each of its mails that cannot be made."""
        wrong = [f"! {sent.at} send {sent.step}: {why}" for sent in result.sent if (why := self._fault(sent))]
        return replace(result, passed=False, diff=(*result.diff, *wrong)) if wrong else result

    def _fault(self, sent: Sent) -> str:
        """Where and why the mail cannot be made; nothing where it can, or its template is not there."""
        name, profile = sent.message.template, sent.profile
        if name not in self._files:
            return ""
        file = self._files[name]
        recipient = Recipient(profile.user_id, None, profile.zone, profile.locale, profile.attributes, {})
        try:
            content = content_of(self._compiled(name), sent.message.data, profile.user_id, recipient, _SENT_AT)
            compose(_mail(sent, content))
        except TemplateError as error:
            line = file.text.count("\n", 0, error.index) + 1
            return f"{file.path}:{line}: {fault_words(error)}"
        except HeaderError as error:
            return f"{file.path}: {error}"
        return ""

    def _compile(self, name: str) -> Template:
        return parse_template(name, self._files[name].text)


def _mail(sent: Sent, content: Content) -> Mail:
    """The mail as delivery would compose it, with what it fills in made up."""
    return Mail(
        command_id=sent.message.id,
        sender=content.sender or _SENDER,
        reply_to=content.reply_to,
        to=sent.message.to or _SENDER.address,
        subject=content.subject,
        html=content.html,
        text=content.text,
        date=_SENT_AT,
        domain="shop.example",
    )


def fault_words(error: TemplateError, user: str = "the case's `user`") -> str:
    """Why a mail cannot be made, and what gives it what it lacks; `user` is what gives a user's attributes."""
    if error.reason is DeliveryReason.UNDEFINED:
        return _undefined_words(error.detail, user)
    if error.reason is DeliveryReason.RENDER_LIMIT:
        return f"this takes more than a mail may ({error.detail})"
    return f"this cannot be rendered ({error.detail})"


def _undefined_words(name: str, user: str) -> str:
    match name.partition(".")[0]:
        case "event":
            return f"{quoted(name)} is not there: a template sees the rule's `data` and `user`, and not the event"
        case "user":
            gives = user
        case _:
            gives = "the rule's `data`"
    return f"{quoted(name)} is missing or blank; {gives} can give it, or the template a `default`"
