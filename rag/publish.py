"""Files and folders that appear whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PARTIAL, OLD = ".partial-", ".old-"


def new_partial(folder: Path) -> Path:
    """An empty folder beside `folder` to fill for `publish`; what a killed writer left goes."""
    old = folder.with_name(f"{OLD}{folder.name}")
    if old.exists() and not folder.exists():  # killed between the two renames of `publish`
        old.rename(folder)
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    for left in (old, partial):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def publish(partial: Path, folder: Path) -> None:
    """Put a filled partial folder in the place of `folder`; the older one goes last."""
    for path in partial.iterdir():
        sync(path)
    sync(partial)
    old = folder.with_name(f"{OLD}{folder.name}")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Replace one file."""
    partial = path.with_name(f"{PARTIAL}{path.name}")
    partial.write_bytes(content)
    put_file(partial, path)


def put_file(partial: Path, path: Path) -> None:
    """Put a written file in the place of another."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders.
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
