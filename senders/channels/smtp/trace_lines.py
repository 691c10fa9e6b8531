"""Lines of a conversation for somebody who watches it: without addresses and without a mail's content. Pure."""

import re

from senders.channels.smtp.reply_parser import RawReply

MAX_LINE = 1000
SHORTEST_NAME = 3
"""Shorter ones would hide parts of words, and say little."""
_QUOTED = re.compile(r'"[^"]*"(?=[@\ufe6b\uff20])')
_LOCAL_PART = re.compile("[^\\s<>@\ufe6b\uff20]+(?=[@\ufe6b\uff20])")


def masked(text: str) -> str:
    """The text on one line, with `***` instead of what stands before an `@`, and `?` for what cannot be printed."""
    line = "".join(char if char.isprintable() else "?" if not char.isspace() else " " for char in text[: 4 * MAX_LINE])
    return _LOCAL_PART.sub("***", _QUOTED.sub("***", line))[:MAX_LINE]


def command_line(command: bytes) -> str:
    """A command of ours."""
    return f"> {masked(command.decode(errors='replace').strip())}"


def content_line(size: int) -> str:
    """A mail's content, which is not shown."""
    return f"> ({size:,} bytes of the mail, not shown)"


def reply_line(reply: RawReply, recipient: str = "") -> str:
    """A reply of the server, without the recipient's name where it stands alone, as in `user ann unknown`."""
    local_part, line = recipient.rpartition("@")[0], masked(reply.text)
    if len(local_part) >= SHORTEST_NAME:
        line = re.sub(re.escape(local_part), "***", line, flags=re.IGNORECASE)
    return f"< {reply.code} {line}"
