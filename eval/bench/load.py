"""Twice the load that the machine can serve, with uploads going on, for so many minutes.

    python -m eval.bench.load --minutes 10

A real `rag serve` with default settings is asked the questions of the sample collection on
loopback: first one after another, which gives the unloaded times; then by as many clients as it
lets work and wait, which gives the rate that it can serve; then at twice that rate, at random
moments that do not wait for answers (an open loop: a client that waits would hide what is slow),
while documents are uploaded. Both sides share the machine's cores.

The generator is our own: locust's users wait for their answers, a closed loop, and wrk's requests
are all alike, while these need questions of different length and uploads beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from eval.bench.record import SAMPLES
from eval.bench.served import Served

KB = "/v1/knowledge-bases/samples"
SLOWER_AT_MOST = 2.0
"""The 95th percentile of answers under load against that of unloaded ones."""
REFUSED_WITHIN_MS = 100.0
GROWTH_AT_MOST = 0.02
"""Of the memory between minute 2 and the end: less is the allocator's noise."""
_SETTLED_SECONDS = 120.0
_JOBS_END_SECONDS = 600.0


@dataclass(slots=True)
class Seen:
    """What became of the requests.

    Attributes:
        answered_ms: how long answers took.
        refused_ms: how long refusals took.
        other: responses that are neither, by status, and broken connections.
        unhelpful: refusals without `Retry-After`.
        jobs: those of the uploads that were accepted, with a word that only that document has.
        resident: seconds since the beginning, bytes.
    """

    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    unhelpful: int = 0
    jobs: list[tuple[str, str]] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)


async def ask(client: httpx.AsyncClient, question: str, seen: Seen) -> None:
    """Ask once and note how it ended."""
    started = time.perf_counter()
    try:
        response = await client.post(f"{KB}/answers", json={"question": question})
    except httpx.HTTPError as error:
        seen.other[type(error).__name__] += 1
        return
    took_ms = 1000 * (time.perf_counter() - started)
    if response.status_code == 200:
        seen.answered_ms.append(took_ms)
    elif response.status_code == 503:
        seen.refused_ms.append(took_ms)
        seen.unhelpful += not response.headers.get("retry-after", "").isdigit()
    else:
        seen.other[str(response.status_code)] += 1


async def rate_served(client: httpx.AsyncClient, questions: Sequence[str], clients: int) -> float:
    """Return how many questions a second are answered for clients that each wait for theirs."""
    left, seen = list(questions), Seen()

    async def one_client() -> None:
        while left:
            await ask(client, left.pop(), seen)

    started = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    return len(seen.answered_ms) / (time.perf_counter() - started)


async def offer(
    client: httpx.AsyncClient, questions: Sequence[str], a_second: float, seconds: float, seen: Seen
) -> None:
    """Ask at random moments, so many a second on average, whatever becomes of the answers."""
    moments = random.Random(0)
    asked: set[asyncio.Task[None]] = set()
    start = at = time.perf_counter()
    while at - start < seconds:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        asked.add(asyncio.create_task(ask(client, moments.choice(questions), seen)))
        at += moments.expovariate(a_second)
    await asyncio.gather(*asked)


async def upload(
    client: httpx.AsyncClient, every_seconds: float, seconds: float, seen: Seen
) -> None:
    """Upload a document of some twenty chunks every so many seconds."""
    for number in range(int(seconds / every_seconds)):
        word = f"zq{number:05}x"
        text = "\n\n".join(
            f"Ward note {word}, part {part}. The cupboard {number}-{part} is checked by the nurse "
            "in charge at the beginning of each shift, and what is missing is ordered before noon. "
            * 4
            for part in range(20)
        )
        body = {"uri": f"note-{number}.txt", "text": text}
        response = await client.post(f"{KB}/documents", json=body)
        if response.status_code == 202:
            seen.jobs.append((response.headers["location"], word))
        else:
            seen.other[f"upload {response.status_code}"] += 1
        await asyncio.sleep(every_seconds)


async def watch(server: Served, seconds: float, seen: Seen) -> None:
    """Note the server's memory each second."""
    started = time.perf_counter()
    while (past := time.perf_counter() - started) < seconds:
        seen.resident.append((past, server.resident_bytes()))
        await asyncio.sleep(1)


async def lost_jobs(client: httpx.AsyncClient, seen: Seen) -> list[str]:
    """Return what became of the jobs that did not end as they should, once all have ended."""
    lost = []
    until = time.monotonic() + _JOBS_END_SECONDS
    for number, (job, word) in enumerate(seen.jobs):
        state = "queued"
        while time.monotonic() < until:
            state = (await client.get(job)).json()["state"]
            if state in ("done", "failed"):
                break
            await asyncio.sleep(0.2)
        found = (await client.post(f"{KB}/search", json={"query": word, "k": 1})).json()["hits"]
        if state != "done" or not found or found[0]["document"]["uri"] != f"note-{number}.txt":
            lost.append(f"{job}: {state}")
    return lost


async def measure(
    server: Served, minutes: float, upload_every: float, rounds: int
) -> dict[str, Any]:
    """Measure a server whose home has the samples."""
    lines = (SAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    seconds, at_a_time = 60 * minutes, 2 * max(1, cores() // 2)  # As `rag serve` has it.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=server.url, timeout=180, limits=limits) as client:
        for question in questions[:5]:  # Loads the models.
            await ask(client, question, Seen())
        unloaded = Seen()
        for question in questions * rounds:
            await ask(client, question, unloaded)
        rate = await rate_served(client, questions * rounds, at_a_time)
        loaded = Seen()
        started = time.perf_counter()
        await asyncio.gather(
            offer(client, questions, 2 * rate, seconds, loaded),
            upload(client, upload_every, seconds, loaded),
            watch(server, seconds, loaded),
        )
        took = time.perf_counter() - started
        lost = await lost_jobs(client, loaded)
        jobs_took = time.perf_counter() - started
    return judged(unloaded, loaded, rate, took, lost, jobs_took)


def judged(
    unloaded: Seen, loaded: Seen, rate: float, took: float, lost: list[str], jobs_took: float
) -> dict[str, Any]:
    """Put together what was seen, and which bars are met."""
    before, after = percentile(unloaded.answered_ms, 95), percentile(loaded.answered_ms, 95)
    settled = [size for past, size in loaded.resident if past >= min(_SETTLED_SECONDS, took / 2)]
    # Medians of a tenth at either end, as a collection in between is no growth.
    tenth = max(1, len(settled) // 10)
    first, last = statistics.median(settled[:tenth]), statistics.median(settled[-tenth:])
    growth = last / first - 1
    refused = loaded.refused_ms
    return {
        "cores": cores(),
        "minutes": round(took / 60, 2),
        "unloaded": {"answers": len(unloaded.answered_ms), **spread(unloaded.answered_ms)},
        "served_a_second": round(rate, 3),
        "offered_a_second": round(2 * rate, 3),
        "answered": {"answers": len(loaded.answered_ms), **spread(loaded.answered_ms)},
        "answered_a_second": round(len(loaded.answered_ms) / took, 3),
        "slower": round(after / before, 2),
        "refused": {"answers": len(refused), **spread(refused)},
        "refused_without_retry_after": loaded.unhelpful,
        "other": dict(loaded.other),
        "uploads": len(loaded.jobs),
        "uploads_done_after_seconds": round(jobs_took, 1),
        "lost": lost,
        "memory_mib": [round(first / 2**20), round(last / 2**20)],
        "memory_growth": round(growth, 4),
        "met": {
            "answers at most twice as slow": after <= SLOWER_AT_MOST * before,
            "refused within 100 ms, with Retry-After": bool(refused)
            and max(refused) <= REFUSED_WITHIN_MS
            and not loaded.unhelpful,
            "nothing but answers and refusals": not loaded.other,
            "no job lost": bool(loaded.jobs) and not lost,
            "memory does not grow": growth <= GROWTH_AT_MOST,
        },
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def percentile(times: Sequence[float], of: int) -> float:
    """Return a percentile, the nearest value above it; not a number where there are none."""
    ordered = sorted(times)
    return ordered[max(0, -(-of * len(ordered) // 100) - 1)] if ordered else float("nan")


def spread(times: Sequence[float]) -> dict[str, float | None]:
    """Return median, 95th percentile and maximum; None where there are none."""
    ranks = {"p50_ms": 50, "p95_ms": 95, "max_ms": 100}
    return {name: round(percentile(times, of), 1) if times else None for name, of in ranks.items()}


def table(found: dict[str, Any]) -> str:
    """Return what was measured as text."""
    rows = [f"{'':12}{'answers':>9}{'p50 ms':>9}{'p95 ms':>9}{'max ms':>9}"]
    for name in ("unloaded", "answered", "refused"):
        one = found[name]
        cells = (one[key] for key in ("answers", "p50_ms", "p95_ms", "max_ms"))
        rows.append(f"{name:12}" + "".join(f"{'-' if c is None else c:>9}" for c in cells))
    rows += [
        f"{found['minutes']} minutes on {found['cores']} cores; served {found['served_a_second']}, "
        f"offered {found['offered_a_second']}, answered {found['answered_a_second']} a second",
        f"95th percentile {found['slower']} times the unloaded one",
        f"{found['uploads']} uploads, all ended {found['uploads_done_after_seconds']} s after the "
        f"beginning; memory {found['memory_mib'][0]} to {found['memory_mib'][1]} MiB",
        *(f"lost {one}" for one in found["lost"]),
        *(f"{count} times {what}" for what, count in found["other"].items()),
        *(f"{'met' if met else 'MISSED':8}{bar}" for bar, met in found["met"].items()),
    ]
    return "\n".join(rows)


def main() -> None:
    """Run, print, and exit with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load")
    parser.add_argument("--rounds", type=int, default=3, help="through the questions, unloaded")
    parser.add_argument("--upload-every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with Served(home, Path(folder) / "log") as server:
            fill(server)
            found = asyncio.run(
                measure(server, options.minutes, options.upload_every, options.rounds)
            )
    print(json.dumps(found, indent=1) if options.json else table(found))
    sys.exit(0 if all(found["met"].values()) else 1)


def fill(server: Served) -> None:
    """Upload the samples and wait until they are searchable."""
    with httpx.Client(base_url=server.url, timeout=600) as client:
        client.post("/v1/knowledge-bases", json={"name": "samples"}).raise_for_status()
        paths = sorted(path for path in (SAMPLES / "documents").rglob("*") if path.is_file())
        files = [("files", (path.name, path.read_bytes())) for path in paths]
        accepted = client.post(f"{KB}/documents", files=files)
        accepted.raise_for_status()
        client.get(f"{accepted.headers['location']}/events")  # Ends with the job.


if __name__ == "__main__":
    main()
