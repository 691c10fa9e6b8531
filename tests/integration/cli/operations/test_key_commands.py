"""`ebbtide keys` on a real PostgreSQL: what it makes, ends, refuses and keeps of who did it."""

import json
from typing import Any

import psycopg
import pytest
from drivers.command_line import Done, ebbtide

from web.keys.secret import hash_of

pytestmark = pytest.mark.servers


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def keys(url: str, *arguments: str) -> Done:
    return ebbtide("keys", *arguments, EBBTIDE_DATABASE_URL=url)


def made(url: str, *arguments: str) -> dict[str, Any]:
    done = keys(url, "add", "--by", "ada", "--json", *(arguments or ("--class", "server", "--source", "backend")))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shown(url: str, key: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(keys(url, "show", key["id"], "--json").stdout)
    return found


def said(done: Done) -> str:
    """What a refusal says, without the frame and the line breaks of a terminal."""
    return " ".join(done.stderr.replace("│", " ").split())


def test_a_secret_is_printed_once_and_only_its_hash_is_kept(url: str) -> None:
    done = keys(
        url, "add", "--class", "browser", "--source", "web", "--origin", "https://Shop.example/", "--rate", "6/m"
    )
    secret = done.stdout.split("secret  ")[1].split()[0]
    listed = keys(url, "list")

    assert secret.startswith("ebbrowser_")
    assert "browser  0.1/s" in listed.stdout
    assert secret not in listed.stdout
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT secret_hash, origins, write_keys::text FROM write_keys").fetchall()
    assert [(bytes(row[0]), row[1]) for row in rows] == [(hash_of(secret), ["https://shop.example"])]
    assert secret.removeprefix("ebbrowser_") not in rows[0][2]


def test_a_rotated_key_has_a_successor_and_an_end(url: str) -> None:
    old = made(url)
    done = keys(url, "rotate", old["id"], "--for", "2h", "--by", "bob", "--json")
    new = json.loads(done.stdout)

    assert (new["replaces"], new["source"], new["class"]) == (old["id"], "backend", "server")
    assert new["secret"] != old["secret"]
    now = shown(url, old)
    assert now["valid"]
    assert now["ends_at"] > new["created_at"]
    assert [(each["action"], each["by"]) for each in now["history"]] == [("add", "ada"), ("rotate", "bob")]


def test_a_revoked_key_has_ended_and_stays_in_the_list_of_all(url: str) -> None:
    key = made(url)
    assert keys(url, "revoke", key["id"], "--by", "bob").stdout == f"{key['id']} is revoked\n"

    other = made(url)
    revoked = json.loads(keys(url, "revoke", other["id"], "--json").stdout)
    assert (revoked["id"], revoked["valid"], revoked["ends_at"] > other["created_at"]) == (other["id"], False, True)

    assert keys(url, "list").stdout.startswith("no keys")
    assert [json.loads(line)["valid"] for line in keys(url, "list", "--all", "--json").stdout.splitlines()] == [
        False
    ] * 2
    assert "revoked by bob" in keys(url, "show", key["id"]).stdout
    again = keys(url, "revoke", key["id"])
    assert (again.returncode, "has ended at" in again.stderr) == (1, True)
    assert "`ebbtide keys add` makes another" in said(keys(url, "rotate", key["id"]))


def test_an_unknown_key_names_the_next_step(url: str) -> None:
    for command in ("show", "rotate", "revoke"):
        done = keys(url, command, "none")
        assert (done.returncode, "`ebbtide keys list --all`" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--class", "browser", "--source", "web"), "needs the origin of its pages"),
        (("--class", "server", "--source", "s", "--origin", "https://a.example"), "only a browser key has origins"),
        (("--class", "browser", "--source", "web", "--origin", "shop"), "is not the origin of a page"),
        (("--class", "server", "--source", " "), "a name of 1 to 256 characters"),
        (("--class", "server", "--source", "a\nb"), "a name of 1 to 256 characters"),
        (("--class", "server", "--source", "s", "--rate", "many"), "not a rate"),
        (("--class", "server", "--source", "s", "--rate", "5/s,max_burst=2"), "write 500/s"),
    ],
)
def test_wrong_options_are_refused_with_what_to_write(arguments: tuple[str, ...], message: str) -> None:
    done = ebbtide("keys", "add", *arguments)

    assert (done.returncode, message in said(done)) == (2, True)


def test_a_database_without_the_table_names_the_next_step(empty_database_url: str) -> None:
    done = keys(empty_database_url, "list")

    assert (done.returncode, "`ebbtide migrate`" in done.stderr) == (2, True)
