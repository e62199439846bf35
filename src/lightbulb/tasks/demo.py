"""The built-in task "home": spoken home-control commands to a JSON call, as a board in the wall would do.

The words are those of a speech recogniser: lower case, no punctuation, spoken numbers, hesitations, and people who
change their mind ("no wait the bedroom"). The test split is compositional: each (do, device, room) of test (for timers
and alarms: each whole call) is one that train never shows, while each part of it, and each do with its device, is in
train. Validation is held apart in the same way.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lightbulb.tasks import home_grammar as grammar
from lightbulb.tasks.home_grammar import Command
from lightbulb.tasks.task import Example, SplitName, Task

Call = dict[str, str | int]
TEENS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WHEN_OF_TEN, CORRECTED_OF_TEN, HESITANT_OF_TEN, POLITE_OF_TEN, DIGITS_OF_TEN = 2, 2, 3, 4, 2
FEWEST_TRAIN = 100  # with fewer, train may lack the parts that test needs


def home_task(seed: int = 0, *, train: int = 2000, validation: int = 120, test: int = 200) -> Task:
    """The demo task; the same `seed` gives the same task everywhere.

    Args:
        seed: of all draws
        train: examples
        validation: examples
        test: examples

    Raises:
        ValueError: fewer than FEWEST_TRAIN training examples
    """
    if train < FEWEST_TRAIN:
        raise ValueError(f"{train} training examples; at least {FEWEST_TRAIN} are needed to hold every part")
    wanted: dict[SplitName, int] = {"train": train, "validation": validation, "test": test}
    splits: dict[SplitName, list[Example]] = {"train": [], "validation": [], "test": []}
    parts: set[object] = set()
    seen: set[str] = set()
    draws = spoken_calls(seed)
    for name in ("train", "validation", "test"):
        while len(splits[name]) < wanted[name]:
            spoken, call = next(draws)
            if split_of(call, seed) != name or name != "train" and not parts_of(call) <= parts:
                continue
            example = Example(spoken, json.dumps(call, separators=(",", ":")))
            if (key := example.key()) not in seen:
                seen.add(key)
                splits[name].append(example)
                if name == "train":
                    parts |= parts_of(call)
    return Task(
        name="home",
        kind="generate",
        metric="json-match",
        train=tuple(splits["train"]),
        validation=tuple(splits["validation"]),
        test=tuple(splits["test"]),
        source="home",
        findings=("built-in: every composition of do, device and room in test is absent from train",),
    )


def composition(call: Call) -> str:
    """What must not be in two splits: do, device and room, or the whole call where there is no room."""
    names = ("do", "device", "room") if "room" in call else tuple(call)
    return json.dumps([call[name] for name in names])


def parts_of(call: Call) -> set[object]:
    """The parts that train must show before test may combine them. A time counts as its hour and its minute."""
    pairs = set[object](call.items())
    for name in ("at", "in"):
        if name in call:
            pairs.discard((name, call[name]))
            pairs |= {(name, i, part) for i, part in enumerate(str(call[name]).split(":"))}
    return pairs | {(call["do"], call.get("device"))}


def split_of(call: Call, seed: int) -> SplitName:
    """Which split a call is in, by its composition."""
    bucket = hashlib.sha256(f"{seed}:{composition(call)}".encode()).digest()[0] / 256
    return "test" if bucket < 0.2 else "validation" if bucket < 0.3 else "train"


def spoken_calls(seed: int) -> Iterator[tuple[str, Call]]:
    """Endless draws of (what is spoken, the call that is meant)."""
    rng = random.Random(f"home {seed}")
    weights = [c.weight for c in grammar.COMMANDS]
    while True:
        command = rng.choices(grammar.COMMANDS, weights)[0]
        yield _Speaker(rng, command).say()


@dataclass
class _Speaker:
    """One person saying one command: chance and the command, so that each habit of speech is one short method."""

    rng: random.Random
    command: Command

    def say(self) -> tuple[str, Call]:
        call: Call = {"do": self.command.do}
        if self.command.devices:
            call["device"] = self.rng.choice(self.command.devices)
            call["room"] = self.rng.choice(list(grammar.ROOMS))
        for slot in self.command.slots:
            call[slot] = self.draw(slot)
        phrase = self.rng.choice(self.command.phrases)
        spoken = self.corrected(phrase, call) if self.one_in_ten(CORRECTED_OF_TEN) else self.filled(phrase, call)
        if self.command.later and self.one_in_ten(WHEN_OF_TEN):
            slot = self.rng.choice(("in", "at"))
            call[slot] = self.draw(slot)
            when = self.spoken(slot, call[slot])
            spoken = f"{when} {spoken}" if self.rng.random() < 0.4 else f"{spoken} {when}"
        return self.mannered(spoken), call

    def one_in_ten(self, times: int) -> bool:
        return self.rng.random() * 10 < times

    def draw(self, slot: str) -> str | int:
        if slot == "at":
            return f"{self.rng.randrange(5, 23):02d}:{self.rng.randrange(0, 60, 5):02d}"
        if slot == "in":
            return self.rng.choice((*range(2, 10), *range(10, 65, 5)))
        if slot in grammar.NUMBERS:
            return self.rng.choice(grammar.NUMBERS[slot])
        return self.rng.choice(list(grammar.VALUES[slot]))

    def filled(self, phrase: str, call: Call) -> str:
        return phrase.replace("{it}", self.rng.choice(grammar.IT)).format_map(
            {slot: self.spoken(slot, value) for slot, value in call.items()}
        )

    def corrected(self, phrase: str, call: Call) -> str:
        """Says something else first, then takes one slot of it back."""
        slot = self.rng.choice([s for s in call if s not in ("do", "device")])
        other = self.redrawn(slot, call[slot])
        new = self.spoken(slot, call[slot])
        if slot == "room":
            new = self.rng.choice(grammar.NEW_ROOM).format(room=new)
        return f"{self.filled(phrase, {**call, slot: other})} {self.rng.choice(grammar.CORRECTIONS).format(new=new)}"

    def redrawn(self, slot: str, meant: str | int) -> str | int:
        """Another value than the one that is meant."""
        draw: Callable[[], str | int] = (
            (lambda: self.rng.choice(list(grammar.ROOMS))) if slot == "room" else (lambda: self.draw(slot))
        )
        while (other := draw()) == meant:
            pass
        return other

    def spoken(self, slot: str, value: str | int) -> str:
        """One way to say a value of a slot."""
        if slot == "at":
            return f"at {self.clock(str(value))}"
        if isinstance(value, int):
            return self.quantity(slot, value)
        named = {"room": grammar.ROOMS, "device": grammar.DEVICES, **grammar.VALUES}.get(slot, {})
        return self.rng.choice(named.get(value, [value]))

    def quantity(self, slot: str, value: int) -> str:
        if slot == "level" and value in grammar.LEVEL_WORDS and self.rng.random() < 0.4:
            return self.rng.choice(grammar.LEVEL_WORDS[value])
        number = str(value) if self.one_in_ten(DIGITS_OF_TEN) else number_words(value)
        if slot in ("level", "by"):
            return f"{number} percent"
        if slot == "celsius":
            return f"{number} {self.rng.choice(('degrees', 'degrees', 'celsius', 'degrees celsius'))}"
        if slot == "in":
            return f"in {self.rng.choice(('', '', 'about '))}{number} minutes"
        return f"{number} {self.rng.choice(('minutes', 'minutes', 'minute'))}"

    def clock(self, at: str) -> str:
        """A time of day such as 18:30 as people say it; the hour of twelve is noon."""
        hour, minute = int(at[:2]), int(at[3:])
        if self.one_in_ten(DIGITS_OF_TEN):
            return f"{hour} {minute:02d}" if minute else f"{hour} hundred hours"
        near, following = number_words((hour - 1) % 12 + 1), number_words(hour % 12 + 1)
        minutes = number_words(minute) if minute > 9 else f"oh {number_words(minute)}"
        ways = [f"{near} {minutes}" if minute else self.rng.choice((near, f"{near} oclock"))]
        if minute == 30:
            ways.append(f"half past {near}")
        elif minute in (15, 45):
            ways.append(f"quarter past {near}" if minute == 15 else f"quarter to {following}")
        elif 0 < minute < 30:
            ways.append(f"{number_words(minute)} past {near}")
        elif minute > 30:
            ways.append(f"{number_words(60 - minute)} to {following}")
        part = next(phrases for hours, phrases in grammar.DAY_PARTS.items() if hour in hours)
        return f"{self.rng.choice(ways)} {self.rng.choice(part)}"

    def mannered(self, spoken: str) -> str:
        """Politeness around a command and hesitation inside it."""
        if self.one_in_ten(POLITE_OF_TEN):
            spoken = f"{self.rng.choice(grammar.OPENERS)} {spoken}"
        if self.one_in_ten(POLITE_OF_TEN - 1):
            spoken = f"{spoken} {self.rng.choice(grammar.CLOSERS)}"
        words = spoken.split()
        if self.one_in_ten(HESITANT_OF_TEN):
            words.insert(self.rng.randrange(len(words)), self.rng.choice(grammar.HESITATIONS))
        if self.rng.random() < 0.05:  # a word said twice, as recognisers write it down; never a number
            at = self.rng.randrange(len(words))
            if words[at] in ("the", "in", "to", "turn", "set", "on", "please"):
                words.insert(at, words[at])
        return " ".join(words)


def number_words(n: int) -> str:
    """0 to 100 in words."""
    if n == 100:
        return "one hundred"
    return TEENS[n] if n < 20 else TENS[n // 10] + (f" {TEENS[n % 10]}" if n % 10 else "")
