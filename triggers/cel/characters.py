"""Characters that look like another character or are invisible: their names in messages, and what to type instead."""

import unicodedata

_CONTROLS = {"\0": "null", "\t": "tab", "\v": "vertical tab", "\f": "form feed", "\x1b": "escape", "\x7f": "delete"}
_QUOTES = dict.fromkeys("“”„‟«»″", '"') | dict.fromkeys("‘’‚‛‹›′", "'")
_FULL_WIDTH = range(0xFF01, 0xFF5F)
_FULL_WIDTH_OFFSET = 0xFEE0
_MINUS = "\u2212"


def named(char: str) -> str:
    """The code point and the Unicode name, as in `U+00A0 (no-break space)`."""
    name = _CONTROLS.get(char) or unicodedata.name(char, "").lower() or "a control character"
    return f"U+{ord(char):04X} ({'byte order mark' if char == chr(0xFEFF) else name})"


def meant(char: str) -> str | None:
    """What a look-alike stands for: the plain character, nothing for an invisible one; None for any other character."""
    if char.isascii():
        return None
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    if category == "Cf":
        return ""
    if category == "Pd" or char == _MINUS:
        return "-"
    if ord(char) in _FULL_WIDTH:
        return chr(ord(char) - _FULL_WIDTH_OFFSET)
    return _QUOTES.get(char)


def look_alike(text: str) -> int | None:
    """The index of the first look-alike in a text, or None."""
    if text.isascii():
        return None
    return next((index for index, char in enumerate(text) if meant(char) is not None), None)


def invisible(char: str) -> bool:
    """Whether a character is invisible and not a plain space."""
    return meant(char) in (" ", "")


def retype(char: str) -> str:
    """What to do about a look-alike."""
    plain = meant(char)
    if plain is None:
        return "delete it"
    if not plain:
        return "delete it: it shows nothing"
    if plain == " ":
        return "write a plain space"
    return f"write straight quotes: {plain}" if plain in "'\"" else f"write {plain}"


def plainly(text: str) -> str:
    """The text with every look-alike replaced by what it stands for."""
    return "".join(char if (plain := meant(char)) is None else plain for char in text)
