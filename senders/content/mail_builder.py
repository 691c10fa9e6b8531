"""Makes the signed mail of a command: render, compose, sign. Pure.

A template's own `from` and `reply_to` go before those of the brand, and these before the sender of the settings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from schemas.brands import Brand, SenderName, purpose_in
from schemas.commands import SendCommand
from schemas.numbers import whole_numbers
from schemas.vocabulary import TRANSACTIONAL, DeliveryReason
from senders.content.dkim import Signer
from senders.content.front_matter import TRACKED
from senders.content.headers import HeaderError
from senders.content.links import LinkPages, MailLinks
from senders.content.message import Mail, Mailbox, compose
from senders.content.recipient import Recipient
from senders.content.render import NO_PAGES, Content, Template, TemplateError

_NOT_IN_LIST_ID = re.compile(r"[^A-Za-z0-9_-]+")
"""What a purpose may hold and a label of List-Id (RFC 2919) may not, or only between others."""


SAMPLE_PAGES: Mapping[str, str] = {
    "unsubscribe_url": "https://mail.example/u/sample",
    "preferences_url": "https://mail.example/p/sample",
}
"""The pages of a recipient in previews and cases, which are no mail."""


class SignedMail(NamedTuple):
    """A mail as it is sent, and where its links lead, by their ids."""

    message: bytes
    targets: Mapping[bytes, str]


@dataclass(frozen=True, slots=True)
class Tracking:
    """Which uses of mails are tracked, as far as the template does not say less."""

    uses: frozenset[str] = frozenset(TRACKED)
    hidden_link: bool = False
    """Whether a mail whose clicks are tracked has a link that only machines find."""

    def links(self, pages: LinkPages, command: SendCommand, template: Template) -> MailLinks:
        """The links of a mail. A transactional one is tracked only where its template says so."""
        by_default = frozenset() if command.purpose == TRANSACTIONAL else self.uses
        uses = by_default if template.track is None else self.uses & template.track
        return pages.of(command.id, opens="opens" in uses, clicks="clicks" in uses, hidden=self.hidden_link)


@dataclass(frozen=True, slots=True)
class MailBuilder:
    """One for all mails of a process."""

    signer: Signer
    sender: Mailbox
    pages: LinkPages | None = None
    """The pages of recipients, if they are reached under an address."""
    tracking: Tracking = field(default=Tracking())
    unsubscribe_url: str | None = None
    """Another page on which one click unsubscribes, if there are no `pages`."""
    feedback_sender: str | None = None
    """Names this sender in Feedback-ID."""

    def build(
        self,
        command: SendCommand,
        to: str,
        recipient: Recipient | None,
        template: Template,
        now: datetime,
        brand: Brand | None = None,
    ) -> SignedMail:
        """The signed mail, of the brand if the command has one.

        Raises TemplateError with the reason if it cannot be made, and NoSigningKey if the brand's key is not here.
        """
        links = None if self.pages is None else self.tracking.links(self.pages, command, template)
        unsubscribe = self._unsubscribe_url(command, links)
        pages = _pages(links, unsubscribe)
        content = content_of(template, command.data, command.user_id, recipient, now, pages, links)
        sender, reply_to = (self.sender, None) if brand is None else mailboxes_of(brand)
        mail = Mail(
            command_id=command.id,
            sender=content.sender or sender,
            reply_to=content.reply_to or reply_to,
            to=to,
            subject=content.subject,
            html=content.html_pieces,
            text=content.text_pieces,
            date=now,
            domain=self.signer.domain,  # not the brand's, which may change before the mail is sent again
            extra=self._extra(command, unsubscribe, brand),
        )
        try:
            message = self.signer.sign(compose(mail), mail.sender.domain, now, None if brand is None else brand.dkim)
        except HeaderError as error:
            reason = DeliveryReason.ADDRESS if error.field == "To" else DeliveryReason.HEADER
            raise TemplateError(reason, str(error)) from None
        except UnicodeEncodeError:
            raise TemplateError(DeliveryReason.HEADER, "text that is not Unicode (a lone surrogate)") from None
        return SignedMail(message, {} if links is None else links.targets)

    def _unsubscribe_url(self, command: SendCommand, links: MailLinks | None) -> str | None:
        """Where one click ends mails of this purpose (RFC 8058); None if there is no page, or no consent to take."""
        if command.purpose == TRANSACTIONAL:
            return None
        if links is not None:
            return links.unsubscribe_url
        return self.unsubscribe_url and self.unsubscribe_url.replace("{command_id}", command.id)

    def _extra(
        self, command: SendCommand, unsubscribe_url: str | None, brand: Brand | None
    ) -> tuple[tuple[str, str], ...]:
        if command.purpose == TRANSACTIONAL:
            return (*self._feedback_id(command), ("Auto-Submitted", "auto-generated"))
        return (
            ("List-Id", f"<{_list_id(command, self.signer.domain if brand is None else brand.lists)}>"),
            *_unsubscribe_fields(unsubscribe_url),
            *self._feedback_id(command),
        )

    def _feedback_id(self, command: SendCommand) -> tuple[tuple[str, str], ...]:
        """By which Google groups complaints: up to three identifiers, and last the sender, with colons between them."""
        if self.feedback_sender is None:
            return ()
        names = [name.replace(":", "-") for name in (command.trigger, command.step, command.purpose)]
        return (("Feedback-ID", ":".join([*names, self.feedback_sender])),)


def _list_id(command: SendCommand, domain: str) -> str:
    """The name of the list that a purpose is (RFC 2919)."""
    return f"{_NOT_IN_LIST_ID.sub('-', purpose_in(command.brand, command.purpose))}.{domain}"


def mailboxes_of(brand: Brand) -> tuple[Mailbox, Mailbox | None]:
    """Who sends a brand's mails, and where answers go."""
    return _mailbox(brand.sender), None if brand.reply_to is None else _mailbox(brand.reply_to)


def _mailbox(name: SenderName) -> Mailbox:
    return Mailbox.of(name.shown, name.address)


def _unsubscribe_fields(url: str | None) -> tuple[tuple[str, str], ...]:
    if url is None:
        return ()
    return ("List-Unsubscribe", f"<{url}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")


def _pages(links: MailLinks | None, unsubscribe_url: str | None) -> Mapping[str, str]:
    """The pages as variables of templates. Where there is nothing to unsubscribe from, one is the other."""
    if links is None:
        return NO_PAGES if unsubscribe_url is None else {"unsubscribe_url": unsubscribe_url}
    preferences = links.preferences_url
    return {"unsubscribe_url": unsubscribe_url or preferences, "preferences_url": preferences}


def content_of(
    template: Template,
    data: dict[str, Any],
    user_id: str,
    recipient: Recipient | None,
    now: datetime,
    pages: Mapping[str, str] = SAMPLE_PAGES,
    links: MailLinks | None = None,
) -> Content:
    """The content of the mail. Previews, test mails, cases and delivery all use this. Raises TemplateError."""
    return template.render(whole_numbers(data), user_names(user_id, recipient), now, pages, links)


def user_names(user_id: str, recipient: Recipient | None) -> dict[str, Any]:
    """The properties of `user` in a template: the profile's attributes, overridden by id, zone and locale."""
    attributes = whole_numbers(recipient.attributes) if recipient else {}
    place = {"zone": recipient.zone, "locale": recipient.locale} if recipient else {}
    return {**attributes, **{name: value for name, value in place.items() if value}, "id": user_id}
