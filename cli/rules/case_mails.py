"""The mails of cases: renders the template of each send with its data. A mail that fails fails its case."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from cli.rules.rule_folder import Folder
from schemas.endpoints import WEBHOOK
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
    """The templates of a folder. Each is compiled when a case first sends it."""

    def __init__(self, folder: Folder) -> None:
        self._files = folder.templates
        self._compiled = cache(self._compile)

    @property
    def given(self) -> bool:
        """Whether the folder has templates; otherwise nothing can be rendered."""
        return bool(self._files)

    def rendered(self, result: CaseResult) -> CaseResult:
        """The result of the case; it fails if one of its mails cannot be made."""
        wrong = [f"! {sent.at} send {sent.step}: {why}" for sent in result.sent if (why := self._fault(sent))]
        return replace(result, passed=False, diff=(*result.diff, *wrong)) if wrong else result

    def _fault(self, sent: Sent) -> str:
        """Where and why the mail cannot be made; empty if it can, if its template is missing, or for a webhook."""
        name, profile = sent.message.template, sent.profile
        if name not in self._files or sent.message.channel == WEBHOOK:
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
    """The mail as delivery would compose it, with sample values for what delivery adds."""
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
    """Why a mail cannot be made, and what to do; `user` names the source of the user's attributes."""
    if error.reason is DeliveryReason.UNDEFINED:
        return _undefined_words(error.detail, user)
    if error.reason is DeliveryReason.RENDER_LIMIT:
        return f"rendering exceeds a limit ({error.detail})"
    return f"rendering failed ({error.detail})"


def _undefined_words(name: str, user: str) -> str:
    match name.partition(".")[0]:
        case "event":
            return f"{quoted(name)} is not available: a template sees the rule's `data` and `user`, not the event"
        case "user":
            source = user
        case _:
            source = "the rule's `data`"
    return f"{quoted(name)} is missing or blank; add it to {source}, or a `default` to the template"
