"""The grammar of the built-in task "home", as data: what people say around the house and the call that is meant.

Left of a colon stands the value in the call, right of it the ways to say it. In a phrase, {it} is a device in a room
("the kitchen lamp", "the lamp in the kitchen"), {room} a room, and every other brace a value of that name.
"""

from __future__ import annotations

from dataclasses import dataclass

ROOMS = {
    "kitchen": ["kitchen"],
    "bedroom": ["bedroom", "main bedroom"],
    "living": ["living room", "lounge", "sitting room"],
    "bathroom": ["bathroom", "bath room"],
    "office": ["office", "study"],
    "hall": ["hall", "hallway", "corridor"],
    "nursery": ["nursery", "babys room"],
    "garage": ["garage"],
    "attic": ["attic", "loft"],
    "cellar": ["cellar", "basement"],
    "dining": ["dining room"],
    "guest": ["guest room", "spare room"],
    "laundry": ["laundry", "laundry room", "utility room"],
    "porch": ["porch"],
}

DEVICES = {
    "lamp": ["lamp", "light", "lights"],
    "heater": ["heater", "heating", "radiator"],
    "fan": ["fan", "ventilator"],
    "tv": ["tv", "television", "telly"],
    "speaker": ["speaker", "speakers"],
    "blind": ["blind", "blinds", "shutters"],
    "curtain": ["curtain", "curtains", "drapes"],
    "window": ["window", "windows"],
    "door": ["door"],
    "socket": ["socket", "plug", "outlet"],
    "humidifier": ["humidifier"],
    "camera": ["camera", "cam"],
}

COLORS = {name: [name] for name in ("red", "green", "blue", "orange", "purple", "pink", "yellow")} | {
    "warm": ["warm white", "a warm white", "candle light"], "cold": ["cold white", "daylight", "cool white"]}
MUSIC = {name: [name] for name in ("jazz", "rock", "folk", "blues", "techno", "soul", "opera")} | {
    "classical": ["classical", "classical music", "something classical"], "news": ["the news", "news"],
    "rain": ["rain sounds", "the sound of rain"], "pop": ["pop", "pop music", "the charts"]}
TIMERS = {name: [name] for name in ("pasta", "tea", "rice", "pizza", "bread", "workout", "break", "bath", "cake")} | {
    "egg": ["egg", "eggs"], "laundry": ["laundry", "washing"], "nap": ["nap", "power nap"]}
DAYS = {name: [name, f"on {name}"] for name in
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")} | {
    "tomorrow": ["tomorrow"], "daily": ["every day", "each day", "daily"], "weekdays": ["on weekdays", "every weekday"],
    "weekend": ["at the weekend", "on weekends"]}
LEVEL_WORDS = {25: ["a quarter", "one quarter"], 50: ["half", "halfway"], 75: ["three quarters"],
               100: ["full", "maximum", "the max"]}

VALUES: dict[str, dict[str, list[str]]] = {"color": COLORS, "music": MUSIC, "name": TIMERS, "day": DAYS}
NUMBERS = {"level": range(5, 101, 5), "celsius": range(15, 27), "by": range(5, 45, 5), "minutes": range(2, 61)}


@dataclass(frozen=True, slots=True)
class Command:
    """What can be said to do one thing to some devices. `slots` are the values it takes, in the order of the call.
    `later`: whether it can be put off ("in ten minutes", "at half past six in the evening")."""

    do: str
    devices: tuple[str, ...]
    phrases: tuple[str, ...]
    slots: tuple[str, ...] = ()
    later: bool = True
    weight: int = 2


POWERED = ("lamp", "heater", "fan", "tv", "speaker", "socket", "humidifier", "camera")
COVERS = ("blind", "curtain", "window", "door")
COMMANDS = (
    Command("on", POWERED, (
        "turn on {it}", "turn {it} on", "switch on {it}", "switch {it} on", "put {it} on", "get {it} going", "{it} on",
        "power up {it}", "start {it}", "i want {it} on", "i need {it} running", "make sure {it} is on", "have {it} on",
        "fire up {it}"), weight=4),
    Command("off", POWERED, (
        "turn off {it}", "turn {it} off", "switch off {it}", "switch {it} off", "put {it} off", "{it} off", "kill {it}",
        "shut {it} down", "power down {it}", "stop {it}", "i dont need {it} any more", "make sure {it} is off",
        "i want {it} off", "no one needs {it} now so turn it off"), weight=4),
    Command("set", ("lamp", "fan", "speaker", "blind", "humidifier"), (
        "set {it} to {level}", "put {it} at {level}", "bring {it} to {level}", "{it} to {level}", "{it} at {level}",
        "change {it} to {level}", "i want {it} at {level}", "make {it} {level}", "adjust {it} to {level}",
        "take {it} to {level}", "let {it} go to {level}"), ("level",), weight=4),
    Command("set", ("heater",), (
        "set {it} to {celsius}", "heat the {room} to {celsius}", "warm the {room} to {celsius}", "{it} to {celsius}",
        "get the {room} to {celsius}", "i want {celsius} in the {room}", "make it {celsius} in the {room}",
        "keep the {room} at {celsius}", "bring the {room} to {celsius}", "the {room} should be {celsius}"),
        ("celsius",), weight=3),
    Command("raise", ("lamp", "fan", "speaker", "blind"), (
        "raise {it} by {by}", "turn up {it} by {by}", "turn {it} up {by}", "{it} up by {by}", "increase {it} by {by}",
        "bump {it} up {by}", "add {by} to {it}", "give me {by} more on {it}"), ("by",)),
    Command("lower", ("lamp", "fan", "speaker", "blind"), (
        "lower {it} by {by}", "turn down {it} by {by}", "turn {it} down {by}", "{it} down by {by}",
        "reduce {it} by {by}", "take {by} off {it}", "bring {it} down {by}", "drop {it} by {by}"), ("by",)),
    Command("open", COVERS, (
        "open {it}", "open up {it}", "{it} open", "get {it} open", "i want {it} open", "have {it} opened",
        "make sure {it} is open"), weight=3),
    Command("close", COVERS, (
        "close {it}", "shut {it}", "{it} closed", "get {it} closed", "i want {it} shut", "pull {it} shut",
        "have {it} closed", "make sure {it} is shut", "close up {it}"), weight=3),
    Command("lock", ("door", "window"), (
        "lock {it}", "lock up {it}", "{it} locked", "make sure {it} is locked", "bolt {it}", "secure {it}",
        "i want {it} locked", "put the lock on {it}")),
    Command("unlock", ("door", "window"), (
        "unlock {it}", "{it} unlocked", "undo the lock on {it}", "unbolt {it}", "i want {it} unlocked",
        "take the lock off {it}", "release {it}")),
    Command("color", ("lamp",), (
        "make {it} {color}", "turn {it} {color}", "set {it} to {color}", "change {it} to {color}", "{it} {color}",
        "i want {it} in {color}", "switch {it} to {color}", "give {it} {color}"), ("color",), weight=3),
    Command("play", ("speaker", "tv"), (
        "play {music} on {it}", "put {music} on {it}", "i want to hear {music} on {it}", "start {music} on {it}",
        "let me hear {music} from {it}", "some {music} on {it}", "have {it} play {music}", "{music} on {it}"),
        ("music",), weight=3),
    Command("ask", POWERED + COVERS, (
        "is {it} on or off", "whats the state of {it}", "tell me about {it}", "check {it}", "what about {it}",
        "how is {it}", "give me the status of {it}", "what is {it} doing"), later=False, weight=2),
    Command("on", ("lamp",), (
        "its too dark in the {room}", "i cant see a thing in the {room}", "give me some light in the {room}",
        "light up the {room}", "light the {room}", "the {room} is pitch dark"), later=False),
    Command("on", ("heater",), (
        "its freezing in the {room}", "im cold in the {room}", "the {room} is chilly", "warm up the {room}",
        "heat the {room}", "take the chill off the {room}"), later=False),
    Command("on", ("fan",), (
        "its stuffy in the {room}", "get the air moving in the {room}", "im sweating in the {room}",
        "the {room} needs a breeze", "cool down the {room}"), later=False),
    Command("timer", (), (
        "set a {name} timer for {minutes}", "{name} timer {minutes}", "start a timer for the {name} {minutes}",
        "time the {name} for {minutes}", "count down {minutes} for the {name}", "{minutes} on the {name} timer",
        "i need a {minutes} timer for the {name}", "tell me when the {name} has had {minutes}"),
        ("name", "minutes"), later=False, weight=4),
    Command("alarm", (), (
        "wake me {day} {at}", "set an alarm {day} {at}", "alarm {day} {at}", "get me up {day} {at}",
        "i have to get up {day} {at}", "ring me {day} {at}", "i want an alarm {at} {day}", "wake me up {at} {day}"),
        ("day", "at"), later=False, weight=4),
)

IT = ("the {room} {device}", "the {room} {device}", "{room} {device}", "the {device} in the {room}",
      "the {device} in the {room}", "that {device} in the {room}", "my {room} {device}", "the {device} of the {room}")
OPENERS = ("please", "could you", "can you", "can you please", "would you", "hey", "hey there", "ok", "right", "listen",
           "id like you to", "go and", "be so kind and", "quickly", "when you can", "hi", "alright", "so", "now",
           "oh and", "one more thing", "good morning", "im in a hurry")
CLOSERS = ("please", "thanks", "thank you", "would you", "will you", "for me", "right now", "ok", "if you can",
           "cheers", "thats all", "and be quick")
HESITATIONS = ("um", "uh", "er", "hm", "well", "you know", "lets see", "uhm")
CORRECTIONS = ("no wait {new}", "no {new}", "sorry {new}", "sorry i mean {new}", "i mean {new}", "actually {new}",
               "wait no {new}", "scratch that {new}", "or rather {new}", "no hang on {new}")
NEW_ROOM = ("the {room}", "in the {room}", "the {room} one", "the one in the {room}")
DAY_PARTS = {range(5, 12): ["in the morning", "a m"], range(12, 18): ["in the afternoon", "p m"],
             range(18, 23): ["in the evening", "p m"]}
