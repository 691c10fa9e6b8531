"""What becomes of mails and webhooks, for metrics."""

from dataclasses import dataclass

from schemas.vocabulary import LedgerState


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail transaction that ended, and whose outcome is durable. Ages count from the decision of its command."""

    provider: str
    """A provider of the shaping file; empty for every other destination."""
    purpose: str
    is_first: bool
    """Whether no transaction of the command counted before."""
    begun_age_s: float
    ended_age_s: float
    state: LedgerState
    reason: str | None = None
    hard: bool = False


class MailObserver:
    """Override what matters; return quickly, raise nothing."""

    def sent(self, mail: SentMail) -> None:
        """A mail transaction ended. Called in the event loop's thread."""

    def called(self, endpoint: str, state: LedgerState) -> None:
        """A call of an endpoint ended, with this state of its attempt. Called in the event loop's thread."""
