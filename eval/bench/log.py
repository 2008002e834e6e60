"""A log of many records: appending, proving and verifying, timed."""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.bench.made_log import answer, fill, sign
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.merkle import verify_consistency, verify_inclusion
from knowledge_bases.audit.verify import verify
from knowledge_bases.database import Database
from knowledge_bases.store import Store
from knowledge_bases.store.log import Log
from rag.settings import Settings


def made(leaves: int, folder: Path) -> dict[str, Any]:
    """Make a log of that many records, or go on with the one that is there.

    Args:
        leaves: records; appended many in a transaction, by what also appends single ones.
        folder: for the log; a home folder.
    """
    database = Database(Settings(home=folder))
    log = Store.on(database).log
    keys = KeyRing(folder / "keys")
    if not (folder / "keys" / "keys.json").exists():
        keys.create(log.state().log_id)
    before, started = log.size(), time.perf_counter()
    fill(log, max(0, leaves - before))
    seconds = time.perf_counter() - started
    database.close()
    return {
        "records": max(0, leaves - before),
        "seconds": round(seconds, 1),
        "per_second": round(max(0, leaves - before) / seconds),
    }


def measure(samples: int, seed: int, folder: Path) -> dict[str, Any]:
    """Time what is done with a log of the size that it has.

    Args:
        samples: appends, by 1 and by 8 writers, and inclusion proofs that are timed.
        seed: of which records are proven.
        folder: where the log is.
    """
    database = Database(Settings(home=folder))
    log = Store.on(database).log
    keys = KeyRing(folder / "keys")
    writers = {str(count): _appended(log, samples, count) for count in (1, 8)}
    sign(log, keys)
    size, root = log.size(), log.root()
    chance = random.Random(seed)
    places = [chance.randrange(size) for _ in range(samples)]
    proofs: list[Sequence[bytes]] = []
    proving = _timed(places, lambda place: proofs.append(log.inclusion_proof(place)))
    for place, proof in zip(places, proofs, strict=True):
        leaf_hash = bytes.fromhex(log.at(place).leaf_hash)
        if not verify_inclusion(leaf_hash, place, size, proof, root):
            raise SystemExit(f"the proof of record {place} does not verify")
    growths: list[Sequence[bytes]] = []
    sizes = places[:100]
    growing = _timed(sizes, lambda first: growths.append(log.consistency_proof(first)))
    for first, proof in zip(sizes, growths, strict=True):
        if not verify_consistency(first, size, proof, log.root(first), root):
            raise SystemExit(f"the consistency proof from {first} does not verify")
    started, used = time.perf_counter(), time.process_time()
    found = verify(database, keys=keys.listed(), subject_hash=log.subject_hash)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
    started = time.perf_counter()
    one = verify(database, keys=keys.listed(), start=places[0], stop=places[0] + 1)
    one_seconds = time.perf_counter() - started
    database.close()
    return {
        "leaves": size,
        "samples": samples,
        "seed": seed,
        "fsync_of_4_kib": _synced(folder),
        "append_by_writers": writers,
        "inclusion_proof": {"most_hashes": max(map(len, proofs)), **proving},
        "consistency_proof": {"most_hashes": max(map(len, growths)), **growing},
        "verify": {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),
            "problems": found.problem_count + one.problem_count,
            "one_record_ms": round(one_seconds * 1_000, 1),
        },
        "database_mb": round((folder / "rag.sqlite3").stat().st_size / 2**20),
    }


def _appended(log: Log, records: int, writers: int) -> dict[str, float]:
    """Append by some threads at once."""
    milliseconds: list[float] = []
    lock = threading.Lock()

    def work(writer: int) -> None:
        own = []
        for number in range(writer, records, writers):
            new = answer(number)
            started = time.perf_counter()
            log.append(new)
            own.append((time.perf_counter() - started) * 1_000)
        with lock:
            milliseconds.extend(own)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "per_second": round(records / (time.perf_counter() - started)),
        **_quantiles(milliseconds),
    }


def _timed(values: Sequence[int], work: Callable[[int], None]) -> dict[str, float]:
    milliseconds = []
    for value in values:
        started = time.perf_counter()
        work(value)
        milliseconds.append((time.perf_counter() - started) * 1_000)
    return _quantiles(milliseconds)


def _synced(folder: Path) -> dict[str, float]:
    """Time what every commit waits for: some bytes reaching the disk."""
    path = folder / "fsync"
    with path.open("wb") as file:

        def write(_: int) -> None:
            file.write(b"x" * 4_096)
            file.flush()
            os.fsync(file.fileno())

        found = _timed(range(200), write)
    path.unlink()
    return found


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}


def main() -> None:
    """Run from a checkout: ``python -m eval.bench.log``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="keep the log there; one that is there is used")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        filled = made(arguments.leaves, home)
        result = {"fill": filled, **measure(arguments.samples, arguments.seed, home)}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
