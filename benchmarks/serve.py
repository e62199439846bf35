"""A soak of `lightbulb serve`: many clients at once, hostile ones among them, for minutes.

    python benchmarks/serve.py runs/tickets [--minutes 10] [--clients 64] [--runtime llamacpp] [--threads 2]

Most clients ask one question after the other, whole and streamed, and classify lists where the model chooses; one in
eight sends what it should not, or leaves early. Wanted: every request of a good client is answered (503 with
Retry-After is followed), as it was when nobody else asked; the server's memory stays where it is; the joules of all
answers, those that nobody heard included, are those of all windows; and it stops with exit code 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from lightbulb.energy.processor import processor_name

WORDS = [
    "my",
    "card",
    "was",
    "lost",
    "and",
    "I",
    "want",
    "a",
    "new",
    "one",
    "but",
    "the",
    "money",
    "has",
    "not",
    "come",
    "back",
    "since",
    "Monday",
    "please",
    "help",
    "me",
]
PATH = "/v1/chat/completions"
QUESTIONS = [" ".join(random.Random(n).choices(WORDS, k=4 + n % 9)) for n in range(200)]
TOKENS = 24  # of a written answer
FLAT = 0.03  # growth of memory in the second half that is still flat


class Service:
    """The command, and how to reach it."""

    def __init__(self, model: Path, runtime: str, threads: int, waiting: int):
        command = [sys.executable, "-m", "lightbulb", "serve", str(model), "--port", "0", "--json", "--context", "512"]
        options = ["--runtime", runtime, "--threads", str(threads), "--max-waiting", str(waiting)]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        self.told = json.loads(self.process.stdout.readline())  # type: ignore[union-attr]
        self.port = int(self.told["address"].rpartition(":")[2])
        self.chooses = self.told["answers"] > 0

    def metric(self, name: str) -> float:
        """A sample of /metrics, by the beginning of its line; 0 where there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)

    def memory(self) -> float:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Tally:
    """What the clients saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.joules, self.cpu, self.lost = 0.0, 0.0, list[str]()

    def add(self, kind: str, seconds: float, usage: dict[str, Any]) -> None:
        with self.lock:
            self.seconds[kind].append(seconds)
            self.counts["answers"] += max(1, usage["answers"])
            self.joules += usage["joules"]["value"]
            self.cpu += usage["cpu_seconds"]["value"]

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1


def body_of(kind: str, n: int, chooses: bool) -> tuple[str, dict[str, Any]]:
    """A path and what is sent to it."""
    if kind == "classify":
        return "/v1/classify", {"input": [QUESTIONS[(n + i) % len(QUESTIONS)] for i in range(8)]}
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTIONS[n % len(QUESTIONS)]}]}
    if not chooses:
        asked["max_tokens"] = TOKENS
    if kind == "streamed":
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return PATH, asked


def said_in(kind: str, raw: bytes) -> tuple[Any, dict[str, Any]]:
    """The answer, and its usage with the number of answers. Raises ValueError for what is not whole."""
    if kind == "streamed":
        *events, done = raw.decode().strip().split("\n\n")
        if done != "data: [DONE]":
            raise ValueError("the stream was broken off")
        *chunks, last = [json.loads(event.removeprefix("data: ")) for event in events]
        return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks), {**last["usage"], "answers": 1}
    reply = json.loads(raw)
    if kind == "classify":
        said = [r["answer"] for r in reply["results"]]
        return said, {**reply["usage"], "answers": len(said)}
    return reply["choices"][0]["message"]["content"], {**reply["usage"], "answers": 1}


def ask(connection: HTTPConnection, kind: str, n: int, chooses: bool, tally: Tally) -> Any:
    """One request, again where the service is busy."""
    path, body = body_of(kind, n, chooses)
    begin = time.perf_counter()
    while True:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        raw = reply.read()
        if reply.status != 503:
            break
        tally.count("told to come back")
        time.sleep(float(reply.getheader("Retry-After") or 1))
    if reply.status != 200:
        raise ValueError(f"{reply.status} {raw[:200]!r}")
    said, usage = said_in(kind, raw)
    tally.add(kind, time.perf_counter() - begin, usage)
    return said


def good(service: Service, number: int, until: float, tally: Tally, alone: dict[tuple[str, int], Any]) -> None:
    """Asks one question after the other; what is no whole answer is lost."""
    kinds = ("whole", "streamed", "classify") if service.chooses else ("whole", "streamed")
    connection = HTTPConnection("127.0.0.1", service.port, timeout=120)
    for i in itertools.count(number):
        if time.monotonic() > until:
            return
        kind, n = kinds[i % len(kinds)], (i * 7 + number) % 20
        try:
            said = ask(connection, kind, n, service.chooses, tally)
            if said != alone[kind, n]:
                tally.count("unlike alone")
        except (OSError, HTTPException, ValueError, KeyError) as e:
            with tally.lock:
                tally.lost.append(f"{kind}: {e!r}"[:200])
            connection.close()


def head(length: int, host: str = "localhost") -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _plain(body: bytes, host: str = "localhost") -> Callable[[socket.socket], bytes]:
    def send(connection: socket.socket) -> bytes:
        connection.sendall(head(len(body), host) + body)
        return connection.recv(4096)

    return send


def _leave(after: float, stream: bool, service: Service, tally: Tally) -> Callable[[socket.socket], bytes]:
    """Leaves early; where its answer was quicker, it is counted as heard."""

    def send(connection: socket.socket) -> bytes:
        body = json.dumps(body_of("streamed" if stream else "whole", 1, service.chooses)[1]).encode()
        connection.sendall(head(len(body)) + body)
        time.sleep(after)
        connection.setblocking(False)
        heard = connection.recv(1 << 20)
        if told := re.search(rb'"joules": ?\{"value": ?([-+0-9.e]+)', heard):
            with tally.lock:
                tally.joules += float(told[1])
        return b""

    return send


def _half(connection: socket.socket) -> bytes:
    connection.sendall(head(100) + b'{"messages"')
    return b""


def _slowly(connection: socket.socket) -> bytes:
    for byte in head(100)[:40]:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)
    return b""


def _endless(connection: socket.socket) -> bytes:
    connection.sendall(head(1 << 40)[:-2] + b"\r\n")
    with suppress(OSError):
        for _ in range(64):
            connection.sendall(b" " * 65_536)
    return connection.recv(4096)


def hostile(service: Service, number: int, until: float, tally: Tally) -> None:
    """Sends what it should not, and expects a refusal or an end."""
    attacks: list[tuple[bytes, Callable[[socket.socket], bytes]]] = [
        (b"400", _plain(b"{" * 100)),
        (b"400", _plain(b'{"messages": ' + b"[" * 50_000)),
        (b"400", _plain(b'{"messages": [{"role": "user", "content": "\xff"}]}')),
        (b"400", _plain(b'{"messages": 5, "max_tokens": "x"}')),
        (b"403", _plain(b"{}", "evil.example")),
        (b"413", _endless),
        (b"", _half),
        (b"", _leave(0.5, True, service, tally)),
        (b"", _leave(0.5, False, service, tally)),
        (b"", _slowly),
    ]
    for i in itertools.count(number):
        if time.monotonic() > until:
            return
        wanted, attack = attacks[i % len(attacks)]
        heard = b"?"
        with suppress(OSError), socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            heard = attack(connection)
        tally.count("hostile requests")
        if wanted and not heard.startswith(b"HTTP/1.1 " + wanted) and heard not in (b"", b"?"):
            with tally.lock:
                tally.lost.append(f"hostile: {wanted!r} wanted, heard {heard[:60]!r}")
        time.sleep(0.02)


def soak(service: Service, minutes: float, clients: int) -> tuple[Tally, list[tuple[float, float]], float]:
    """What the clients saw, (seconds, resident bytes) of the server, and the joules of answers before they came."""
    tally, alone = Tally(), dict[tuple[str, int], Any]()
    connection = HTTPConnection("127.0.0.1", service.port, timeout=120)
    for kind in ("whole", "streamed", *(["classify"] if service.chooses else [])):
        for n in range(20):
            alone[kind, n] = ask(connection, kind, n, service.chooses, Tally())
    before = service.metric('lightbulb_energy_joules_total{of="answers"')
    begin = time.monotonic()
    until = begin + 60 * minutes
    jobs = [
        threading.Thread(target=hostile, args=(service, n, until, tally))
        if n % 8 == 7
        else threading.Thread(target=good, args=(service, n, until, tally, alone))
        for n in range(clients)
    ]
    for job in jobs:
        job.start()
    memory = []
    while any(job.is_alive() for job in jobs):
        memory.append((time.monotonic() - begin, service.memory()))
        time.sleep(0.5)
    while service.metric("lightbulb_waiting_requests"):
        time.sleep(0.1)
    time.sleep(1.0)  # what was being written for clients that had left
    return tally, memory, before


def growth(memory: list[tuple[float, float]]) -> float:
    """Of the resident memory over the second half, as a share, along a straight line."""
    seconds, sizes = np.array(memory[len(memory) // 2 :]).T
    slope, _ = np.polyfit(seconds, sizes, 1)
    return float(slope * (seconds[-1] - seconds[0]) / sizes[0])


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"


def render(service: Service, tally: Tally, memory: list[tuple[float, float]], before: float, minutes: float) -> str:
    """The table, and what of it is as wanted."""
    answers, seconds = tally.counts["answers"], memory[-1][0]
    windows = service.metric('lightbulb_energy_joules_total{of="answers"') - before
    unheard = service.metric('lightbulb_energy_joules_total{of="unheard"')
    balance = (tally.joules + unheard) / windows - 1
    grown = growth(memory)
    sizes = [size / 1e6 for _, size in memory]
    own, all_of_it = (1e3 * x / answers for x in (tally.cpu, service.metric('lightbulb_cpu_seconds_total{of="all"')))
    together = service.metric("lightbulb_answers_total") / service.metric("lightbulb_windows_total")
    counts = tally.counts
    rows = [
        ("answers; a second", f"{answers:,}; {answers / seconds:,.0f}"),
        *((f"{kind}: requests; p50, p99, longest", _tails(s)) for kind, s in sorted(tally.seconds.items())),
        ("hostile requests; told to come back", f"{counts['hostile requests']:,}; {counts['told to come back']:,}"),
        ("lost answers, wrong refusals", f"{len(tally.lost):,}"),
        ("answers unlike those given when alone", f"{counts['unlike alone']:,}"),
        ("answers of one window, on average", f"{together:.1f}"),
        ("resident memory: first, last, most", f"{sizes[0]:.0f}, {sizes[-1]:.0f}, {max(sizes):.0f} MB"),
        ("its growth over the second half", f"{grown:+.2%} ({'flat' if abs(grown) < FLAT else 'NOT FLAT'})"),
        ("joules heard; unheard; of all windows", f"{tally.joules:.3f}; {unheard:.3f}; {windows:.3f} J"),
        ("heard and unheard against windows", f"{balance:+.4%}"),
        ("CPU of an answer, in its window; of all of the process", f"{own:.3f}; {all_of_it:.3f} ms"),
    ]
    about = f"{processor_name()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, {date.today()}"
    what = f"{service.told['file']} in {service.told['runtime']}, {minutes:g} minutes, commit {commit()}"
    lines = [about, what, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join([*lines, *(f"lost: {what}" for what in tally.lost[:5])])


def _tails(seconds: list[float]) -> str:
    ends = [*np.percentile(seconds, [50, 99]), max(seconds)]
    return f"{len(seconds):,}; " + ", ".join(f"{end * 1e3:,.0f} ms" for end in ends)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a run folder or a .gguf file")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--runtime", default="llamacpp")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    service = Service(asked.model, asked.runtime, asked.threads, waiting=128)
    try:
        tally, memory, before = soak(service, asked.minutes, asked.clients)
        print(render(service, tally, memory, before, asked.minutes))
    finally:
        service.process.send_signal(signal.SIGTERM)
        code = service.process.wait(60)
    print(f"\nstopped with exit code {code}")
    return int(bool(tally.lost) or code != 0)


if __name__ == "__main__":
    sys.exit(main())
