"""What a piece of work takes: joules, CPU seconds, grams of CO2e.

python examples/meter.py
"""

from __future__ import annotations

import hashlib

import lightbulb


@lightbulb.meter("as a decorator", zone="FRA")
def hash_for_a_while(rounds: int) -> str:
    digest = b"light"
    for _ in range(rounds):
        digest = hashlib.sha256(digest * 1000).digest()
    return digest.hex()


if __name__ == "__main__":
    with lightbulb.meter("as a block", zone="FRA", pue=1.2, csv="emissions.csv") as m:
        hash_for_a_while(50_000)
    for figure in (m.joules, m.cpu_seconds, m.wall_seconds, m.grams_co2e):
        print(f"{figure}\n    {figure.source}: {figure.method}")
    print("one row was added to emissions.csv")
