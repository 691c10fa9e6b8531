"""Tells automatic answers: vacation notices and acknowledgements (RFC 3834), and challenges. Pure."""

from senders.bounces.mime import ReturnedMail
from senders.bounces.phrases import phrases
from senders.bounces.refusal import fold

_BULK = ("bulk", "junk", "list")
_HEADERS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-autoreply-from", "x-vacation", "x-mail-autoreply")


def is_auto_reply(mail: ReturnedMail, text: str) -> bool:
    """Whether a machine answered for a reader. Asked only of mails that report no delivery."""
    headers = mail.headers
    submitted = headers.get("auto-submitted").lower()
    subject, body = fold(headers.get("subject")), fold(text)
    says = phrases()
    if submitted.startswith("auto-replied") or any(name in headers for name in _HEADERS):
        return True
    if headers.get("x-auto-response-suppress") and says["auto_reply_subject"].folded(subject):
        return True
    if headers.get("precedence").lower() in ("auto_reply", "auto-reply", "autoreply"):
        return True
    if says["auto_reply_subject"].folded(subject):
        unattended = headers.get("return-path").replace(" ", "") == "<>" or headers.get("precedence").lower() in _BULK
        return unattended or submitted not in ("", "no") or says["auto_reply_body"].folded(body)
    return is_challenge(mail, text)


def is_challenge(mail: ReturnedMail, text: str) -> bool:
    """Whether the sender is to prove that a person wrote."""
    says = phrases()["challenge"]
    return says.within(mail.headers.get("subject")) or says.within(text)
