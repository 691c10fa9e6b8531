"""Postfix as a receiver, from the system or from Debian's package; it passes all mail on to another port."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drivers.debian_programs import debian_program
from drivers.free_ports import free_port
from drivers.running_senders import wait_until

QUEUES = "active bounce corrupt defer deferred flush hold incoming private maildrop public pid saved trace"
MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
daemon_directory = {root}/usr/lib/postfix/sbin
command_directory = {root}/usr/sbin
shlib_directory = {root}/usr/lib/postfix
mail_owner = mail
default_privs = nobody
setgid_group = daemon
import_environment = LD_LIBRARY_PATH={libraries} MAIL_CONFIG
export_environment = LD_LIBRARY_PATH={libraries}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
smtp_connection_cache_on_demand = no
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
relay_domains = example.net
transport_maps = inline:{{{{example.net=smtp:[127.0.0.1]:{passes_on_to}{returns}}}}}
smtpd_recipient_restrictions =
  check_recipient_access inline:{{{{bad@example.net=550 5.1.1 no such user}}}}, permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
"""
SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
smtp unix - - n - - smtp
error unix - - n - - error
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix_receiver(
    directory: Path, certificate: Path, passes_on_to: int, returns_to: tuple[str, int] | None = None
) -> Iterator[int]:
    """A running Postfix that knows no bad@example.net; its port. Skips where it cannot run.

    With `returns_to`, it sends the bounces of mails from that domain to that port.
    """
    if os.geteuid() != 0:
        pytest.skip("postfix runs as root only")
    root = debian_program("smtp-sink", "postfix", ("libdb5.3", "libicu72", "libnsl2")).file.parents[2]
    port = free_port()
    libraries = f"{root}/usr/lib/postfix:{root}/usr/lib/{os.uname().machine}-linux-gnu"
    for name in ("etc", "data", *(f"spool/{queue}" for queue in QUEUES.split())):
        (directory / name).mkdir(parents=True)
    values = {"directory": directory, "root": "" if root == Path("/") else root, "libraries": libraries, "port": port}
    returns = "" if returns_to is None else f"}}, {{{returns_to[0]}=smtp:[127.0.0.1]:{returns_to[1]}"
    main = MAIN.format(**values, passes_on_to=passes_on_to, returns=returns, certificate=certificate)
    (directory / "etc/main.cf").write_text(main)
    (directory / "etc/master.cf").write_text(SERVICES.format(**values))
    for place in [directory / "data", *(directory / "spool").iterdir()]:
        shutil.chown(place, "root" if place.name == "pid" else "mail", "daemon")
    for parent in directory.parents:  # pytest's own folders are for root only, and Postfix's processes are not root
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):  # noqa: S108  # where pytest keeps them
            parent.chmod(parent.stat().st_mode | 0o011)
    master = [f"{root}/usr/lib/postfix/sbin/master", "-c", str(directory / "etc"), "-d"]
    environment = os.environ | {"LD_LIBRARY_PATH": libraries}
    with (directory / "master.log").open("ab") as log:  # it signals its process group when it ends
        process = subprocess.Popen(master, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        log_file = directory / "mail.log"
        wait_until(lambda: log_file.exists() and "daemon started" in log_file.read_text(), "postfix started", 20)
        yield port
    finally:
        process.terminate()
        process.wait(10)
