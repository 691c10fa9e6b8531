"""The settings of an instance's parts."""

from pathlib import Path

import pytest

from cli.environment import Environment
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
