"""Writes tickets.jsonl: 120 made-up support tickets, each with the team that should answer it. Nobody wrote them.

python examples/make_tickets.py
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

OPENINGS = ("", "Hello, ", "Hi there. ", "Good morning, ", "Second message from me: ", "Not urgent, but ")
CLOSINGS = ("", " Thanks!", " Can somebody help?", " Please call me back.", " What should I do?")
THINGS = ("kettle", "desk lamp", "rucksack", "bicycle light", "coffee grinder", "radio")
TICKETS = {
    "delivery": (
        "my {thing} was due on {day} and has still not come.",
        "the parcel with the {thing} is stuck since {day}.",
        "can the {thing} go to my neighbour, nobody is home on {day}?",
        "tracking says the {thing} was handed over on {day}, but there is nothing at my door.",
    ),
    "billing": (
        "I was charged twice for the {thing} on {day}.",
        "the invoice for the {thing} from {day} shows a wrong address.",
        "my card was declined on {day} when I paid for the {thing}.",
        "the voucher did not count when I bought the {thing} on {day}.",
    ),
    "returns": (
        "I want to send the {thing} back, it came on {day} and is too small.",
        "the {thing} arrived broken on {day} and I would like another one.",
        "how long can I return the {thing} that I got on {day}?",
        "I posted the {thing} back on {day}; when do I see my money?",
    ),
    "account": (
        "since {day} I cannot log in to look at my order of a {thing}.",
        "please delete my account, the last thing I bought was a {thing} on {day}.",
        "I changed my e-mail on {day} and the news about the {thing} still goes to the old one.",
        "the code to reset my password never came on {day}, and I only wanted to rate a {thing}.",
    ),
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
EACH = 30


def tickets(seed: int = 0) -> list[dict[str, str]]:
    rng = random.Random(seed)
    rows = []
    for team, phrases in TICKETS.items():
        for phrase, thing, day in rng.sample(list(itertools.product(phrases, THINGS, DAYS)), EACH):
            text = rng.choice(OPENINGS) + phrase.format(thing=thing, day=day) + rng.choice(CLOSINGS)
            rows.append({"prompt": text[0].upper() + text[1:], "completion": team})
    rng.shuffle(rows)
    return rows


if __name__ == "__main__":
    lines = [json.dumps(row) + "\n" for row in tickets()]
    Path(__file__).with_name("tickets.jsonl").write_text("".join(lines), encoding="utf-8")
