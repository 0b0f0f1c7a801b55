"""The state folder: one `up` at a time, private files, and nothing else touched."""

import os
import socket
from pathlib import Path

import pytest

from api.settings import SettingError
from controller.local.state import AlreadyRunning, Running, StateFolder, free_port, port_problem

RUNNING = Running(
    api="http://127.0.0.1:3001",
    ops={"api": "http://127.0.0.1:9101"},
    simulator=None,
    database_url="postgresql://u:canary@h/d",
    pid=7,
    version="1",
)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.make()
    return folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_second_one_learns_who_is_there(state: StateFolder) -> None:
    assert state.holder() is None
    with state.locked():
        assert state.holder() == os.getpid()
        with pytest.raises(AlreadyRunning, match=rf"already running .pid {os.getpid()}."):
            state.locked().__enter__()
    assert state.holder() is None


def test_the_key_is_made_once_and_private(state: StateFolder) -> None:
    key = state.api_key()
    assert len(key) > 30
    assert (state.api_key(), mode(state.key_file)) == (key, 0o600)


def test_what_runs_is_written_for_programs_and_read_back(state: StateFolder) -> None:
    assert state.read_running() is None
    state.write_running(RUNNING)
    assert state.read_running() == RUNNING
    assert mode(state.run_file) == 0o600
    assert '"databaseUrl"' in state.run_file.read_text()
    assert "canary" not in repr(RUNNING)
    state.forget_running()
    assert state.read_running() is None


def test_a_run_file_that_is_none_is_as_good_as_no_run_file(state: StateFolder) -> None:
    state.run_file.write_text('{"api": 1}')
    assert state.read_running() is None


def test_new_folders_can_be_passed_and_old_ones_stay_as_they_are(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o711)
    umask = os.umask(0o077)
    try:
        StateFolder(old / "new" / "state").make()
    finally:
        os.umask(umask)
    assert [mode(p) for p in (old, old / "new", old / "new" / "state")] == [0o711, 0o755, 0o755]


def test_a_folder_that_cannot_be_made_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"--state: .*cannot be made .*; choose another folder"):
        StateFolder(tmp_path / "file" / "state").make()


def test_a_taken_port_is_noticed_and_a_free_one_is_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port_problem("127.0.0.1", port) == f"port {port} is taken on 127.0.0.1"
    assert port_problem("127.0.0.1", free_port()) is None
    assert "cannot listen on 192.0.2.1" in str(port_problem("192.0.2.1", free_port()))
