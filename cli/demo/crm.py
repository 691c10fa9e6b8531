"""The shop's CRM, as the demo plays it: a receiver that does with a webhook what Standard Webhooks asks for.

It verifies the signature and the age of each call, and drops by its id what it has taken before. One call it fails, and
one it takes without an answer: both come again.
"""

import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cli.rules.rule_folder import Folder
from infra.local.webhook_receiver import HttpAnswer, HttpCall, HttpReceiver
from schemas.errors import UserError

ENDPOINT, SECRET_NAME, URL = "crm", "crm-signing", "https://crm.cd-harbour.example/hooks/ebbtide"
"""As examples/back-in-stock.yaml has them."""
PATH = "/hooks/ebbtide"
OLDEST_S = 300
"""A call whose time is further away than this was perhaps recorded, and is made again by somebody else."""


class CrmVerdict(StrEnum):
    """What became of a call."""

    TAKEN = "taken"
    UNANSWERED = "unanswered"
    """Taken, but the connection ended before an answer."""
    REPEATED = "repeated"
    """Taken before, and dropped."""
    FAILED = "failed"
    UNVERIFIED = "unverified"


ANSWERS: Mapping[CrmVerdict, HttpAnswer] = {
    CrmVerdict.TAKEN: HttpAnswer(),
    CrmVerdict.UNANSWERED: HttpAnswer(close=True),
    CrmVerdict.REPEATED: HttpAnswer(),
    CrmVerdict.FAILED: HttpAnswer(503),
    CrmVerdict.UNVERIFIED: HttpAnswer(401),
}


@dataclass(frozen=True, slots=True)
class CrmReceipt:
    """One call, and when it came, in seconds since the epoch. Unverified, it concerns no user."""

    id: str
    user_id: str
    verdict: CrmVerdict
    at_s: float


class Crm(HttpReceiver):
    """Verifies by the secret `secret`, which delivery must have too."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
        self._receipts: list[CrmReceipt] = []
        self._taken: set[str] = set()

    @property
    def receipts(self) -> list[CrmReceipt]:
        """Every call so far, in order."""
        with self._lock:
            return [*self._receipts]

    def verdicts(self) -> Counter[CrmVerdict]:
        """How many calls got each verdict so far."""
        return Counter(each.verdict for each in self.receipts)

    def take(self, call: HttpCall) -> HttpAnswer:
        """Judges a call and notes it."""
        with self._lock:
            verdict = self._judge(call)
            user_id = "" if verdict is CrmVerdict.UNVERIFIED else str(call.json["user_id"])
            self._receipts.append(CrmReceipt(call.id, user_id, verdict, call.at_s))
        return ANSWERS[verdict]

    def _judge(self, call: HttpCall) -> CrmVerdict:
        if not self._is_verified(call):
            return CrmVerdict.UNVERIFIED
        if call.id in self._taken:
            return CrmVerdict.REPEATED
        if not any(each.verdict is CrmVerdict.FAILED for each in self._receipts):
            return CrmVerdict.FAILED
        self._taken.add(call.id)
        return CrmVerdict.UNANSWERED if len(self._taken) == 1 else CrmVerdict.TAKEN

    def _is_verified(self, call: HttpCall) -> bool:
        sent_s = call.headers.get("webhook-timestamp", "")
        in_time = sent_s.isascii() and sent_s.isdigit() and abs(call.at_s - int(sent_s)) <= OLDEST_S
        return bool(call.id) and in_time and call.is_signed_by(self.secret)


class NoEndpoint(UserError):
    """The rules have no endpoint of the CRM."""


def led_to(folder: Folder, url: str) -> Folder:
    """The folder, whose endpoint leads to `url` instead of the CRM of the examples. Raises NoEndpoint."""
    line = f"url: {URL}\n"
    if sum(each.text.count(line) for each in folder.rules) != 1:
        raise NoEndpoint(f"{folder.root}: not one endpoint with the line `{line.strip()}`; the demo replaces it")
    return replace(
        folder, rules=[replace(each, text=each.text.replace(line, f"url: {url}\n")) for each in folder.rules]
    )
