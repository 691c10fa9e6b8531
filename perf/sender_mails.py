"""What the benchmark of delivery sends: a cart mail with five items in a loop, of about 10 or 50 KB."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from schemas.codec import encode
from schemas.commands import SendCommand
from schemas.profiles import Consent, Profile
from schemas.rules import Text, text_hash, text_key

FROM_DOMAIN = "harbour.example"
USERS = 500
_LINE = (
    '<p style="margin:0 0 16px;font-size:16px;line-height:24px;color:#222">Our harbour shop has been selling records '
    "since 1974, and we still listen to each of them before it goes out.</p>\n"
)
_TEMPLATE = """---
subject: "{{ user.name | default: 'Hello' }}, your cart is waiting"
preheader: "{{ items.size }} records are still here"
from: "Harbour <hello@harbour.example>"
---
<html><body style="margin:0"><p>Hello {{ user.name | default: 'you' }},</p>
<table>{% for item in items %}<tr><td style="padding:8px 0"><a href="https://harbour.example/p/{{ item.id }}">\
{{ item.title }}</a></td><td align="right">{{ item.price }}</td></tr>
{% endfor %}</table>
<p>Total {{ total }}</p>
FILLING<p><a href="https://harbour.example/cart/{{ user.id }}">To your cart</a></p></body></html>
--- text ---
Hello {{ user.name | default: 'you' }},

{% for item in items %}- {{ item.title }}, {{ item.price }}
{% endfor %}
Total {{ total }}: https://harbour.example/cart/{{ user.id }}
"""
_TITLES = ("Kind of Blue", "Blue Train", "Giant Steps & more", "Étude", "Maiden Voyage")
ITEMS = [{"id": f"p{number}", "title": title, "price": f"${number + 9}.50"} for number, title in enumerate(_TITLES)]
DATA = {"items": ITEMS, "total": "$57.50"}


def template(size_kb: int) -> str:
    """A template whose mails have about this size, with headers and signature."""
    return _TEMPLATE.replace("FILLING", _LINE * max(1, (size_kb * 1000 - 2700) // 193))


def template_record(size_kb: int) -> tuple[bytes, bytes]:
    """The template as the topic `rules` carries it."""
    text = template(size_kb)
    return text_key(text_hash(text)).encode(), encode(Text(kind="template", path="templates/cart.liquid", body=text))


def user_id(number: int) -> str:
    """The id of a user."""
    return f"user-{number % USERS}"


def address(number: int) -> str:
    """The address of a user."""
    return f"u{number % USERS}@example.net"


def profiles() -> Iterator[tuple[bytes, bytes]]:
    """Users who consented to marketing."""
    consent = {"marketing": Consent(granted=True, time=datetime.now(UTC))}
    for number in range(USERS):
        profile = Profile(
            user_id=user_id(number), address=address(number), attributes={"name": f"Zoe {number}"}, consent=consent
        )
        yield profile.user_id.encode(), encode(profile)


def command(number: int, size_kb: int) -> SendCommand:
    """A new command to a user."""
    now = datetime.now(UTC)
    return SendCommand(
        id=uuid.uuid4().hex,
        trigger="cart",
        rule_hash="bench",
        occurrence=str(number),
        step="send",
        user_id=user_id(number),
        template="cart",
        template_hash=text_hash(template(size_kb)),
        purpose="marketing",
        data=DATA,
        decided_at=now,
        expires_at=now + timedelta(days=1),
    )
