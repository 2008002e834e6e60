"""Checks that folders appear whole, and that killed writers leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import publish as publishing
from rag.publish import new_partial, publish, write_file


def put(folder: Path, text: str) -> None:
    partial = new_partial(folder)
    (partial / "a").write_text(text)
    publish(partial, folder)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "f"
    put(folder, "one")
    (folder / "extra").write_text("old")
    put(folder, "two")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").read_text() == "two"
    assert [path.name for path in folder.parent.iterdir()] == ["f"]


def test_what_a_killed_writer_left_is_taken_away(tmp_path: Path) -> None:
    partial = new_partial(tmp_path / "f")
    (partial / "half").write_text("")
    put(tmp_path / "f", "one")
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["a"]


def test_the_old_folder_stays_until_the_new_one_is_there(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "f"
    put(folder, "one")
    partial = new_partial(folder)
    (partial / "a").write_text("two")
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if target == folder:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(partial, folder)
    assert not folder.exists()
    new_partial(folder)
    assert (folder / "a").read_text() == "one"


def test_contents_are_on_the_disk_before_their_name(tmp_path: Path, monkeypatch) -> None:
    synced: list[str] = []
    sync = publishing.sync
    monkeypatch.setattr(publishing, "sync", lambda path: (synced.append(path.name), sync(path)))
    put(tmp_path / "f", "one")
    assert synced == ["a", ".partial-f", tmp_path.name]
    synced.clear()
    write_file(tmp_path / "f" / "b", b"two")
    assert synced == [".partial-b", "f"]
    assert (tmp_path / "f" / "b").read_bytes() == b"two"
