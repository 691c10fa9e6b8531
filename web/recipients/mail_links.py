"""Answers the links of mails: the pixel of opens, the redirect of clicks, and the unsubscribe of one click.

Only a POST to an unsubscribe link changes anything. What is not signed by one of our keys leads nowhere.
"""

from collections.abc import Callable, Mapping

from schemas.vocabulary import Evidence, OutcomeKind
from senders.content.links import HIDDEN_LINK, LinkKeys, LinkKind, LinkToken
from web.recipients import facts
from web.recipients.evidence import Hit, signals_of
from web.recipients.hit_recorder import HitRecorder, now_us
from web.recipients.lookup import Lookup
from web.recipients.mail_origins import MailOrigins
from web.recipients.outcome_log import OutcomeLog
from web.recipients.stored import MailOrigin


class MailLinkEdge:
    """All methods belong to the event loop's thread."""

    def __init__(
        self,
        keys: LinkKeys,
        links: Lookup[bytes, str],
        origins: MailOrigins,
        recorder: HitRecorder,
        log: OutcomeLog,
        clock_us: Callable[[], int] = now_us,
    ) -> None:
        self._keys = keys
        self._links = links
        self._origins = origins
        self._recorder = recorder
        self._log = log
        self._clock_us = clock_us

    def _read(self, token: str, kind: LinkKind) -> LinkToken | None:
        said = self._keys.read(token)
        return said if said is not None and said.kind is kind else None

    def opened(self, token: str, method: str, headers: Mapping[str, str]) -> bool:
        """Whether the pixel is one of ours. Notes the request."""
        said = self._read(token, LinkKind.OPEN)
        if said is None:
            return False
        self._recorder.add(Hit(OutcomeKind.OPENED, said.command_id, self._clock_us(), signals_of(method, headers)))
        return True

    async def clicked(self, token: str, method: str, headers: Mapping[str, str]) -> str | None:
        """Where the link leads, None if it is not one of ours or the hidden one. Notes the request.

        Raises StoreAway if the address is not in memory, and PostgreSQL does not answer.
        """
        said = self._read(token, LinkKind.CLICK)
        if said is None:
            return None
        at_us = self._clock_us()
        url = None if said.link == HIDDEN_LINK else await self._links.get(said.link)
        if url is None and said.link != HIDDEN_LINK:
            return None
        signals = signals_of(method, headers)
        self._recorder.add(Hit(OutcomeKind.CLICKED, said.command_id, at_us, signals, said.link, url))
        return url

    async def unsubscribe(self, token: str, headers: Mapping[str, str]) -> bool:
        """Stop mails of this mail's purpose, durably. Any POST does it (RFC 8058, 3.1).

        Returns False if the link is not one of ours, or nobody knows its mail any more. Raises StoreAway and
        NotAcknowledged.
        """
        said = self._read(token, LinkKind.UNSUBSCRIBE)
        origin = None if said is None else await self._origins.get(said.command_id)
        if said is None or origin is None:
            return False
        from_page = headers.get("sec-fetch-mode") == "navigate"
        await self.stop_mails(said.command_id, origin, Evidence.PAGE_POST if from_page else Evidence.ONE_CLICK)
        return True

    async def stop_mails(self, command_id: str, origin: MailOrigin, evidence: Evidence = Evidence.PAGE_POST) -> None:
        """Stop mails of the purpose of the command's mail, durably; raises NotAcknowledged."""
        await self._log.write([facts.of_unsubscribe(command_id, origin, self._clock_us(), evidence)])
