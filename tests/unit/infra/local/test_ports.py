"""Which ports a checkout uses, and the error if one of them is taken."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import holders
from infra.local.ports import Ports
from infra.local.problems import SetupProblem


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_ports_follow_one_another_from_the_base() -> None:
    ports = Ports.from_env({"EBBTIDE_PORT_BASE": "23000"})
    assert (ports.kafka, ports.controller, ports.postgres, ports.smtp, ports.web) == tuple(range(23000, 23005))


@pytest.mark.parametrize("environment", [{}, {"EBBTIDE_PORT_BASE": ""}, {"EBBTIDE_PORT_BASE": " 21000 "}])
def test_the_base_is_21000_unless_the_environment_says_otherwise(environment: dict[str, str]) -> None:
    assert Ports.from_env(environment) == Ports(21000)


@pytest.mark.parametrize("text", ["80", "32001", "-1", "21000.5", "two", "２１０００"])
def test_an_unusable_port_base_is_refused_with_a_usable_one(text: str) -> None:
    with pytest.raises(SetupProblem, match=r"EBBTIDE_PORT_BASE is .* from 1024 to 32000, such as 21000"):
        Ports.from_env({"EBBTIDE_PORT_BASE": text})


def test_the_tests_ports_stay_below_those_that_the_kernel_hands_out() -> None:
    assert Ports.from_env({"EBBTIDE_PORT_BASE": "32000"}).for_tests().senders_web + 40 < 32768


def test_an_unused_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert holders.is_free(port)
    assert not holders.answers(port)
    assert holders.holder(port) is None
    holders.require_free(port, "kafka")


def test_a_port_that_listens_on_all_addresses_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 -- it is what is tested
        port = listener.getsockname()[1]
        assert not holders.is_free(port)
        assert holders.holder(port) is not None


def test_a_descriptor_that_closes_during_the_look_up_does_not_hide_the_others(tmp_path: Path) -> None:
    table = tmp_path / "net" / "tcp"
    table.parent.mkdir()
    table.write_text("sl local_address ...\n0: 0100007F:5208 00000000:0000 0A 0:0 0:0 0 0 0 4711\n")
    descriptors = tmp_path / "1" / "fd"
    descriptors.mkdir(parents=True)
    (tmp_path / "1" / "comm").write_text("kafka\n")
    for number in range(20):
        (descriptors / str(number)).touch()  # no link: reading it fails as for a descriptor that was closed
    (descriptors / "20").symlink_to("socket:[4711]")
    for number in range(21, 40):
        (descriptors / str(number)).touch()
    assert holders.holder(0x5208, tmp_path) == "kafka (pid 1)"


def test_a_port_whose_last_connection_lingers_in_time_wait_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first keeps the TIME_WAIT
            assert client.recv(1) == b""
    assert holders.is_free(port)


def test_a_port_in_use_is_reported_in_one_line_with_its_holder_and_the_remedy(taken: int) -> None:
    with pytest.raises(SetupProblem) as problem:
        holders.require_free(taken, "kafka")
    assert re.fullmatch(
        rf"port {taken} for kafka is in use by \S.* \(pid {os.getpid()}\): "
        r"stop that, or move all ports with EBBTIDE_PORT_BASE=\d+",
        str(problem.value),
    )


@pytest.mark.parametrize(("port", "base"), [(21002, 22000), (21999, 22000), (31500, 11000), (32604, 11000)])
def test_the_remedy_is_a_base_that_is_allowed_and_elsewhere(port: int, base: int) -> None:
    assert holders.next_base(port) == base
    assert Ports.from_env({"EBBTIDE_PORT_BASE": str(base)}).base == base


def test_a_problem_is_always_printed_in_one_line() -> None:
    assert str(SetupProblem("two\nlines  and\tblanks")) == "two lines and blanks"
    assert SetupProblem("").exit_status == 2
