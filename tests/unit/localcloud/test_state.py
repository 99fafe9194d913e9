"""The state directory: made, guarded and emptied."""

import shutil

import pytest

from localcloud.errors import LocalCloudError
from localcloud.lock import exclusive
from localcloud.state import StateDirectory, read_json, write_json


def test_only_its_owner_can_read_it(tmp_path):
    state = StateDirectory(tmp_path / "state")
    state.create()
    state.create()
    assert state.root.stat().st_mode & 0o777 == 0o700
    assert state.exists()


def test_a_directory_of_somebody_else_is_neither_used_nor_emptied(tmp_path):
    (tmp_path / "letters").mkdir()
    state = StateDirectory(tmp_path)
    with pytest.raises(LocalCloudError, match="not the local cloud's"):
        state.create()
    assert not state.exists()


def test_too_little_room_is_said_before_anything_starts(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(LocalCloudError, match="5 MB are free"):
        StateDirectory(tmp_path / "state").create()


def test_reset_leaves_an_empty_state_directory(tmp_path):
    state = StateDirectory(tmp_path / "state")
    state.create()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (state.root / "link").symlink_to(outside)
    with exclusive(state.lock, command="reset"):
        state.remove()
    assert {entry.name for entry in state.root.iterdir()} == {"lock", ".santaclaude-local-cloud"}
    assert (outside / "kept").exists()


def test_a_file_cut_short_counts_as_none(tmp_path):
    file = tmp_path / "value.json"
    assert read_json(file) is None
    write_json(file, {"a": 1})
    assert read_json(file) == {"a": 1}
    file.write_text('{"a": ')
    assert read_json(file) is None


def test_a_second_command_is_told_who_holds_the_lock(tmp_path):
    lock = tmp_path / "lock"
    with (
        exclusive(lock, command="up"),
        pytest.raises(LocalCloudError, match=r"`up` \(process \d+\) is at work"),
        exclusive(lock, command="down"),
    ):
        pass
    with exclusive(lock, command="down"):
        pass
