"""Which running occurrences a plan touches, and how, from records of the changelog of states."""

import pytest
from drivers.user_states import state_record

from cli.manifests.changes import ManifestItem, RuleChange
from cli.manifests.edits import KeyEdit
from cli.manifests.running import Running, RunningOccurrences, count_running, touched, touching
from schemas.rules import SetFile


def test_the_last_record_of_a_user_counts() -> None:
    records = [
        state_record("u1", "a", "a", "b"),
        state_record("u2", "a"),
        state_record("u3", "a"),
        state_record("u2"),
        (b"u3", None),
    ]
    assert count_running(records, ["a", "b", "c"]) == {
        "a": RunningOccurrences(2, 1, ("u1",)),
        "b": RunningOccurrences(1, 1, ("u1",)),
    }
    assert count_running(records, []) == {}


def test_a_name_that_only_occurs_in_a_state_is_not_running() -> None:
    assert count_running([state_record("a", "abc")], ["a", "b"]) == {}


def test_a_state_of_another_format_is_left_out() -> None:
    key, state = state_record("u1", "a")
    assert count_running([(key, bytes([state[0], 99]) + state[2:])], ["a"]) == {}


SOME: Running = {"a": RunningOccurrences(12, 10, ("u1",))}


def words(change: RuleChange, on_edit: str = "pin") -> list[str]:
    item = _item(on_edit)
    assert touching([change]) == {"a"}
    return [str(each) for each in touched([change], {("trigger", "a"): item}, SOME)]


def _item(on_edit: str) -> ManifestItem:
    file = SetFile.model_construct(set="default", kind="rule", path="r.yaml", text="h", since=1)
    return ManifestItem("trigger", "a", file, 1, "", "", {"on_edit": on_edit})


def changed(*keys: str) -> RuleChange:
    return RuleChange("changed", "trigger", "a", "default", edits=tuple(KeyEdit(key, "x", "y") for key in keys))


def test_occurrences_of_a_removed_trigger_end() -> None:
    removed = RuleChange("removed", "trigger", "a", "default", ends=True)
    assert words(removed) == ["12 running occurrences of 10 users end with `withdrawn`"]


def test_pinned_occurrences_keep_their_steps_and_follow_the_rest() -> None:
    assert words(changed("mode", "steps[2].wait", "steps[3]", "cap")) == [
        "12 running occurrences of 10 users: keep `steps` as they began; take `mode`, `cap` at once"
    ]


def test_occurrences_that_follow_keep_nothing() -> None:
    assert words(changed("steps[2]"), "follow") == ["12 running occurrences of 10 users: take `steps` at once"]


@pytest.mark.parametrize("key", ["cases", "owner", "description"])
def test_what_changes_nothing_that_runs_touches_nobody(key: str) -> None:
    assert words(changed(key)) == []
