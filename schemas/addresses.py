"""Mail addresses: which ones plain SMTP can carry, and the one form in which they are kept.

The domain is kept in ASCII: what has other letters becomes A-labels by UTS 46 and IDNA 2008 (RFC 5890 to 5893), so that
envelope, header and suppression name one mailbox alike, however its owner typed it. The local part belongs to the
receiving server (RFC 5321, 2.4): its letters stay as they are, and other letters than ASCII need SMTPUTF8 (RFC 6531),
which delivery does not speak.
"""

import re
import unicodedata

import idna

LONGEST = 254
"""RFC 5321, 4.5.3.1.3, without the angle brackets."""
_LONGEST_LOCAL = 64
_LONGEST_DOMAIN = 253
_LONGEST_LABEL = 63
_PLAIN = re.compile(r"[^\s@<>,;:\"\\()\[\]]+@[^\s@<>,;:\"\\()\[\]]+")
_USUAL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}"
    r"@(?:(?![xX][nN]--)[A-Za-z0-9_-]{1,63}\.)*(?![xX][nN]--)[A-Za-z0-9_-]{1,63}"
)
"""Addresses that need no further question: each mail asks several times."""
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
_JOINERS = "\u200c\u200d"
_A_LABEL = "xn--"


def plain_address(text: str) -> str:
    """One plain mailbox, its domain in ASCII and without a closing point; raises ValueError with the reason.

    Whatever could end a line or name a second mailbox is refused, never cleaned; so are characters that nobody sees,
    which come along when an address is pasted.
    """
    if len(text) <= LONGEST and _USUAL.fullmatch(text):
        return text
    if unseen := _first_unseen(text):
        raise ValueError(f"{_named(unseen)} is not allowed in an address")
    if not _PLAIN.fullmatch(text):
        raise ValueError("not a plain mail address")
    local, _, domain = text.rpartition("@")
    if not local.isascii():
        raise ValueError("the part before the @ must be ASCII; anything else needs SMTPUTF8, which delivery lacks")
    address = f"{local}@{ascii_domain(domain)}"
    if len(local) > _LONGEST_LOCAL or len(address) > LONGEST:
        raise ValueError(f"more than {_LONGEST_LOCAL} characters before the @, or than {LONGEST} in all")
    return address


def address_key(address: str) -> str:
    """The same text for every spelling of one mailbox: upper and lower case, U-labels and A-labels.

    Local parts may tell upper from lower case by the standard; no server that matters does.
    """
    try:
        return plain_address(address).lower()
    except ValueError:  # kept before addresses were checked as they are now: then only itself is the same
        return address.lower()


def ascii_domain(domain: str) -> str:
    """The domain in A-labels; what is ASCII already stays as it is. Raises ValueError with the reason."""
    domain = domain if domain.isascii() else _encoded(domain)
    domain = domain.removesuffix(".")
    labels = domain.split(".")
    if not all(labels):
        raise ValueError("the domain has an empty part")
    if len(domain) > _LONGEST_DOMAIN or max(map(len, labels)) > _LONGEST_LABEL:
        raise ValueError(f"the domain or a part of it is too long ({_LONGEST_DOMAIN} and {_LONGEST_LABEL} characters)")
    for label in labels:
        if label[:4].lower() == _A_LABEL and not _is_punycode(label[4:].lower()):
            raise ValueError("a part of the domain begins with xn-- and is no A-label")
    return domain


def _encoded(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:  # idna.IDNAError is one; its message repeats the domain
        raise ValueError("the domain is not one that IDNA 2008 allows") from None


def _is_punycode(text: str) -> bool:
    """Whether an A-label's text can be read (RFC 3492) and has letters that can be seen, in their one form.

    IDNA 2008 is not applied: domains with letters that it does not allow, such as emoji, are registered and get mail.
    """
    try:
        letters = text.encode("ascii").decode("punycode")
        again = letters.encode("punycode").decode("ascii")
    except UnicodeError:
        return False
    one_form = letters == unicodedata.normalize("NFC", letters.lower())
    return again == text and one_form and not letters.isascii() and not _first_unseen(letters)


def _first_unseen(text: str) -> str | None:
    """The first letter that nobody sees, except a joiner between letters that are written differently without it."""
    return next((letter for at, letter in enumerate(text) if _is_unseen(letter) and not _joins(text, at)), None)


def _joins(text: str, at: int) -> bool:
    """Whether a joiner stands where IDNA allows one (RFC 5892, A.1 and A.2), as names in Persian and Sinhala have."""
    try:
        return text[at] in _JOINERS and idna.valid_contextj(text, at)
    except ValueError:  # beside a letter without a name
        return False


def _is_unseen(letter: str) -> bool:
    return not "!" <= letter <= "~" and unicodedata.category(letter) in _UNSEEN


def _named(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return f"the character U+{ord(letter):04X}" + (f" ({name})" if name else "")
