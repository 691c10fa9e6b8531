"""Time zones: IANA's names and their rules, only from the pinned package `tzdata`.

The host's own files (/usr/share/zoneinfo, PYTHONTZPATH) are never read: two hosts with different ones would decide
differently. `ZoneInfo(name)` looks there first, so nothing else in the tree makes a zone.
"""

import difflib
import re
from functools import cache
from importlib import import_module, resources
from zoneinfo import ZoneInfo

VERSION: str = import_module("tzdata").IANA_VERSION
"""The release of the zone data, as IANA names it, such as 2026f."""
RELEASE = int(VERSION[:4]) * 100 + ord(VERSION[4]) - ord("a") + 1
"""The same as a number that rises with each release: 202606."""


def release_name(number: int) -> str:
    """A release's number as IANA's name of it; "" for 0, which is none."""
    return f"{number // 100}{chr(ord('a') + number % 100 - 1)}" if number else ""


_UNSET = "Factory"
"""In IANA's files, but not a zone: the placeholder of a machine whose zone is not set."""
_OFFSET = re.compile(r"(?:UTC|GMT|Etc/GMT|Etc/UTC)?\s*([+-])(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)
_COPIES = re.compile(r"(?:posix|right)/", re.IGNORECASE)
_LIKENESS = 0.7


@cache
def zone_names() -> frozenset[str]:
    """Every name that is a zone, exactly as IANA writes it, older names such as `US/Pacific` too."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(listed.split()) - {_UNSET}


def zone_named(name: str) -> ZoneInfo | None:
    """The zone of an IANA name, the same object each time; None for any other name."""
    return _load(name) if name in zone_names() else None


@cache
def _load(name: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


UTC_ZONE = _load("UTC")
"""The zone UTC."""


def zone_hint(name: str, otherwise: str = "") -> str:
    """What to write instead of a name that is not a zone: the nearest zone, if there is one."""
    near = nearest_zone(name)
    if not near:
        return f"an IANA name, such as Europe/Berlin{otherwise and ', '}{otherwise}"
    if near.startswith("Etc/GMT"):
        return f"did you mean `{near}`? IANA turns the sign round; a place, such as Europe/Berlin, has summer time too"
    return f"did you mean `{near}`?"


def nearest_zone(name: str) -> str:
    """The zone that a wrong name most likely means; "" if none is similar.

    Knows another case (`europe/berlin`), a city alone (`Berlin`), the usual abbreviations (`PST`), offsets (`GMT+2`),
    the copies `posix/…` and `right/…` of some hosts, and small slips.
    """
    wanted = _COPIES.sub("", name.strip())
    by_fold = _by_fold()
    plain = _fold(wanted)
    if plain in by_fold:
        return by_fold[plain]
    if (offset := _OFFSET.fullmatch(wanted)) is not None:
        return _of_offset(offset)
    if plain in _by_custom():
        return _by_custom()[plain]
    if plain in _by_city():
        return _by_city()[plain]
    return _alike(plain)


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip()).replace("_/", "/").replace("/_", "/").casefold()


@cache
def _by_fold() -> dict[str, str]:
    return {_fold(name): name for name in sorted(zone_names())}


@cache
def _by_city() -> dict[str, str]:
    """By the last part of the name. If two zones share it, the one that is listed as its own place wins."""
    found: dict[str, str] = {}
    for name in sorted(zone_names(), key=lambda each: (each not in _places(), each)):
        if "/" in name and not name.startswith("Etc/"):
            found.setdefault(_fold(name.rpartition("/")[2]), name)
    return found


@cache
def _places() -> frozenset[str]:
    """The zones that IANA lists by country, without older names."""
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    return frozenset(line.split("\t")[2] for line in table.splitlines() if line and not line.startswith("#"))


def _of_offset(offset: re.Match[str]) -> str:
    """The zone of a fixed offset. IANA's names have the sign of POSIX: `Etc/GMT-2` is two hours ahead of UTC."""
    sign, hours, minutes = offset[1], int(offset[2]), int(offset[3] or 0)
    if minutes:
        return _BROKEN.get(f"{sign}{hours:02d}:{minutes:02d}", "")
    name = f"Etc/GMT{'-' if sign == '+' else '+'}{hours}" if hours else "UTC"
    return name if name in zone_names() else ""


def _alike(plain: str) -> str:
    by_fold, by_city = _by_fold(), _by_city()
    for known in (by_fold, by_city):
        close = difflib.get_close_matches(plain, sorted(known), n=1, cutoff=_LIKENESS)
        if close:
            return known[close[0]]
    return ""


@cache
def _by_custom() -> dict[str, str]:
    return {_fold(word): zone for zone, words in _CUSTOM.items() for word in words.split(", ")}


_CUSTOM = {
    "America/Los_Angeles": "PST, PDT, PT, Pacific Standard Time, Pacific Time",
    "America/Denver": "MDT, MT, Mountain Standard Time, Mountain Time",
    "America/Chicago": "CST, CDT, CT, Central Standard Time, Central Time",
    "America/New_York": "EDT, ET, Eastern Standard Time, Eastern Time",
    "America/Anchorage": "AKST, AKDT",
    "America/Halifax": "AST, ADT",
    "America/St_Johns": "NST, NDT",
    "America/Sao_Paulo": "BRT, BRST",
    "America/Argentina/Buenos_Aires": "ART",
    "Europe/Berlin": "CEST, MEZ, MESZ, W. Europe Standard Time, Central European Time",
    "Europe/Paris": "Romance Standard Time",
    "Europe/London": "BST, GMT Standard Time",
    "Europe/Lisbon": "WEST",
    "Europe/Athens": "EEST",
    "Europe/Moscow": "MSK",
    "Africa/Johannesburg": "SAST",
    "Africa/Nairobi": "EAT",
    "Africa/Lagos": "WAT",
    "Africa/Maputo": "CAT",
    "Asia/Kolkata": "IST, India Standard Time",
    "Asia/Karachi": "PKT",
    "Asia/Dubai": "GST",
    "Asia/Jakarta": "WIB",
    "Asia/Shanghai": "China Standard Time, Beijing",
    "Asia/Hong_Kong": "HKT",
    "Asia/Singapore": "SGT",
    "Asia/Tokyo": "JST, Tokyo Standard Time",
    "Asia/Seoul": "KST",
    "Australia/Perth": "AWST",
    "Australia/Darwin": "ACST",
    "Australia/Adelaide": "ACDT",
    "Australia/Sydney": "AEST, AEDT",
    "Pacific/Auckland": "NZST, NZDT",
    "Pacific/Honolulu": "HDT",
    "UTC": "Z, Coordinated Universal Time",
}
"""Abbreviations of a zone's time, and the names that Windows gives zones, which people write instead."""

_BROKEN = {
    "+03:30": "Asia/Tehran",
    "+04:30": "Asia/Kabul",
    "+05:30": "Asia/Kolkata",
    "+05:45": "Asia/Kathmandu",
    "+06:30": "Asia/Yangon",
    "+08:45": "Australia/Eucla",
    "+09:30": "Australia/Darwin",
    "+10:30": "Australia/Lord_Howe",
    "+12:45": "Pacific/Chatham",
    "-02:30": "America/St_Johns",
    "-03:30": "America/St_Johns",
    "-09:30": "Pacific/Marquesas",
}
"""The offsets with minutes that zones have."""
