"""Kills a process that appends to the log at random moments and looks for what it had told."""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.log_keeping import LogKeeping
from knowledge_bases.store import Store
from rag.settings import Settings

_CHECKPOINT_LEAVES = 7
_WRITERS = 4
_APPEND = """
import sys, threading
from pathlib import Path
from eval.bench.made_log import answer
from knowledge_bases.database import Database
from knowledge_bases.log_keeping import LogKeeping
from knowledge_bases.store import Store
from rag.settings import Settings

settings = Settings(home=Path(sys.argv[1]), checkpoint_leaves=int(sys.argv[2]))
log = Store.on(Database(settings)).log
keeping = LogKeeping(log, settings)
lock = threading.Lock()

def work():
    for number in range(100_000):
        recorded = log.append(answer(number))
        keeping.appended(recorded.log_size)
        with lock:
            print(recorded.sequence, recorded.id, recorded.leaf_hash, flush=True)

for _ in range(int(sys.argv[3])):
    threading.Thread(target=work).start()
"""


def measure(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Append with four threads, kill that (SIGKILL), verify, and go on with the same log.

    Returns:
        How many records were told to have been written, how many the log has, how many
        checkpoints, and every violation: a problem that verifying finds, or a record that was
        told and isn't there.
    """
    moments = random.Random(seed)
    home = folder / "home"
    settings = Settings(home=home, checkpoint_leaves=_CHECKPOINT_LEAVES)
    told: dict[int, tuple[str, str]] = {}
    violations: list[str] = []
    for number in range(kills):
        lines = folder / f"told-{number}"
        with lines.open("w") as output:
            options = [str(home), str(_CHECKPOINT_LEAVES), str(_WRITERS)]
            process = subprocess.Popen([sys.executable, "-c", _APPEND, *options], stdout=output)
            wanted, deadline = moments.randint(1, 40), time.monotonic() + 120
            while lines.read_bytes().count(b"\n") < wanted and time.monotonic() < deadline:
                if process.poll() is not None:
                    violations.append(f"it ended by itself with {process.returncode}")
                    break
                time.sleep(0.002)
            time.sleep(moments.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
        for line in lines.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                sequence, record_id, leaf_hash = line.split()
                told[int(sequence)] = record_id, leaf_hash
        database = Database(settings)
        log = Store.on(database).log
        keeping = LogKeeping(log, settings)
        found = verify(database, keys=keeping.verifier_keys(), subject_hash=log.subject_hash)
        violations += [problem.line for problem in found.problems]
        violations += keeping.problems()
        there = {row.sequence: (row.id, row.leaf_hash) for row in log.all()}
        violations += [f"record {at} is lost" for at in told if there.get(at) != told[at]]
        keeping.close()
        database.close()
    return {
        "kills": kills,
        "seed": seed,
        "writers": _WRITERS,
        "checkpoint_leaves": _CHECKPOINT_LEAVES,
        "acknowledged": len(told),
        "records": found.size if kills else 0,
        "checkpoints": found.checkpoints if kills else 0,
        "violations": violations,
    }


def main() -> None:
    """Run from a checkout: ``python -m eval.bench.kill_log``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments.kills, arguments.seed, Path(folder))
    print(json.dumps(result, indent=1))
    sys.exit(1 if result["violations"] else 0)


if __name__ == "__main__":
    main()
