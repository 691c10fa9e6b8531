"""What happens to commands in the ledger, for metrics."""

from schemas.vocabulary import LedgerState


class LedgerObserver:
    """Receives changes once they are durable, in any thread. Override what matters; return quickly, raise nothing."""

    def admitted(self, count: int) -> None:
        """Commands are new in the ledger."""

    def held(self, budget: str, count: int) -> None:
        """New commands are more than this budget allows, and wait for a person."""

    def answered(self, state: LedgerState, reason: str | None) -> None:
        """A mail transaction ended, and left its command in this state."""

    def taken_back(self) -> None:
        """A mail transaction ended before the server took anything of the mail."""

    def settled(self, state: LedgerState, reason: str | None) -> None:
        """A command ended without a mail."""

    def postponed(self, reason: str | None) -> None:
        """A command waits without a mail."""

    def lost(self, count: int) -> None:
        """Attempts that a lost worker had begun are in doubt."""

    def reported(self, kind: str, provider: str, purpose: str) -> None:
        """A bounce or complaint came back for a mail that was taken, by a provider of the shaping file or another."""

    def withheld(self, count: int) -> None:
        """Commands ended because their users were removed."""
