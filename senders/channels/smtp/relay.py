"""The route of the settings: one relay that takes all mail."""

from senders.bounces.classifier import load_classifier
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import Login, MailHost, MailRoute, SmtpLimits
from senders.settings import SenderSettings
from senders.shaping.keys import TlsPolicy


def relay_route(settings: SenderSettings) -> MailRoute:
    """The relay that the settings name."""
    host = MailHost(settings.smtp_host, settings.smtp_port, tls=TlsPolicy(settings.smtp_tls))
    login = None
    if settings.smtp_user is not None and settings.smtp_password is not None:
        login = Login(settings.smtp_user, settings.smtp_password)
    return MailRoute(
        name=host.server,
        hosts=(host,),
        hello=settings.smtp_hello,
        source=settings.smtp_source,
        login=login,
        limits=SmtpLimits.alike(
            connect_s=settings.smtp_timeout_s,
            command_s=settings.smtp_timeout_s,
            final_reply_s=settings.smtp_final_dot_timeout_s,
            idle_s=settings.idle_connection_s,
            mails=settings.mails_per_connection,
        ),
    )


def connector(settings: SenderSettings) -> Connector:
    """What opens sessions under these settings."""
    classifier = load_classifier(settings.bounce_rules)
    return Connector(classifier, allow_real_mail=settings.allow_real_mail, ca_file=settings.smtp_ca_file)
