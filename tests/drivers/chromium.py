"""Debian's Chromium, driven by selenium: the system's, or else unpacked into `.local` without root.

Of what Chromium needs from other packages, only those are unpacked that the system does not have.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import PROJECT_ROOT
from infra.local.problems import SetupProblem
from infra.local.timescale.apt import PrivateApt

PLACE = PROJECT_ROOT / ".local" / "chromium"
PACKAGES = ("chromium", "chromium-common", "chromium-driver", "fonts-dejavu-core", "fontconfig-config")
VERSION = "2"
"""Of what is unpacked, and how."""
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars")
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{place}/cache</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """Where the two programs are, and the variables that they need."""

    browser: Path
    driver: Path
    environment: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def started(self) -> Iterator[Chrome]:
        """A browser, until the block ends."""
        options = ChromeOptions()
        options.binary_location = str(self.browser)
        for argument in ARGUMENTS:
            options.add_argument(argument)
        service = Service(str(self.driver), env={**os.environ, **self.environment})
        browser = Chrome(options=options, service=service)
        try:
            yield browser
        finally:
            browser.quit()


def chromium() -> Chromium:
    """The browser; skips the test where it can neither be found nor fetched."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser and driver:
        return Chromium(Path(browser), Path(driver))
    try:
        with locked(PLACE.with_suffix(".lock")):
            if not is_installed(PLACE, VERSION):
                with installing(PLACE, VERSION) as new:
                    _unpack(new)
    except (SetupProblem, OSError) as problem:
        pytest.skip(f"Chromium is missing (apt-get install chromium chromium-driver), and cannot be fetched: {problem}")
    fonts = PLACE / "fonts.conf"
    fonts.write_text(_FONTS.format(fonts=PLACE / "usr/share/fonts", place=PLACE))
    environment = {"FONTCONFIG_FILE": str(fonts)}
    for libraries in (PLACE / "usr/lib").glob("*-linux-gnu"):  # no folder matches if the system has every library
        environment["LD_LIBRARY_PATH"] = f"{libraries}:{libraries / 'pulseaudio'}"
    return Chromium(PLACE / "usr/lib/chromium/chromium", PLACE / "usr/bin/chromedriver", environment)


def _unpack(new: Path) -> None:
    log = PLACE.with_suffix(".log")
    apt = PrivateApt(new / "apt", log)
    apt.update(platform.freedesktop_os_release()["VERSION_CODENAME"])
    needed = dict.fromkeys(name for package in PACKAGES for name in apt.closure(package))
    apt.download([name for name in needed if name in PACKAGES or not _is_on_system(name)], new / "debs")
    for deb in sorted((new / "debs").glob("*.deb")):
        run(["dpkg-deb", "-x", deb, new], log=log, failure=f"{deb.name} could not be unpacked", marks=("dpkg-deb:",))
    for done in ("apt", "debs"):
        shutil.rmtree(new / done)


def _is_on_system(package: str) -> bool:
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "installed"
