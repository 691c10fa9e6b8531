"""The settings of an instance's parts."""

from pathlib import Path

import pytest
from drivers.command_line import ebbtide

from cli.environment import Environment
from schemas.errors import UserError
from senders.settings import SenderSettings
from streams.settings import StreamSettings
from web.settings import WebSettings


def test_variables_win_over_the_main_instance_and_change_no_process_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBBTIDE_KAFKA", "kafka.example:9092")
    monkeypatch.setenv("EBBTIDE_COMMIT_INTERVAL_S", "0.5")
    monkeypatch.delenv("EBBTIDE_DATA_DIR", raising=False)
    settings = Environment.of(root=tmp_path).settings(StreamSettings)
    assert (settings.kafka, settings.commit_interval_s) == ("kafka.example:9092", 0.5)
    assert settings.data_dir == tmp_path / "faust"


def test_the_demo_has_servers_of_its_own_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBBTIDE_PORT_BASE", "31000")
    monkeypatch.setenv("EBBTIDE_KAFKA", "kafka.example:9092")
    demo = Environment.of("demo", tmp_path)
    assert demo.settings(SenderSettings).kafka == demo.settings(StreamSettings).kafka == "127.0.0.1:31100"


def test_only_delivery_makes_the_key_of_suppressions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBBTIDE_SUPPRESSION_KEY", raising=False)
    environment = Environment.of(root=tmp_path)
    environment.settings(StreamSettings)
    assert not list(tmp_path.iterdir())
    key = environment.settings(SenderSettings).suppression_key.get_secret_value()
    assert (tmp_path / "suppression.key").read_text() == key == environment.variables()["EBBTIDE_SUPPRESSION_KEY"]


def test_links_of_a_local_instance_lead_to_this_machine_and_those_of_real_mail_only_where_a_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Environment.of(root=tmp_path)
    assert environment.settings(SenderSettings).public_url == f"http://127.0.0.1:{environment.ports.http}"
    assert environment.settings(SenderSettings).link_keys == environment.settings(WebSettings).link_keys
    monkeypatch.setenv("EBBTIDE_ALLOW_REAL_MAIL", "true")
    assert environment.settings(SenderSettings).public_url is None
    monkeypatch.setenv("EBBTIDE_PUBLIC_URL", "https://mail.shop.example")
    monkeypatch.setenv("EBBTIDE_LINK_KEYS", '["0123456789abcdef"]')
    assert environment.settings(WebSettings).public_url == "https://mail.shop.example"


@pytest.mark.parametrize("setting", ["EBBTIDE_DATABASE_URL", "EBBTIDE_LEDGER_URL", "EBBTIDE_KAFKA"])
def test_nobody_is_erased_on_named_servers_under_a_key_that_only_this_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.delenv("EBBTIDE_ERASURE_KEY", raising=False)
    environment, demo = Environment.of(root=tmp_path), Environment.of("demo", tmp_path)
    assert environment.shared_erasure_key == environment.erasure_key
    monkeypatch.setenv(setting, "postgresql://db.example/ebbtide")
    with pytest.raises(UserError, match=f"EBBTIDE_ERASURE_KEY: not set, but {setting} names servers"):
        _ = environment.shared_erasure_key
    assert demo.shared_erasure_key == demo.erasure_key
    monkeypatch.setenv("EBBTIDE_ERASURE_KEY", "the key of all processes")
    assert environment.shared_erasure_key == "the key of all processes"


def test_a_command_that_erases_says_that_the_key_is_not_set() -> None:
    done = ebbtide("privacy", "readmit", "ann", EBBTIDE_DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert done.returncode == 2
    assert done.stderr.startswith("ebbtide: setting EBBTIDE_ERASURE_KEY: not set, but EBBTIDE_DATABASE_URL names")


@pytest.mark.parametrize("setting", ["EBBTIDE_DATABASE_URL", "EBBTIDE_LEDGER_URL"])
def test_a_database_that_is_no_url_is_refused_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(setting, "ebbtide:s3cret@db/ebbtide")
    with pytest.raises(UserError, match=f"setting {setting}: not a URL such as") as refused:
        _ = Environment.of(root=tmp_path).ledger_url
    assert "s3cret" not in refused.value.line
    assert refused.value.__suppress_context__  # the context is psycopg's message, which repeats the URL


def test_a_command_with_a_database_that_is_no_url_prints_one_line_without_its_password() -> None:
    done = ebbtide("senders", "reclassify", EBBTIDE_LEDGER_URL="ebbtide:s3cret@db/ebbtide")
    assert done.returncode == 2
    assert done.stderr.startswith("ebbtide: setting EBBTIDE_LEDGER_URL: not a URL such as ")
    assert "s3cret" not in done.stderr + done.stdout
