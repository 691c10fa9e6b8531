"""The settings of an instance's parts."""

from pathlib import Path

import pytest
from drivers.command_line import ebbtide

from cli.environment import Environment
from schemas.errors import UserError
from senders.settings import SenderSettings
from streams.settings import StreamSettings


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
