"""Bytes of a server as replies: whole, in pieces, strict, and bounded."""

import pytest

from senders.channels.smtp.reply_parser import MAX_LINE, MAX_LINES, MAX_REPLY, BadReply, RawReply, ReplyParser


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 ok\r\n", [(250, "ok")]),
        (b"250\r\n", [(250, "")]),
        (b"250 ok\n", [(250, "ok")]),
        (b"250-one\r\n250-two\r\n250 three\r\n", [(250, "one\ntwo\nthree")]),
        (b"250-one\r\n250\r\n", [(250, "one\n")]),
        (b"250 a\r\n550-b\r\n550 c\r\n354 d\r\n", [(250, "a"), (550, "b\nc"), (354, "d")]),
        (b"999 no such code\r\n", [(999, "no such code")]),
        ("550 Empfänger unbekannt\r\n".encode(), [(550, "Empfänger unbekannt")]),
        (b"550 \xff\xfe\r\n", [(550, "ÿþ")]),
        (b"250 o\0k\r\n", [(250, "o\0k")]),
        (b"250 ok\r\n25", [(250, "ok")]),
    ],
)
def test_lines_are_replies(data: bytes, replies: list[tuple[int, str]]) -> None:
    assert ReplyParser().feed(data, 3) == [RawReply(*reply) for reply in replies]


@pytest.mark.parametrize(
    "data",
    [
        b"gibberish\r\n",
        b"\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b" 250 ok\r\n",
        b"+25 ok\r\n",
        b"-12 ok\r\n",
        b"250_ok\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n",
        b"250-one\r\n550 two\r\n",
        b"250-one\r\n250 two\r\n250 three\r\n250 surplus\r\n",
        b"250 " + b"x" * MAX_LINE + b"\r\n",
        b"x" * (MAX_LINE + 1),
        b"250-x\r\n" * (MAX_LINES + 1),
        (b"250-" + b"x" * 1020 + b"\r\n") * (MAX_REPLY // 1024 + 1),
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(BadReply):
        ReplyParser().feed(data, 2)


def test_a_421_that_nobody_asked_for_closes_and_leaves_what_came_before() -> None:
    parser = ReplyParser()
    assert parser.feed(b"250 taken\r\n421 4.3.2 closing\r\n", 1) == [RawReply(250, "taken")]
    assert parser.closing


def test_part_of_a_reply_waits_for_its_end() -> None:
    parser = ReplyParser()
    assert parser.feed(b"250-one\r\n25", 1) == []
    assert not parser.idle
    assert parser.feed(b"0 two\r", 1) == []
    assert parser.feed(b"\n", 1) == [RawReply(250, "one\ntwo")]
    assert parser.idle


def test_letters_of_latin_1_stay_letters() -> None:
    data = "550-Utilisateur déplacé\r\n550 Benutzer ungültig\r\n".encode("latin-1")
    assert ReplyParser().feed(data, 1) == [RawReply(550, "Utilisateur déplacé\nBenutzer ungültig")]
