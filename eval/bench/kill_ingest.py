"""Kills `rag ingest` at random moments and looks for what it had acknowledged."""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from eval.bench.ingest import _texts
from knowledge_bases.doctor import examine
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.settings import Settings
from rag.types import Filters

_ACKNOWLEDGED = re.compile(r"^(?:added|updated|unchanged) (text-\d+\.txt)$", re.MULTILINE)


def measure(files: int, kills: int, seed: int) -> dict[str, Any]:
    """Run the real command again and again, killing it (SIGKILL) until it has been killed enough.

    Returns:
        How many kills there were, how many acknowledgements were read, how often all files got
        in between kills (then it starts over), and every violation: lost, doubled or unsearchable
        documents, and problems that `rag doctor` sees.
    """
    moments = random.Random(seed)
    violations: list[str] = []
    acknowledged: set[str] = set()
    hit = finished = seen = 0
    with tempfile.TemporaryDirectory() as folder:
        texts, home_folder = Path(folder) / "texts", Path(folder) / "home"
        texts.mkdir()
        for number, text in enumerate(_texts(None, files)):
            (texts / f"text-{number:05}.txt").write_text(f"{text}\nFile {number}.", "utf-8")
        settings = Settings(home=home_folder)
        with Home(settings) as home:
            home.create("bench")
            embedder = home.embedder
        command = [sys.executable, "-m", "api.cli", "ingest", "bench", str(texts), "--verbose"]
        while hit < kills:
            log = Path(folder) / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=output,
                    env={**os.environ, "RAG_HOME": str(home_folder)},
                )
                # Most kills are to hit the ingest itself rather than the loading of the model.
                if moments.random() < 0.8:
                    while process.poll() is None and b"added" not in log.read_bytes():
                        time.sleep(0.01)
                time.sleep(moments.uniform(0.0, 5.0))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    hit += 1
                process.wait()
            seen += len(_ACKNOWLEDGED.findall(log.read_text("utf-8", "replace")))
            acknowledged |= set(_ACKNOWLEDGED.findall(log.read_text("utf-8", "replace")))
            with Home(settings, embedder=embedder) as home:
                base = home.open("bench")
                uris = [state.document.uri for state in base.documents()]
                violations += [f"lost {uri}" for uri in acknowledged - set(uris)]
                indexed = base.lifecycle.catch_up().manifest.chunks
                if indexed != base.counts()["chunks"]:
                    violations.append(f"{indexed} chunks of {base.counts()['chunks']} are indexed")
                violations += _search_violations(base, acknowledged)
                violations += [f.detail for f in examine(home) if f.state == "problem"]
                if len(uris) == files:
                    finished += 1
                    home.delete("bench")
                    home.create("bench")
                    acknowledged.clear()
    return {
        "kills": hit,
        "files": files,
        "acknowledgements": seen,
        "finished_runs": finished,
        "violations": violations,
    }


def _search_violations(base: KnowledgeBase, acknowledged: set[str]) -> list[str]:
    """Search each acknowledged document by itself: all its chunks, each once."""
    violations = []
    for uri in sorted(acknowledged):
        chunks = base.document(uri).chunks
        hits = base.search("medicines", k=chunks + 5, filters=Filters(documents=(uri,)))
        found = [hit.chunk_id for hit in hits]
        if len(found) != chunks or len(set(found)) != chunks:
            violations.append(f"{uri}: {len(found)} hits, {len(set(found))} distinct, of {chunks}")
    return violations


def main() -> None:
    """Run from a checkout: ``python -m eval.bench.kill_ingest``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = measure(arguments.files, arguments.kills, arguments.seed)
    print(json.dumps(result, indent=1))
    sys.exit(1 if result["violations"] else 0)


if __name__ == "__main__":
    main()
