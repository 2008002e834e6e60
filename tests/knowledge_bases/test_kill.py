"""An ingest that is killed at any moment loses no acknowledged document and doubles none."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from knowledge_bases.doctor import examine
from knowledge_bases.home import Home

FILES = 120
SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import WordEmbedder
import knowledge_bases.ingest as ingest
from knowledge_bases.home import Home
from rag.settings import Settings

class Slow(WordEmbedder):
    def embed(self, texts):
        time.sleep(0.02)
        return super().embed(texts)

ingest._FLUSH_CHUNKS = 4
settings = Settings(home=Path({home!r}), calibration=Path({calibration!r}))
with Home(settings, embedder=Slow()) as home:
    names = [row.name for row in home.store.kbs.all()]
    base = home.open("docs") if names else home.create("docs")
    base.ingest([Path({folder!r})], progress=lambda r: print(r.uri, r.result, flush=True))
print("finished", flush=True)
"""


def test_killed_at_random_moments(settings, embedder, word_calibration, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"file-{i:03}.txt").write_text(f"Text about subject{i} and nothing else.")
    script = SCRIPT.format(
        tests=str(Path(__file__).parents[1]),
        home=str(settings.home),
        calibration=str(word_calibration),
        folder=str(folder),
    )
    acknowledged: set[str] = set()
    moments = random.Random(7)
    kills = 0
    for attempt in range(6):
        log = tmp_path / f"log-{attempt}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", script], stdout=output, stderr=subprocess.DEVNULL
            )
            # Kill it once it has acknowledged some more, so that every attempt gets somewhere.
            wanted, deadline = moments.randint(1, 30), time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if log.read_bytes().count(b"added") >= wanted:
                    time.sleep(moments.random() * 0.1)
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.005)
            process.wait()
        lines = [line.split() for line in log.read_text().splitlines() if " " in line]
        acknowledged |= {uri for uri, result in lines if result in ("added", "unchanged")}
        with Home(settings, embedder=embedder) as home:
            base = home.open("docs")
            uris = [state.document.uri for state in base.documents()]
            assert acknowledged <= set(uris)
            assert len(uris) == len(set(uris))
            found = [hit.document.uri for hit in base.search("text about subject", k=FILES)]
            assert sorted(found) == sorted(uris)
            assert [f for f in examine(home) if f.state == "problem"] == []
    assert kills >= 3
    assert len(acknowledged) > 20
