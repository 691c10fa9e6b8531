"""Mails as mail servers, mailbox providers, readers' programs and feedback loops write them, to hold parsers against.

Forms are those of public documentation: RFC 3464, 3834, 5965 and 6522; the bounce templates of Postfix (bounce(5)),
Exim (spec, chapter 50), sendmail (op.me), qmail (QSBMF, cr.yp.to/proto/qsbmf.txt); the manuals of Courier, OpenSMTPD,
Apache James, MDaemon and hMailServer; Microsoft's pages on non-delivery reports (Exchange 5.5 to Online) and Lotus
Domino's on delivery failures; the postmaster pages of Gmail, Yahoo, GMX, mail.ru and Orange; Amazon SES's and
Mimecast's. Names, addresses and wording are our own.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

US, ORIGINAL = "bounces@harbour.example", "hello@harbour.example"
Dialect = Callable[[str, "Said"], bytes]


@dataclass(frozen=True)
class Said:
    """What a server said of a recipient, and what that means."""

    hard: bool
    code: int
    status: str
    text: str

    @property
    def reply(self) -> str:
        return f"{self.code} {self.status} {self.text}"


def _mail(
    sender: str, subject: str, body: str, content_type: str = "text/plain; charset=utf-8", more: str = ""
) -> bytes:
    head = f"Return-Path: <>\nFrom: {sender}\nTo: {US}\nSubject: {subject}\n{more}MIME-Version: 1.0\n"
    return f"{head}Content-Type: {content_type}\nContent-Transfer-Encoding: 8bit\n\n{body}".encode()


def _original(recipient: str) -> str:
    return (
        f"Received: from mx.harbour.example by relay.example; Mon, 2 Nov 2026 09:00:00 +0000\n"
        f"From: Harbour <{ORIGINAL}>\n"
        f"To: <{recipient}>\nSubject: your basket waits\nMessage-ID: <1@harbour.example>\n\n"
        f"User unknown? Mailbox full? No.\n"
    )


def _report(sender: str, subject: str, words: str, fields: str, recipient: str) -> bytes:
    body = (
        f"--=_b\nContent-Type: text/plain; charset=utf-8\n\n{words}\n--=_b\nContent-Type: message/delivery-status\n\n"
        f"{fields}\n--=_b\nContent-Type: message/rfc822\n\n{_original(recipient)}\n--=_b--\n"
    )
    return _mail(sender, subject, body, 'multipart/report; report-type=delivery-status; boundary="=_b"')


def _fields(recipient: str, said: Said, action: str = "failed") -> str:
    return (
        "Reporting-MTA: dns; mx.relay.example\nArrival-Date: Mon, 2 Nov 2026 09:00:00 +0000\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {said.status}\n"
        f"Diagnostic-Code: smtp; {said.reply}\n"
    )


def postfix(recipient: str, said: Said) -> bytes:
    words = (
        "This is the mail system at host mx.relay.example.\n\n"
        "I'm sorry to have to inform you that your message could not\n"
        "be delivered to one or more recipients. It's attached below.\n\n"
        "For further assistance, please send mail to\n"
        "postmaster.\n\nIf you do so, please include this problem report. You can\n"
        "delete your own text from the attached\n"
        f"returned message.\n\n                   The mail system\n\n"
        f"<{recipient}>: host mx.shop.example[192.0.2.7] said:\n"
        f"    {said.reply} (in reply to RCPT TO command)\n"
    )
    sender = "MAILER-DAEMON@relay.example (Mail Delivery System)"
    return _report(sender, "Undelivered Mail Returned to Sender", words, _fields(recipient, said), recipient)


def exim(recipient: str, said: Said) -> bytes:
    body = (
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered"
        " to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n"
        f"  {recipient}\n    host mx.shop.example [192.0.2.7]\n    SMTP error from remote mail server after RCPT TO:"
        f"<{recipient}>:\n    {said.reply}\n\n"
        f"------ This is a copy of the message, including all the headers. ------\n\n" + _original(recipient)
    )
    sender = "Mail Delivery System <Mailer-Daemon@relay.example>"
    more = f"X-Failed-Recipients: {recipient}\nAuto-Submitted: auto-replied\n"
    return _mail(sender, "Mail delivery failed: returning message to sender", body, more=more)


def sendmail(recipient: str, said: Said) -> bytes:
    words = (
        "The original message was received at Mon, 2 Nov 2026 09:00:00 GMT\nfrom mx.harbour.example [192.0.2.1]\n\n"
        f"   ----- The following addresses had permanent fatal errors -----\n<{recipient}>\n"
        f"    (reason: {said.reply})\n\n"
        f"   ----- Transcript of session follows -----\n... while talking to mx.shop.example.:\n"
        f">>> RCPT To:<{recipient}>\n"
        f"<<< {said.reply}\n550 5.0.0 <{recipient}>... {said.text}\n"
    )
    sender = "Mail Delivery Subsystem <MAILER-DAEMON@relay.example>"
    return _report(sender, "Returned mail: see transcript for details", words, _fields(recipient, said), recipient)


def old_sendmail(recipient: str, said: Said) -> bytes:
    body = (
        f"   ----- Transcript of session follows -----\nWhile talking to mx.shop.example:\n"
        f">>> RCPT To:<{recipient}>\n"
        f"<<< {said.reply}\n{said.code} <{recipient}>... {said.text}\n\n   ----- Unsent message follows -----\n"
        + _original(recipient)
    )
    return _mail("MAILER-DAEMON@relay.example (Mail Delivery Subsystem)", "Returned mail: trouble", body)


def qmail(recipient: str, said: Said) -> bytes:
    body = (
        "Hi. This is the qmail-send program at relay.example.\n"
        "I'm afraid I wasn't able to deliver your message to the "
        "following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        f"<{recipient}>:\n192.0.2.7 does not like recipient.\nRemote host said: {said.reply}\n"
        f"Giving up on 192.0.2.7.\n\n"
        "--- Below this line is a copy of the message.\n\n" + _original(recipient)
    )
    return _mail("MAILER-DAEMON@relay.example", "failure notice", body)


def courier(recipient: str, said: Said) -> bytes:
    words = (
        "This is a delivery status notification from relay.example,\n"
        "running the Courier mail server.\n\nThe original "
        "message was received on Mon, 2 Nov 2026 09:00:00 +0000\n\n"
        "----------------------------------------------------------------------\n\n"
        f"                           UNDELIVERABLE MAIL\n\n"
        f"Your message to the following recipients cannot be delivered:\n\n"
        f"<{recipient}>:\n     mx.shop.example [192.0.2.7]:\n <<< {said.reply}\n"
    )
    sender = '"Courier mail server at relay.example" <@>'
    return _report(sender, "NOTICE: mail delivery status.", words, _fields(recipient, said), recipient)


def exchange_2000(recipient: str, said: Said) -> bytes:
    body = (
        "Your message did not reach some or all of the intended recipients.\n\n"
        "      Subject:  your basket waits\n      "
        f"Sent:     11/2/2026 9:00 AM\n\nThe following recipient(s) could not be reached:\n\n"
        f"      {recipient} on 11/2/2026 "
        f"9:00 AM\n            {said.text}\n            <mx.shop.example #{said.status} smtp;{said.reply}>\n"
    )
    return _mail("System Administrator <postmaster@relay.example>", "Undeliverable: your basket waits", body)


def exchange_2007(recipient: str, said: Said) -> bytes:
    words = (
        f"Delivery has failed to these recipients or distribution lists:\n\n{recipient}\n{said.text}\n\n"
        "________________________________\nSent by Microsoft Exchange Server 2007\n\nDiagnostic information for "
        f"administrators:\n\nGenerating server: mx.relay.example\n\n{recipient}\n#{said.reply} ##rfc822;{recipient}\n"
    )
    sender = "Microsoft Exchange <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@relay.example>"
    return _report(sender, "Undeliverable: your basket waits", words, _fields(recipient, said), recipient)


def domino(recipient: str, said: Said) -> bytes:
    body = (
        "Your message\n\n  Subject: your basket waits\n\nwas not delivered to:\n\n"
        f"  {recipient}\n\nbecause:\n\n  {said.text}\n"
    )
    return _mail("Postmaster@relay.example", "DELIVERY FAILURE: your basket waits", body)


def groupwise(recipient: str, said: Said) -> bytes:
    body = f"The message that you sent was undeliverable to the following:\n\t{recipient} ({said.text})\n"
    return _mail("Mailer-Daemon@relay.example", "Message status - undeliverable", body)


def yahoo(recipient: str, said: Said) -> bytes:
    body = (
        f"Sorry, we were unable to deliver your message to the following address.\n\n<{recipient}>:\n{said.reply}\n\n"
        "--- Below this line is a copy of the message.\n\n" + _original(recipient)
    )
    return _mail("MAILER-DAEMON@yahoo.example", "Failure Notice", body)


def gmail(recipient: str, said: Said) -> bytes:
    body = (
        f"Delivery to the following recipient failed permanently:\n\n     {recipient}\n\n"
        f"Technical details of permanent "
        "failure:\nGoogle tried to deliver your message, but it was rejected by the server for the recipient domain "
        f"shop.example by mx.shop.example. [192.0.2.7].\n\n"
        f"The error that the other server returned was:\n{said.reply}\n\n"
        "----- Original message -----\n\n" + _original(recipient)
    )
    sender = "Mail Delivery Subsystem <mailer-daemon@googlemail.example>"
    return _mail(sender, "Delivery Status Notification (Failure)", body, more=f"X-Failed-Recipients: {recipient}\n")


def gmx(recipient: str, said: Said) -> bytes:
    body = (
        "This message was created automatically by mail delivery software.\n\nA message that you sent could not be "
        "delivered to one or more of\nits recipients. This is a permanent error. The following address\nfailed:\n\n"
        f'"{recipient}":\nSMTP error from remote server after RCPT command:\nhost: mx.shop.example\n{said.reply}\n\n'
        "--- The header of the original message is following. ---\n\n" + _original(recipient)
    )
    return _mail(
        "GMX Mailer Daemon <mailer-daemon@gmx.example>", "Mail delivery failed: returning message to sender", body
    )


def mail_ru(recipient: str, said: Said) -> bytes:
    body = (
        "Это письмо создано автоматически сервером Mail.Ru, отвечать на него не нужно.\n\n"
        "К сожалению, Ваше письмо не "
        f"может быть доставлено одному или нескольким получателям:\n\n**********************\n\n{recipient}\n"
        f"    SMTP error from remote mail server after RCPT TO:<{recipient}>:\n    {said.reply}\n\n"
        f"**********************\n"
    )
    return _mail("mailer-daemon@corp.mail.example", "Mail failure.", body, more=f"X-Failed-Recipients: {recipient}\n")


def orange(recipient: str, said: Said) -> bytes:
    words = (
        "Bonjour,\n\nVotre message n'a pas pu être remis à un ou plusieurs destinataires.\n\n"
        f"<{recipient}>: host smtp-in.orange.example[192.0.2.7] said: {said.reply} (in reply to RCPT TO command)\n"
    )
    return _report("MAILER-DAEMON@orange.example", "Message non distribué", words, _fields(recipient, said), recipient)


def docomo(recipient: str, said: Said) -> bytes:
    words = (
        "Your message could not be delivered to the following recipient.\n\n"
        f">>> RCPT TO:<{recipient}>\n<<< {said.reply}\n"
    )
    sender = "mailer-daemon@docomo.example"
    return _report(sender, "Mail Delivery Failure", words, _fields(recipient, said), recipient)


def aol(recipient: str, said: Said) -> bytes:
    body = (
        "The original message was received at Mon, 2 Nov 2026 09:00:00 -0500 (EST)\n"
        "from mx.harbour.example [192.0.2.1]\n\n"
        f"   ----- The following addresses had permanent fatal errors -----\n<{recipient}>\n\n"
        f"   ----- Transcript of session follows -----\n<<< {said.reply}\n"
    )
    return _mail("Mail Delivery Subsystem <MAILER-DAEMON@aol.example>", "Returned mail: delivery failed", body)


def imail(recipient: str, said: Said) -> bytes:
    body = f"{said.text}: {recipient}\n\nOriginal message follows.\n\n" + _original(recipient)
    return _mail('"Postmaster" <postmaster@relay.example>', "Undeliverable Mail", body, more="X-Mailer: <SMTP32 v8>\n")


def mimecast(recipient: str, said: Said) -> bytes:
    body = (
        "This is a delivery failure notification message indicating that\nan email addressed to email address :\n"
        f"-- {recipient}\n\ncould not be delivered. The problem appears to be :\n-- {said.text}\n\n"
        f"Additional information "
        f"follows :\n-- {said.status} {said.text}\n\n"
        f"This condition occurred after 1 attempt(s) to deliver over\na period "
        "of 0 hour(s).\n"
    )
    return _mail('"Mail Delivery System" <mailer-daemon@mimecast.example>', "[Postmaster] Email Delivery Failure", body)


def barracuda(recipient: str, said: Said) -> bytes:
    words = (
        "**** The following is a delivery status notification of the Barracuda gateway ****\n\nYour message to:\n"
        f"<{recipient}>\nwas not delivered. The reason was:\n{said.reply}\n"
    )
    return _report(
        "MAILER-DAEMON@gateway.example", "**Message you sent blocked?**", words, _fields(recipient, said), recipient
    )


def opensmtpd(recipient: str, said: Said) -> bytes:
    words = (
        "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n"
        "    An error has occurred while "
        "attempting to deliver a message for\n    the following list of recipients:\n\n"
        f"{recipient}: {said.reply}\n\n    Below is a copy of the original message:\n"
    )
    sender = "Mailer Daemon <MAILER-DAEMON@relay.example>"
    return _report(sender, "Delivery status notification: error", words, _fields(recipient, said), recipient)


def james(recipient: str, said: Said) -> bytes:
    body = (
        "Hi. This is the James mail server at relay.example.\n"
        "I'm afraid I wasn't able to deliver your message to the "
        "following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.  "
        "Below\nI include the "
        f"list of recipients and the reason why I was unable to deliver\nyour message.\n\n"
        f"Failed recipient(s):\n{recipient}\n\n"
        f"Error message:\n{said.reply}\n"
    )
    return _mail("postmaster@relay.example", "[BOUNCE]", body)


def mdaemon(recipient: str, said: Said) -> bytes:
    body = (
        "The attached message had PERMANENT fatal delivery errors.\n\nFailed address: "
        f"{recipient}\n\n--- Session Transcript ---\n Mon 2026-11-02 09:00:00: --> RCPT To:<{recipient}>\n"
        f" Mon 2026-11-02 09:00:01: <-- {said.reply}\n--- End Transcript ---\n"
    )
    return _mail('"MDaemon at relay.example" <MDaemon@relay.example>', "Permanent Delivery Failure", body)


def hmailserver(recipient: str, said: Said) -> bytes:
    body = (
        "Your message did not reach some or all of the intended recipients.\n\n"
        "   Sent: Mon, 2 Nov 2026\n   Subject: your "
        f"basket waits\n\nThe following recipient(s) could not be reached:\n\n{recipient}\n"
        f"   Error Type: SMTP\n   Remote "
        f"server (192.0.2.7) issued an error.\n   hMailServer sent: RCPT TO:<{recipient}>\n   Remote server replied: "
        f"{said.reply}\n\nhMailServer\n"
    )
    return _mail("mailer-daemon@relay.example", "Message undeliverable: your basket waits", body)


def ironport(recipient: str, said: Said) -> bytes:
    words = f"The following message to <{recipient}> was undeliverable.\nThe reason for the problem:\n{said.reply}\n"
    sender = '"Mail Delivery System" <MAILER-DAEMON@gateway.example>'
    return _report(sender, "Delivery Status Notification (Failure)", words, _fields(recipient, said), recipient)


def ses(recipient: str, said: Said) -> bytes:
    words = f"An error occurred while trying to deliver the mail to the following recipients:\n{recipient}\n"
    return _report(
        "MAILER-DAEMON@amazonses.example",
        "Delivery Status Notification (Failure)",
        words,
        _fields(recipient, said),
        recipient,
    )


def bare_report(recipient: str, said: Said) -> bytes:
    fields = (
        f"Reporting-MTA: dns; x\n\nOriginal-Recipient: rfc822;{recipient}\nFinal-Recipient: rfc822;{recipient}\n"
        f"Action: failed\nStatus: {said.status}\nDiagnostic-Code: smtp;\n {said.code}\n {said.text}\n"
    )
    return _report("postmaster@relay.example", "Delivery Status", "", fields, recipient)


def html_in_base64(recipient: str, said: Said) -> bytes:
    page = (
        f"<html><head><title>Undeliverable</title><style>p {{ color: red }}</style></head><body><p>Your message to "
        f"<b>{recipient}</b> couldn't be delivered.</p><p>{said.reply.replace('<', '&lt;')}</p></body></html>"
    )
    subject = b64encode(b"Undeliverable: hello").decode()
    head = f"From: postmaster@relay.example\nTo: {US}\nSubject: =?utf-8?B?{subject}?=\n"
    return (
        f"{head}Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
        f"{b64encode(page.encode()).decode()}\n"
    ).encode()


DIALECTS: tuple[Dialect, ...] = (
    postfix,
    exim,
    sendmail,
    old_sendmail,
    qmail,
    courier,
    exchange_2000,
    exchange_2007,
    domino,
    groupwise,
    yahoo,
    gmail,
    gmx,
    mail_ru,
    orange,
    docomo,
    aol,
    imail,
    mimecast,
    barracuda,
    opensmtpd,
    james,
    mdaemon,
    hmailserver,
    ironport,
    ses,
    bare_report,
    html_in_base64,
)
