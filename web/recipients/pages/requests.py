"""Asks a recipient to confirm something by a mail, and makes the change once that is done."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from senders.content.links import LinkKind, LinkPages
from web.recipients.pages import choices, confirmations
from web.recipients.pages.choices import ConsentMethod
from web.recipients.pages.confirmation_mail import TEMPLATE, mail_id, mail_record
from web.recipients.pages.confirmations import LASTS, Confirmation, ConfirmationKind, TooManyMails
from web.recipients.pages.needs import Append, RecipientProfiles, Transactions
from web.recipients.pages.texts import Texts, languages
from web.recipients.pages.visits import Visit


@dataclass(slots=True)
class ConfirmationDesk:
    """One for a process. What it asks for and does is durable when it returns; it raises one of `AWAY`."""

    database: Transactions
    profiles: RecipientProfiles
    append: Append
    links: LinkPages
    new_occurrence: Callable[[], str] = lambda: secrets.token_hex(16)
    template_is_published: bool = False

    async def ask(
        self,
        visit: Visit,
        kind: ConfirmationKind,
        now: datetime,
        *,
        purposes: Sequence[str] = (),
        address: str | None = None,
    ) -> bool:
        """Send a mail to the visitor, who has an address, to confirm by. Returns False if they got too many today."""
        texts, to = visit.texts, visit.address
        assert to is not None, "who has no address is not asked"
        occurrence = self.new_occurrence()
        new = Confirmation(
            mail_id(visit.user_id, kind, occurrence),
            visit.user_id,
            kind,
            tuple(purposes),
            address,
            texts.code,
            texts.version,
            now + LASTS,
            confirmations.digest(to),
            occurrence,
            visit.origin.brand,
        )
        try:
            await self._send(await self.database.run(partial(confirmations.add, new=new, now=now)), to, texts, now)
        except TooManyMails:
            return False
        return True

    async def find(self, command_id: str) -> Confirmation | None:
        """The request whose mail has this command."""
        return await self.database.run(partial(confirmations.find, command_id=command_id))

    async def make(self, confirmation: Confirmation, now: datetime) -> None:
        """Make the change that was confirmed and is not over. Making it again changes nothing: it has the time of the
        first. Raises TooManyMails if it would send one too many, and then changes nothing."""
        if confirmation.kind is ConfirmationKind.ADDRESS:
            await self._ask_new_address(confirmation, now)
            return
        at = confirmation.confirmed_at or now
        if confirmation.kind is ConfirmationKind.RESUBSCRIBE:
            granted = dict.fromkeys(confirmation.purposes, True)
            patch = choices.answers(
                confirmation.user_id, granted, at, ConsentMethod.CONFIRMED_MAIL, confirmation.text_version
            )
        else:
            value = {"address": confirmation.address}
            patch = choices.values(confirmation.user_id, at, ConsentMethod.CONFIRMED_MAIL, value)
        await self.profiles.store([patch])
        await self.database.run(partial(confirmations.confirm, command_id=confirmation.command_id, now=at))

    async def _ask_new_address(self, first: Confirmation, now: datetime) -> None:
        assert first.address is not None, "a change of the address has the new one"
        texts, kind = languages()[first.language], ConfirmationKind.NEW_ADDRESS
        occurrence = self.new_occurrence()
        new = replace(
            first,
            command_id=mail_id(first.user_id, kind, occurrence),
            kind=kind,
            text_version=texts.version,
            expires_at=now + LASTS,
            unsent=occurrence,
            confirmed_at=None,
        )
        unsent = await self.database.run(partial(confirmations.follow, first=first, new=new, now=now))
        if unsent is not None:
            await self._send(unsent, first.address, texts, now)

    async def _send(self, unsent: Confirmation, to: str, texts: Texts, now: datetime) -> None:
        assert unsent.unsent is not None, "what was sent is not sent again"
        link = self.links.address(LinkKind.CONFIRM, unsent.command_id)
        if not self.template_is_published:
            await self.append([TEMPLATE])
            self.template_is_published = True
        await self.append([mail_record(unsent, unsent.unsent, to, link, texts, now)])
        await self.database.run(partial(confirmations.note_sent, command_id=unsent.command_id))
