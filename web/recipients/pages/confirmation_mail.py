"""The mail by which a recipient confirms something: a transactional command with its words, and the template for it.

It goes the way of every mail. Its template is published as a text on `rules` before the first command that names it;
no manifest refers to it, so applying rules does not concern it.
"""

from datetime import datetime, timedelta
from pathlib import Path

from schemas.codec import encode
from schemas.commands import MAX_PRIORITY, SendCommand, command_id
from schemas.rules import Text, text_hash, text_key
from schemas.topics import COMMANDS, RULES
from schemas.vocabulary import PREFERENCES, TRANSACTIONAL
from web.recipients.outcome_log import Record
from web.recipients.pages.confirmations import Confirmation, ConfirmationKind
from web.recipients.pages.texts import Texts

_BODY = (Path(__file__).parent.parent / "templates" / "confirm.liquid").read_text(encoding="utf-8")
_NAME, _HASH = "ebbtide-confirm", text_hash(_BODY)
TEMPLATE = Record(
    RULES.name,
    text_key(_HASH).encode(),
    encode(Text(kind="template", path=f"templates/{_NAME}.liquid", body=_BODY)),
)
EXPIRES = timedelta(hours=1)
"""A person waits for the mail: one that comes later than this is not sent."""


def mail_id(user_id: str, kind: ConfirmationKind, occurrence: str) -> str:
    """The id of the command; `occurrence` is random, so that nobody can know it."""
    return command_id(PREFERENCES, user_id, occurrence, kind)


def mail_record(confirmation: Confirmation, occurrence: str, to: str, link: str, texts: Texts, now: datetime) -> Record:
    """The command that sends the mail of this confirmation to an address."""
    kind, values = confirmation.kind, {"new": confirmation.address or ""}
    command = SendCommand(
        id=confirmation.command_id,
        trigger=PREFERENCES,
        rule_hash=_HASH,
        occurrence=occurrence,
        step=kind,
        user_id=confirmation.user_id,
        to=to,
        template=_NAME,
        template_hash=_HASH,
        brand=confirmation.brand,
        purpose=TRANSACTIONAL,
        data={
            "language": texts.code,
            "subject": texts.plain(f"mail.{kind}_subject"),
            "heading": texts.plain(f"mail.{kind}_heading"),
            "text": texts.plain(f"mail.{kind}", **values),
            "purposes": [texts.purpose_of_brand(purpose) for purpose in confirmation.purposes],
            "button": texts.plain(f"mail.{kind}_button"),
            "link": link,
            "ends": texts.plain("mail.ends"),
            "otherwise": texts.plain("mail.otherwise"),
        },
        decided_at=now,
        expires_at=now + EXPIRES,
        priority=MAX_PRIORITY,
    )
    return Record(COMMANDS.name, command.user_id.encode(), encode(command))
