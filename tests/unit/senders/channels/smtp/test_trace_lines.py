"""What a watcher sees of a conversation: no address, no content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from senders.channels.smtp.reply_parser import RawReply
from senders.channels.smtp.trace_lines import MAX_LINE, command_line, content_line, masked, reply_line

LOCAL_PARTS = st.text(st.characters(categories=["L", "N"]), min_size=6, max_size=20)


@given(LOCAL_PARTS, st.sampled_from(["@", "\ufe6b", "\uff20"]), st.sampled_from(["", "<", "550 <", "to:", '"a b ']))
def test_what_stands_before_an_at_sign_never_shows(local_part: str, at: str, before: str) -> None:
    quote = '"' if before.startswith('"') else ""

    assert local_part not in masked(f"{before}{local_part}{quote}{at}shop.example> is unknown")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (command_line(b"MAIL FROM:<b-x.y@bounces.example> SIZE=12\r\n"), "> MAIL FROM:<***@bounces.example> SIZE=12"),
        (command_line(b"RCPT TO:<ann.o'hara+x@shop.example>\r\n"), "> RCPT TO:<***@shop.example>"),
        (content_line(12_345), "> (12,345 bytes of the mail, not shown)"),
        (reply_line(RawReply(550, "5.1.1 <ann@shop.example>\nunknown")), "< 550 5.1.1 <***@shop.example> unknown"),
        (reply_line(RawReply(250, "a\x00\x1b[2J")), "< 250 a??[2J"),
        (reply_line(RawReply(550, "user Ann.Lee unknown"), "ann.lee@shop.example"), "< 550 user *** unknown"),
    ],
)
def test_lines_are_shown_as_they_were_said(line: str, shown: str) -> None:
    assert line == shown


def test_a_line_is_bounded() -> None:
    assert len(reply_line(RawReply(250, "x" * 100_000))) <= MAX_LINE + 6
