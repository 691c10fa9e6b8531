"""The keys of a lane as limits of its sessions."""

from senders.channels.lane_routes import limits_of
from senders.shaping.keys import DEFAULTS
from senders.shaping.loader import parse
from senders.shaping.resolution import resolve
from senders.shaping.sites import Destination


def test_each_time_out_and_the_mails_of_a_session_are_those_of_the_lane() -> None:
    text = (
        b"[default]\nconnect_timeout = '5s'\nbanner_timeout = '6s'\nehlo_timeout = '7s'\nstarttls_timeout = '8s'\n"
        b"mail_from_timeout = '9s'\nrcpt_to_timeout = '10s'\ndata_timeout = '11s'\ndata_dot_timeout = '12s'\n"
        b"rset_timeout = '13s'\nidle_timeout = '14s'\nmax_deliveries_per_connection = 15\n"
    )
    egress = resolve(parse(text, "f"), Destination.of("d.example", ["mx.d.example"]), "default")

    limits = limits_of(egress.keys)

    assert (limits.connect_s, limits.hello_s, limits.starttls_s) == (6, 7, 8), "greeting and connection wait alike"
    assert (limits.mail_s, limits.rcpt_s, limits.data_s, limits.final_reply_s) == (9, 10, 11, 12)
    assert (limits.reset_s, limits.idle_s, limits.mails) == (13, 14, 15)


def test_the_built_in_values_are_the_limits_of_a_lane_without_a_file() -> None:
    limits = limits_of(DEFAULTS)

    assert (limits.connect_s, limits.mail_s, limits.final_reply_s, limits.mails) == (60, 300, 600, 100)
