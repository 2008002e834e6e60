import errno
import os
import tempfile
import zipfile
from pathlib import Path

import pytest

from indexer.load.discover import discover
from indexer.load.limits import Limits
from indexer.load.loaded import LoadFailure


def found(*paths, **limits):
    """Sources as {uri: content}, failures as {uri: reason}, in order."""
    sources, failures = {}, {}
    with discover([Path(path) for path in paths], Limits(**limits)) as discovered:
        for source in discovered:
            if isinstance(source, LoadFailure):
                assert source.uri not in failures
                failures[source.uri] = source.reason
            else:
                assert source.uri not in sources
                sources[source.uri] = source.path.read_bytes()
    return sources, failures


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "b" / "deep" / "3.txt").write_bytes(b"3")
    (folder / "b" / "2.txt").write_bytes(b"2")
    (folder / "a.txt").write_bytes(b"a")
    (folder / "c.txt").write_bytes(b"c")
    return folder


def test_uris_are_paths_under_the_folder_in_sorted_order(folder):
    sources, failures = found(folder)
    assert list(sources) == ["a.txt", "c.txt", "b/2.txt", "b/deep/3.txt"]
    assert not failures


def test_a_files_uri_is_its_name(folder):
    sources, _ = found(folder / "b" / "2.txt", folder / "a.txt")
    assert list(sources) == ["2.txt", "a.txt"]


def test_hidden_files_are_skipped_unless_named(folder):
    for name in (".DS_Store", ".git/config", "~$a.docx", "Thumbs.db", "__MACOSX/x", "b/.x"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"hidden")
    assert len(found(folder)[0]) == 4
    assert found(folder / ".DS_Store")[0] == {".DS_Store": b"hidden"}


def test_the_same_file_twice_counts_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    sources, failures = found("a.txt", folder / "a.txt", "./a.txt", folder, ".")
    assert list(sources) == ["a.txt", "c.txt", "b/2.txt", "b/deep/3.txt"]
    assert not failures


def test_two_files_of_one_name_are_not_versions_of_each_other(folder):
    (folder / "b" / "a.txt").write_bytes(b"another")
    sources, failures = found(folder / "a.txt", folder / "b" / "a.txt")
    assert sources == {"a.txt": b"a"}
    assert "has the same name as" in failures["a.txt"]


def test_missing_and_special_paths(folder, tmp_path):
    os.mkfifo(folder / "pipe")
    sources, failures = found(tmp_path / "none.txt", tmp_path / "x\0y", folder)
    assert failures.pop("none.txt") == "is not there (any more); check the path"
    assert failures.pop("pipe") == "is not a regular file; leave it out"
    [reason] = failures.values()
    assert "not valid" in reason
    assert len(sources) == 4


def test_symbolic_links(folder, tmp_path):
    (tmp_path / "outside.txt").write_bytes(b"secret")
    (folder / ".store").mkdir()
    (folder / ".store" / "kept.txt").write_bytes(b"kept")
    for name, target in {
        "loop": ".",
        "b/up": "..",
        "self": "self",
        "dangling": "nowhere",
        "out.txt": "../outside.txt",
        "outdir": str(tmp_path),
        "again.txt": "a.txt",
        "bdir": "b",
        "kept": ".store",
        "kept2": ".store",
    }.items():
        (folder / name).symlink_to(target)
    sources, failures = found(folder)
    assert sources == {
        "a.txt": b"a",
        "c.txt": b"c",
        "b/2.txt": b"2",
        "b/deep/3.txt": b"3",
        "kept/kept.txt": b"kept",
    }
    assert set(failures) == {"loop", "b/up", "self", "dangling", "out.txt", "outdir"}
    assert "remove the loop" in failures["loop"]
    assert "remove the loop" in failures["b/up"]
    assert "leads to itself" in failures["self"]
    assert "is not there" in failures["dangling"]
    assert "leads out of the folder" in failures["out.txt"]
    # The folder's parent also holds it.
    assert "remove the loop" in failures["outdir"]


def test_a_link_named_on_the_command_line_is_followed(folder, tmp_path):
    (tmp_path / "link.txt").symlink_to(folder / "a.txt")
    (tmp_path / "linked").symlink_to(folder)
    assert found(tmp_path / "link.txt")[0] == {"link.txt": b"a"}
    assert len(found(tmp_path / "linked")[0]) == 4


@pytest.fixture
def as_ordinary_user():
    """Root may read everything, so give that up for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


def test_unreadable_entries_do_not_end_the_walk(as_ordinary_user):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "b").mkdir()
        (folder / "a.txt").write_bytes(b"a")
        (folder / "c.txt").write_bytes(b"c")
        (folder / "b").chmod(0)
        (folder / "a.txt").chmod(0)
        sources, failures = found(folder)
        (folder / "b").chmod(0o700)
    assert sources == {"c.txt": b"c"}
    assert failures == dict.fromkeys(["b", "a.txt"], "may not be read; change its permissions")


def test_a_folder_that_vanishes_during_the_walk(folder):
    with discover([folder], Limits()) as discovered:
        first = next(discovered)
        for path in (folder / "b" / "deep" / "3.txt", folder / "b" / "2.txt", folder / "c.txt"):
            path.unlink()
        (folder / "b" / "deep").rmdir()
        (folder / "b").rmdir()
        rest = list(discovered)
    assert first.uri == "a.txt"
    assert {failure.uri for failure in rest} == {"b", "c.txt"}
    assert all("is not there" in failure.reason for failure in rest)


def test_names_that_are_no_text(folder):
    name = os.fsencode(folder) + b"/caf\xe9 e\xcc\x81\n.txt"
    with open(name, "wb"):  # noqa: PTH123 - a name in bytes
        pass
    assert "caf\ufffd é\ufffd.txt" in found(folder)[0]


def test_archives_are_expanded(folder, make):
    content = make.zip(
        {"in/x.txt": b"x", "y.pdf": b"%PDF-", "__MACOSX/._y": b"-", ".hid": b"-", "./z": b"z"}
    )
    (folder / "a.zip").write_bytes(content)
    (folder / "zip.txt").write_bytes(make.zip({"w": b"w"}))
    (folder / "d.docx").write_bytes(make.docx("office"))
    sources, failures = found(folder)
    assert {uri: sources[uri] for uri in sources if "zip" in uri} == {
        "a.zip/in/x.txt": b"x",
        "a.zip/y.pdf": b"%PDF-",
        "a.zip/z": b"z",
        "zip.txt/w": b"w",
    }
    assert "d.docx" in sources
    assert not failures


def test_expanded_files_are_gone_afterwards(folder, make):
    (folder / "a.zip").write_bytes(make.zip({"x": b"x", "y": b"y"}))
    with discover([folder / "a.zip"], Limits()) as discovered:
        first, second = list(discovered)
        assert first.path.read_bytes() == b"x"
        first.discard()
        assert not first.path.exists()
        assert second.path.exists()
        kept = second.path
    assert not kept.exists()
    assert not kept.parent.exists()


def test_archive_when_the_disk_is_full(tmp_path, make, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.zip").write_bytes(make.zip({"x": b"x"}))
    (tmp_path / "b.txt").write_bytes(b"b")
    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    sources, failures = found(tmp_path)
    assert sources == {"b.txt": b"b"}
    assert failures == {"a.zip": "can't be read: No space left on device"}


def test_unsafe_members_are_refused_one_by_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (
            "../up.txt",
            "in/../../up",
            "/etc/passwd",
            "C:\\x.txt",
            "..\\win.txt",
            "ok.txt",
        ):
            archive.writestr(name, name)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("ok.txt", "second")
        archive.writestr("sub\\win.txt", "w")
    sources, failures = found(tmp_path / "a.zip")
    assert sources == {"a.zip/ok.txt": b"ok.txt", "a.zip/sub/win.txt": b"w"}
    assert "holds this name twice" in failures.pop("a.zip/ok.txt")
    assert "symbolic link" in failures.pop("a.zip/link")
    assert "absolute" in failures.pop("a.zip/etc/passwd")
    assert "absolute" in failures.pop("a.zip/C:/x.txt")
    assert set(failures) == {"a.zip/../up.txt", "a.zip/in/../../up", "a.zip/../win.txt"}
    assert all("leads out of it" in reason for reason in failures.values())
    assert not (tmp_path.parent / "up.txt").exists()


def test_nested_archives_to_depth_two(tmp_path, make):
    third = make.zip({"c.txt": b"c"})
    second = make.zip({"b.txt": b"b", "3.zip": third})
    (tmp_path / "1.zip").write_bytes(make.zip({"a.txt": b"a", "2.zip": second}))
    sources, failures = found(tmp_path / "1.zip")
    assert sources == {"1.zip/a.txt": b"a", "1.zip/2.zip/b.txt": b"b"}
    assert list(failures) == ["1.zip/2.zip/3.zip"]
    assert "too deep" in failures["1.zip/2.zip/3.zip"]


def test_names_in_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("größe e\u0301.txt", "")
        archive.writestr("esc\x1b[2J\n.txt", "")
    content = (tmp_path / "a.zip").read_bytes()
    # Mac archives hold UTF-8 without saying so.
    (tmp_path / "b.zip").write_bytes(content.replace(b"\x00\x08\x00\x00", b"\x00\x00\x00\x00"))
    for name in ("a.zip", "b.zip"):
        assert set(found(tmp_path / name)[0]) == {
            f"{name}/größe é.txt",
            f"{name}/esc\ufffd[2J\ufffd.txt",
        }


def encrypted(content):
    """Set the flag for encryption on every member, as a password would."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + offset] |= 1
            start = changed.find(signature, start + 1)
    return bytes(changed)


def test_encrypted_archive(tmp_path, make):
    (tmp_path / "a.zip").write_bytes(encrypted(make.zip({"x": b"x", "y": b"y"})))
    assert found(tmp_path / "a.zip") == (
        {},
        {"a.zip": "is encrypted; make it again without a password"},
    )


def test_damaged_archives(tmp_path, make):
    whole = make.zip({"x.txt": b"x" * 1000, "y.txt": bytes(range(256))})
    damaged = bytearray(whole)
    damaged[40:45] = b"\xff" * 5
    (tmp_path / "crc.zip").write_bytes(damaged)
    sources, failures = found(tmp_path / "crc.zip")
    assert list(sources) == ["crc.zip/y.txt"]
    assert failures == {"crc.zip/x.txt": "is damaged in its archive; make it again"}
    # Left to the loader, which names it as what it is.
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    assert list(found(tmp_path / "cut.zip")[0]) == ["cut.zip"]


def test_methods_that_expand_without_bound_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("bz2.txt", b"x" * 100, compress_type=zipfile.ZIP_BZIP2)
        archive.writestr("lzma.txt", b"x" * 100, compress_type=zipfile.ZIP_LZMA)
        archive.writestr("stored.txt", b"x", compress_type=zipfile.ZIP_STORED)
    sources, failures = found(tmp_path / "a.zip")
    assert list(sources) == ["a.zip/stored.txt"]
    assert set(failures) == {"a.zip/bz2.txt", "a.zip/lzma.txt"}


def test_archive_without_files(tmp_path, make):
    (tmp_path / "a.zip").write_bytes(make.zip({}))
    assert "without files" in found(tmp_path / "a.zip")[1]["a.zip"]


def test_limit_on_members(tmp_path, make):
    (tmp_path / "a.zip").write_bytes(make.zip({str(n): b"" for n in range(30)}))
    sources, failures = found(tmp_path / "a.zip", max_members=20)
    assert not sources
    assert "more than 20 files" in failures["a.zip"]


def test_a_list_of_members_too_long_to_read(tmp_path, make):
    content = make.zip({"x" * 60_000 + str(n): b"" for n in range(40)})
    (tmp_path / "a.zip").write_bytes(content)
    sources, failures = found(tmp_path / "a.zip", max_members=20)
    assert not sources
    assert "lists too many files" in failures["a.zip"]


def test_limit_on_expanded_bytes_as_declared(tmp_path, make):
    (tmp_path / "a.zip").write_bytes(make.zip({"a": b"a", "b": b"\0" * 3_000_000}))
    sources, failures = found(tmp_path / "a.zip", max_expanded_bytes=2_000_000)
    assert not sources
    assert "expands to more than 2 MiB" in failures["a.zip"]
    assert "RAG_LOAD_MAX_EXPANDED_BYTES" in failures["a.zip"]


def with_declared_sizes(content, size):
    """Let every member claim to expand to ``size`` bytes."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + offset : start + offset + 4] = size.to_bytes(4, "little")
            start = changed.find(signature, start + 1)
    return bytes(changed)


def test_declared_sizes_that_lie(tmp_path, make):
    honest = make.zip({"a": b"ab", "b": b"\0" * 3_000_000})
    (tmp_path / "a.zip").write_bytes(with_declared_sizes(honest, 2))
    sources, failures = found(tmp_path / "a.zip")
    assert sources == {"a.zip/a": b"ab"}
    assert failures == {"a.zip/b": "is damaged in its archive; make it again"}


def test_nested_archives_share_one_budget(tmp_path, make):
    inner = make.zip({"zeros": b"\0" * 700_000})
    (tmp_path / "a.zip").write_bytes(make.zip({f"{n}.zip": inner for n in range(5)}))
    sources, failures = found(tmp_path / "a.zip", max_expanded_bytes=2_000_000)
    assert set(sources) == {"a.zip/0.zip/zeros", "a.zip/1.zip/zeros"}
    assert set(failures) == {"a.zip/2.zip", "a.zip/3.zip", "a.zip/4.zip"}
    assert all(reason.startswith("expands to more than") for reason in failures.values())


def test_member_larger_than_a_file_may_be(tmp_path, make):
    (tmp_path / "a.zip").write_bytes(make.zip({"big": b"\0" * 3_000_000, "small": b"s"}))
    sources, failures = found(tmp_path / "a.zip", max_file_bytes=2_000_000)
    assert list(sources) == ["a.zip/small"]
    assert "RAG_MAX_FILE_BYTES" in failures["a.zip/big"]


def test_archive_that_expands_to_a_gigabyte(tmp_path):
    with zipfile.ZipFile(
        tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as archive:
        for n in range(16):
            with archive.open(f"{n}.txt", "w") as member:
                for _ in range(64):
                    member.write(b"\0" * 2**20)
    assert (tmp_path / "bomb.zip").stat().st_size < 2**23
    sources, failures = found(tmp_path / "bomb.zip")
    assert not sources
    assert "expands to more than 512 MiB" in failures["bomb.zip"]


def test_limit_on_the_ratio_of_expansion(tmp_path, make, monkeypatch):
    monkeypatch.setattr("indexer.load.archive.RATIO_GRACE_BYTES", 100_000)
    (tmp_path / "a.zip").write_bytes(make.zip({"zeros": b"\0" * 3_000_000}))
    sources, failures = found(tmp_path / "a.zip")
    assert not sources
    assert "more than 200 times its size" in failures["a.zip"]


def test_each_source_says_which_file_and_folder_it_came_from(folder, monkeypatch):
    with zipfile.ZipFile(folder / "b" / "z.zip", "w") as archive:
        archive.writestr("inner.txt", "inner")
    monkeypatch.chdir(folder / "b")
    with discover([folder, Path("2.txt"), Path("../b/z.zip")], Limits()) as discovered:
        places = [(source.uri, source.origin, source.folder) for source in discovered]
    assert places == [
        ("a.txt", str(folder / "a.txt"), str(folder)),
        ("c.txt", str(folder / "c.txt"), str(folder)),
        ("b/2.txt", str(folder / "b" / "2.txt"), str(folder)),
        ("b/z.zip/inner.txt", str(folder / "b" / "z.zip"), str(folder)),
        ("b/deep/3.txt", str(folder / "b" / "deep" / "3.txt"), str(folder)),
        ("2.txt", str(folder / "b" / "2.txt"), str(folder / "b")),
        ("z.zip/inner.txt", str(folder / "b" / "z.zip"), str(folder / "b")),
    ]


def test_what_killed_processes_left_behind_is_removed(folder, tmp_path, monkeypatch):
    from indexer.load import abandoned

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    old, living, young = (temporary / f"rag-expanded-{n}" for n in ("old", "living", "young"))
    for leftover in (old, living, young):
        leftover.mkdir()
        (leftover / "1").write_bytes(b"x")
    for leftover in (old, living):
        os.utime(leftover, (0, 0))
    held = abandoned.claim(living)
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("inner.txt", "inner")
    found(folder)
    os.close(held)
    assert sorted(path.name for path in temporary.iterdir()) == [living.name, young.name]
