"""Reads delivery status notifications: the part message/delivery-status of RFC 3464. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from senders.bounces.mime import Headers, split_headers

MAX_RECIPIENTS: Final = 200
MAX_BODY: Final = 256 << 10
_ADDRESS = re.compile(r"[^\s<>\"'()\[\],;:]{1,64}@[^\s<>\"'()\[\],;:]{1,255}")
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_COMMENT = re.compile(r"\(([^()]{4,500})\)")
_CODE = re.compile(r"(?<![\d.])([45]\d\d)(?![\d.])")


class Action(StrEnum):
    """What a server did with the mail for one recipient."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What a notification says of one recipient. `action` is None if it does not say."""

    recipient: str
    action: Action | None
    status: str
    diagnostic: str


def recipient_statuses(body: bytes) -> list[RecipientStatus]:
    """Each recipient of a message/delivery-status part, in order. The fields of the message itself name none."""
    found: list[RecipientStatus] = []
    for block in re.split(rb"\n[ \t]*\n", body[:MAX_BODY].strip(b"\n"))[: 4 * MAX_RECIPIENTS]:
        fields, _ = split_headers(block.lstrip(b"\n") + b"\n")
        status = _recipient_status(fields)
        if status is not None:
            found.append(status)
    return found[:MAX_RECIPIENTS]


def _recipient_status(fields: Headers) -> RecipientStatus | None:
    recipient = next(
        (
            address
            for name in ("original-recipient", "final-recipient", "x-actual-recipient", "recipient")
            if (address := first_address(_typed(fields.get(name))))
        ),
        "",
    )
    if not recipient and "final-recipient" not in fields and "original-recipient" not in fields:
        return None
    diagnostics = [_typed(each) for each in fields.all("diagnostic-code")] or [fields.get("x-notes-last-error")]
    status = status_in(fields.get("status")) or ""
    comment = _COMMENT.search(fields.get("status"))
    if comment is not None and not any(diagnostics):
        diagnostics = [comment.group(1)]
    return RecipientStatus(
        recipient or _typed(fields.get("final-recipient")),
        _action(fields.get("action"), status),
        status,
        " ".join([*diagnostics, fields.get("x-supplementary-info")]).strip(),
    )


def _action(value: str, status: str) -> Action | None:
    word = re.split(r"[\s(;,]", value.strip().lower())[0]
    aliases = {"failure": "failed", "fail": "failed", "failed:": "failed", "error": "failed", "expired": "failed"}
    aliases |= {"delay": "delayed", "deferred": "delayed", "deliverable": "delivered", "success": "delivered"}
    word = aliases.get(word, word)
    if word in {each.value for each in Action}:
        return Action(word)
    return {"2": Action.DELIVERED}.get(status[:1])


def _typed(value: str) -> str:
    """A value without its type: `rfc822; ann@example.net`, `smtp; 550 no`."""
    kind, found, rest = value.partition(";")
    return rest.strip() if found and len(kind) <= 24 and " " not in kind.strip() else value.strip()


def first_address(text: str) -> str:
    """The first mail address in a text, empty if there is none."""
    found = _ADDRESS.search(text[:2000])
    return found.group().rstrip(".") if found else ""


def status_in(text: str) -> str | None:
    """The first enhanced code in a text, such as `5.1.1`."""
    found = _STATUS.search(text)
    return None if found is None else ".".join(found.groups())


def code_in(text: str) -> int:
    """The first reply code of 4xx or 5xx in a text, else 0."""
    found = _CODE.search(text)
    return int(found.group(1)) if found else 0
