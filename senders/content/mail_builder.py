"""Makes the signed mail of a command: render, compose, sign. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.commands import SendCommand
from schemas.numbers import whole_numbers
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason
from senders.content.dkim import Signer
from senders.content.headers import HeaderError
from senders.content.message import Mail, Mailbox, compose
from senders.content.recipient import Recipient
from senders.content.render import Content, Template, TemplateError

_NOT_IN_LIST_ID = re.compile(r"[^A-Za-z0-9_-]+")
"""What a purpose may hold and a label of List-Id (RFC 2919) may not, or only between others."""


@dataclass(frozen=True, slots=True)
class MailBuilder:
    """One for all mails of a process."""

    signer: Signer
    sender: Mailbox
    unsubscribe_url: str | None = None
    feedback_sender: str | None = None
    """Names this sender in Feedback-ID."""

    def build(
        self, command: SendCommand, to: str, recipient: Recipient | None, template: Template, now: datetime
    ) -> bytes:
        """The signed mail; raises TemplateError with the reason if it cannot be made."""
        content = content_of(template, command.data, command.user_id, recipient, now)
        mail = Mail(
            command_id=command.id,
            sender=content.sender or self.sender,
            reply_to=content.reply_to,
            to=to,
            subject=content.subject,
            html=content.html_pieces,
            text=content.text_pieces,
            date=now,
            domain=self.signer.domain,
            extra=self._extra(command),
        )
        try:
            return self.signer.sign(compose(mail), mail.sender.domain, now)
        except HeaderError as error:
            reason = DeliveryReason.ADDRESS if error.field == "To" else DeliveryReason.HEADER
            raise TemplateError(reason, str(error)) from None
        except UnicodeEncodeError:
            raise TemplateError(DeliveryReason.HEADER, "text that is not Unicode (a lone surrogate)") from None

    def _extra(self, command: SendCommand) -> tuple[tuple[str, str], ...]:
        if command.purpose == TRANSACTIONAL:
            return (*self._feedback_id(command), ("Auto-Submitted", "auto-generated"))
        return (
            ("List-Id", f"<{_NOT_IN_LIST_ID.sub('-', command.purpose)}.{self.signer.domain}>"),
            *self._unsubscribe(command),
            *self._feedback_id(command),
        )

    def _unsubscribe(self, command: SendCommand) -> tuple[tuple[str, str], ...]:
        """One click unsubscribes (RFC 8058)."""
        if self.unsubscribe_url is None:
            return ()
        url = self.unsubscribe_url.replace("{command_id}", command.id)
        return ("List-Unsubscribe", f"<{url}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")

    def _feedback_id(self, command: SendCommand) -> tuple[tuple[str, str], ...]:
        """By which Google groups complaints: up to three identifiers, and last the sender, with colons between them."""
        if self.feedback_sender is None:
            return ()
        names = [name.replace(":", "-") for name in (command.trigger, command.step, command.purpose)]
        return (("Feedback-ID", ":".join([*names, self.feedback_sender])),)


def content_of(
    template: Template, data: dict[str, Any], user_id: str, recipient: Recipient | None, now: datetime
) -> Content:
    """The content of the mail. Previews, test mails, cases and delivery all use this. Raises TemplateError."""
    return template.render(whole_numbers(data), user_names(user_id, recipient), now)


def user_names(user_id: str, recipient: Recipient | None) -> dict[str, Any]:
    """The properties of `user` in a template: the profile's attributes, overridden by id, zone and locale."""
    attributes = whole_numbers(recipient.attributes) if recipient else {}
    place = {"zone": recipient.zone, "locale": recipient.locale} if recipient else {}
    return {**attributes, **{name: value for name, value in place.items() if value}, "id": user_id}
