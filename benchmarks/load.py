"""Many small requests to a real server on loopback: nothing lost, nothing answered twice, memory steady.

    python -m benchmarks.load --requests 500 --clients 8 --out load.json

Starts `redilate serve` with the bundled model, sends every request from one of several clients, comes back after
Retry-After where it is told to, and looks into every picture: it must say the prompt and the seed of its own request.
Memory is the server's resident memory as /metrics has it. Exits with 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image


@dataclass(frozen=True)
class Figures:
    """What a run came to; times in seconds, memory in megabytes."""

    requests: int
    clients: int
    answered: int
    wrong: int
    drawn_by_server: int
    told_to_come_later: int
    seconds: float
    per_second: float
    median: float
    p95: float
    memory_after_a_fifth: float
    memory_at_the_end: float
    exit_code: int

    @property
    def good(self) -> bool:
        """Each request answered once, by its own picture, and no more than a tenth of memory gained."""
        return (
            self.answered == self.requests == self.drawn_by_server
            and self.wrong == 0
            and self.memory_at_the_end < 1.1 * self.memory_after_a_fifth
            and self.exit_code == 0
        )


class Load:
    """The clients, and what they have seen."""

    def __init__(self, root: str, requests: int, clients: int, size: str):
        self._root, self._requests, self._clients, self._size = root, requests, clients, size
        self.answers: Counter[int] = Counter()
        self.wrong = self.later = 0
        self.times: list[float] = []
        self.memory: list[float] = []

    async def run(self) -> None:
        """Send every request and wait for every answer."""
        numbers = iter(range(self._requests))
        async with httpx.AsyncClient(base_url=self._root, timeout=300) as http:
            await asyncio.gather(*(self._client(http, numbers) for _ in range(self._clients)))

    async def _client(self, http: httpx.AsyncClient, numbers) -> None:
        for number in numbers:
            started = time.monotonic()
            asked = {
                "prompt": f"apple {number}",
                "seed": number,
                "size": self._size,
                "steps": 1,
                "guidance": 1,
            }
            while (answer := await http.post("/v1/images/generations", json=asked)).status_code == 429:
                self.later += 1
                await asyncio.sleep(float(answer.headers["Retry-After"]))
            self.times.append(time.monotonic() - started)
            self._look(number, answer)
            if len(self.times) in (self._requests // 5, self._requests):
                metrics = (await http.get("/metrics")).text
                self.memory.append(metric(metrics, "process_resident_memory_bytes") / 1e6)

    def _look(self, number: int, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            self.wrong += 1
            return
        (one,) = answer.json()["data"]
        with Image.open(BytesIO(base64.b64decode(one["b64_json"]))) as image:
            said = json.loads(image.info["redilate"])
        if (said["prompt"], said["seed"], one["seed"]) != (f"apple {number}", number, number):
            self.wrong += 1
        self.answers[number] += 1


def metric(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def measure(requests: int, clients: int, queue: int, size: str) -> Figures:
    """Start a server, load it, stop it."""
    command = [sys.executable, "-m", "redilate", "serve", "--port", "0", "--queue", str(queue)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        raise SystemExit("the server did not start")
    root = found[0]
    # Its log must be read, or it would block.
    drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
    while not _answers(root):
        time.sleep(0.1)
    load = Load(root, requests, clients, size)
    started = time.monotonic()
    asyncio.run(load.run())
    seconds = time.monotonic() - started
    drawn = metric(httpx.get(f"{root}/metrics").text, "redilate_images_total")
    os.kill(server.pid, signal.SIGTERM)
    code = server.wait(60)
    drain.wait(10)
    times = sorted(load.times)
    return Figures(
        requests=requests,
        clients=clients,
        answered=sum(1 for count in load.answers.values() if count == 1),
        wrong=load.wrong,
        drawn_by_server=int(drawn),
        told_to_come_later=load.later,
        seconds=round(seconds, 1),
        per_second=round(requests / seconds, 2),
        median=round(times[len(times) // 2], 3),
        p95=round(times[int(0.95 * len(times))], 3),
        memory_after_a_fifth=round(load.memory[0], 1),
        memory_at_the_end=round(load.memory[-1], 1),
        exit_code=code,
    )


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure, print, and exit with 1 if it was not good."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--queue", type=int, default=6, help="fewer than the clients, so that some come again"
    )
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    figures = measure(asked.requests, asked.clients, asked.queue, asked.size)
    text = json.dumps(asdict(figures), indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")
    sys.exit(0 if figures.good else 1)


if __name__ == "__main__":
    main()
