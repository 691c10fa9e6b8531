"""The route that the settings make."""

from typing import Any

import pytest

from senders.channels.smtp.relay import relay_route
from senders.settings import SenderSettings
from senders.shaping.keys import TlsPolicy

SECRET = "a secret of the tests"


def settings(**changes: Any) -> SenderSettings:
    return SenderSettings(suppression_key=SECRET, smtp_host="relay.example", smtp_port=587, **changes)


@pytest.mark.parametrize("policy", TlsPolicy)
def test_the_relay_is_a_route_of_one_host_with_its_policy(policy: TlsPolicy) -> None:
    route = relay_route(settings(smtp_tls=policy.value, smtp_hello="out.example", smtp_source="192.0.2.1"))
    [host] = route.hosts
    assert (host.server, host.tls, host.addresses, host.tlsa) == ("relay.example:587", policy, (), ())
    assert (route.name, route.hello, route.source, route.login) == (host.server, "out.example", "192.0.2.1", None)


def test_patience_and_bounds_of_a_session_come_from_the_settings() -> None:
    limits = relay_route(
        settings(smtp_timeout_s=7, smtp_final_dot_timeout_s=70, idle_connection_s=3, mails_per_connection=5)
    ).limits
    assert (limits.connect_s, limits.starttls_s, limits.mail_s, limits.data_s, limits.final_reply_s) == (7, 7, 7, 7, 70)
    assert (limits.idle_s, limits.mails) == (3, 5)


def test_the_login_is_kept_and_not_shown() -> None:
    route = relay_route(settings(smtp_tls="verified", smtp_user="shop", smtp_password=SECRET))
    assert route.login is not None
    assert (route.login.user, route.login.password.get_secret_value()) == ("shop", SECRET)
    assert SECRET not in repr(route)
    assert SECRET not in repr(route.login)
