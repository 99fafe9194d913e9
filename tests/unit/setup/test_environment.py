"""The set-up names what the machine lacks, and how to mend it."""

import ast
import fcntl
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import environment
import pytest


def interpreters(monkeypatch, found: dict[str, tuple[int, int] | None]):
    monkeypatch.setattr(environment, "_candidates", lambda: iter(found))
    monkeypatch.setattr(environment, "_version", lambda python: found[str(python)])


def test_the_first_that_is_new_enough_and_whole_is_taken(monkeypatch):
    interpreters(monkeypatch, {"/shim": None, "/old": (3, 10), "/good": (3, 11), "/new": (3, 13)})
    assert environment._interpreter() == "/good"


def test_a_missing_venv_module_is_named_with_its_remedy(monkeypatch):
    interpreters(monkeypatch, {"/broken": None})
    with pytest.raises(environment.SetupError, match="apt install python3-venv"):
        environment._interpreter()


def test_a_python_that_is_too_old_is_named(monkeypatch):
    interpreters(monkeypatch, {"/old": (3, 9)})
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=9))
    with pytest.raises(environment.SetupError, match=r"3\.11 or later is needed, this is 3\.9"):
        environment._interpreter()


def test_lambdas_own_version_is_looked_for_first(monkeypatch, tmp_path):
    """Among pyenv's too, whose shims do not run when another version is chosen."""
    for version in ("3.11.7", "3.13.0"):
        binary = tmp_path / "versions" / version / "bin" / f"python{version[:4]}"
        binary.parent.mkdir(parents=True)
        binary.touch()
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/usr/bin/{name}")
    candidates = list(environment._candidates())
    assert candidates[:2] == ["/usr/bin/python3.13", str(binary)]


def test_the_environment_is_not_made_from_itself(monkeypatch, tmp_path):
    """It may be half-made, and it is removed before it is made again."""
    for folder in ("venv/bin", "system"):
        python = tmp_path / folder / "python3.13"
        python.parent.mkdir(parents=True)
        python.touch(mode=0o755)
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    monkeypatch.setattr(environment, "BIN", tmp_path / "venv/bin")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", f"{tmp_path}/venv/bin:{tmp_path}/system")
    assert list(environment._candidates()) == [f"{tmp_path}/system/python3.13"]


def test_a_second_set_up_waits_for_the_first(monkeypatch, capsys):
    order = []
    monkeypatch.setattr(environment, "prepare", lambda: order.append("second"))
    with environment.LOCKS[0].open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: order.append(environment.main()))
        monkeypatch.setattr(environment.signal, "signal", lambda *_: None)
        second.start()
        second.join(0.2)
        order.append("first")
    second.join(10)
    assert order == ["first", "second", 0]
    assert "waiting" in capsys.readouterr().out


def test_a_half_made_environment_is_made_again(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    assert not environment._whole(tmp_path / "bin" / "python")
    assert not environment._whole(tmp_path / "bin" / "no-such-python")


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(total=1, used=1, free=5 * 2**20)
    )
    with pytest.raises(environment.SetupError, match="5 MB free"):
        environment._require_space()


def test_a_failed_step_is_one_line(monkeypatch, capsys):
    def fail() -> None:
        environment._run([sys.executable, "-c", "raise SystemExit('no index')"], "it failed")

    monkeypatch.setattr(environment, "prepare", fail)
    assert environment.main() == 1
    assert capsys.readouterr().err == "error: it failed: no index\n"


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "prepare", interrupt)
    assert environment.main() == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_is_done_when_the_locks_are_as_they_were(monkeypatch, tmp_path):
    stamp = tmp_path / "stamp"
    monkeypatch.setattr(environment, "STAMP", stamp)
    stamp.write_text(environment._fingerprint())
    monkeypatch.setattr(environment, "_usable", lambda _: True)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    environment.prepare()


def test_it_compiles_for_an_older_python():
    """An older Python must get as far as saying that it is too old."""
    text = Path(environment.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert "__future__" in imported
