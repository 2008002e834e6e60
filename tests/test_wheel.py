import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_what_the_code_reads(tmp_path):
    source = tmp_path / "source"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, files):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = (
        "from setuptools import build_meta; import sys; sys.argv = ['setup']; "
        f"print(build_meta.build_wheel({str(tmp_path)!r}))"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build], cwd=source, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [
        name
        for name in files
        if name.startswith(("rag/", "indexer/", "knowledge_bases/", "api/"))
        and not name.endswith("samples/README.md")
    ]
    assert [name for name in shipped if name not in names] == []
    assert not [name for name in names if name.startswith(("eval/", "tests/"))]
