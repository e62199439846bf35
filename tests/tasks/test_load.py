"""Loading: what is inferred, what is removed and said, and one clear error for each bad file."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from samples import SAMPLES, beside

from lightbulb.core.errors import TaskError, UserError
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Example, Task

SORTS = ("billing", "delivery", "login")


def rows(n: int = 60) -> list[dict]:
    return [{"prompt": f"question number {i}", "completion": SORTS[i % 3]} for i in range(n)]


def jsonl(path: Path, items: list) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(path)


@pytest.fixture(params=["whole", "sample"])
def data(request):
    """Gives the folder of a published data set by its name: as it lies beside the checkout, and the sample of it."""
    return (lambda name: beside(f"data/{name}")) if request.param == "whole" else (lambda name: SAMPLES / name)


@pytest.mark.parametrize(
    ("name", "kind", "metric", "answers"),
    [
        ("arc", "choose", "accuracy", 5),
        ("banking77", "choose", "accuracy", 77),
        ("pubmedqa", "choose", "accuracy", 3),
        ("unfair_tos", "choose", "macro-f1", 2),
        ("finqa", "generate", "exact-match", 0),
        ("gsm8k", "generate", "exact-match", 0),
        ("nl2bash", "generate", "exact-match", 0),
        ("medquad", "generate", "exact-match", 0),
    ],
)
def test_real_data(data, name, kind, metric, answers):
    task = load_task(str(folder := data(name)))
    assert (task.name, task.kind, task.metric, len(task.answers)) == (name, kind, metric, answers)
    given = (folder / "test.jsonl").read_bytes().count(b"\n")
    assert len(task.test) == given > 15  # a given test set stays whole
    test_keys, validation_keys = {e.key() for e in task.test}, {e.key() for e in task.validation}
    train_keys = {e.key() for e in task.train}
    assert not train_keys & (test_keys | validation_keys) and not validation_keys & test_keys
    assert len({(e.key(), e.completion) for e in task.train}) == len(task.train) and 0 < len(task.validation) <= 1000


def test_real_text(data):
    task = load_task(str(folder := data("wikitext2")))
    assert (task.kind, task.metric) == ("text", "bits-per-byte")
    documents = [e.completion for e in (*task.train, *task.validation, *task.test)]
    given = (folder / "wiki.test.raw").read_text(encoding="utf-8")
    assert max(map(len, documents)) <= 2000 and sum(map(len, documents)) > 0.95 * len(given) > 25_000
    assert any("no train split" in f for f in task.findings)
    assert not any("GFDL" in d for d in documents)  # SOURCE.md is about the data, not of it


def test_leakage_is_reported_on_real_data(data):
    task = load_task(str(data("unfair_tos")))
    assert any("also in test: removed from train" in f for f in task.findings)
    assert any("duplicates removed" in f for f in task.findings)
    assert any("conflicting answers" in f for f in task.findings)


def test_the_same_task_from_every_format(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    items = [{"prompt": f'say, "{i}"\nplease ä', "completion": SORTS[i % 3]} for i in range(60)]
    jsonl(tmp_path / "a.jsonl", items)
    pq.write_table(pa.Table.from_pylist(items), tmp_path / "a.parquet")
    quoted = [f'"{r["prompt"].replace(chr(34), chr(34) * 2)}";{r["completion"]}' for r in items]
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["prompt;completion", *quoted]).encode())
    tasks = [load_task(str(tmp_path / f"a.{suffix}")) for suffix in ("jsonl", "parquet", "csv")]
    assert tasks[0].kind == "choose" and tasks[0].answers == SORTS
    assert len({t.fingerprint for t in tasks}) == 1
    assert len(tasks[0].train) + len(tasks[0].validation) + len(tasks[0].test) == 60


def test_mark_and_windows_line_ends(tmp_path):
    plain = load_task(jsonl(tmp_path / "plain.jsonl", rows()))
    (tmp_path / "windows.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (tmp_path / "plain.jsonl").read_bytes().replace(b"\n", b"\r\n")
    )
    assert load_task(str(tmp_path / "windows.jsonl")).fingerprint == plain.fingerprint


def test_chat(tmp_path):
    items = [
        {
            "messages": [
                {"role": "system", "content": "be short"},
                {"role": "user", "content": f"q{i}"},
                {"role": "assistant", "content": json.dumps({"n": i})},
            ]
        }
        for i in range(20)
    ]
    task = load_task(jsonl(tmp_path / "chat.jsonl", items))
    assert (task.kind, task.metric) == ("generate", "json-match")
    example = task.train[0]
    assert [m.role for m in example.messages] == ["system", "user"] and example.prompt == example.messages[-1].content
    bad = jsonl(tmp_path / "bad.jsonl", [*items, {"messages": [{"role": ["user"], "content": "x"}]}])
    with pytest.raises(TaskError, match="not a conversation") as e:
        load_task(bad)
    assert e.value.where == f"{bad}:21"


def test_folder_of_pages(tmp_path):
    (tmp_path / "deep").mkdir()
    for i in range(12):
        (tmp_path / "deep" / f"page{i}.md").write_text(
            "\n\n".join(f"Paragraph {i} {j} " + "word " * 40 for j in range(20))
        )
    (tmp_path / "test.md").write_text("a page that is about tests " * 90)  # one long paragraph: cut at a word
    task = load_task(str(tmp_path))
    documents = [e.completion for e in (*task.train, *task.validation, *task.test)]
    assert task.kind == "text" and all(len(d) <= 2000 for d in documents)
    assert sum(d.count("word") for d in documents) == 12 * 20 * 40 and sum(d.count("tests") for d in documents) == 90


def test_folder_of_splits(tmp_path):
    items = rows(90)
    jsonl(tmp_path / "train-00000-of-00001.jsonl", items[:70])
    jsonl(tmp_path / "dev.jsonl", items[60:80])
    jsonl(tmp_path / "test.jsonl", items[75:])
    jsonl(tmp_path / "extra.jsonl", [{"something": "else"}])
    task = load_task(str(tmp_path))
    assert (len(task.train), len(task.validation), len(task.test)) == (60, 15, 15)
    assert {
        "10 train examples also in validation: removed from train",
        "5 validation examples also in test: removed from validation",
    } <= set(task.findings)
    assert any("extra.jsonl was left out" in f for f in task.findings)
    with pytest.raises(TaskError, match="folders below"):
        load_task(str(tmp_path.parent))


def test_separate_test_file(tmp_path):
    source, test = jsonl(tmp_path / "a.jsonl", rows(60)), jsonl(tmp_path / "b.jsonl", rows(66)[50:])
    task = load_task(source, test=test)
    assert len(task.test) == 16 and len(task.train) + len(task.validation) == 50


def test_conflicts_keep_the_most_frequent_answer(tmp_path):
    odd = [{"prompt": "Odd  one", "completion": "login"}] + [{"prompt": "odd ONE", "completion": "billing"}] * 2
    task = load_task(jsonl(tmp_path / "a.jsonl", rows() + odd))
    found = [e.completion for e in (*task.train, *task.validation, *task.test) if "odd" in e.prompt.casefold()]
    assert found == ["billing"] and any("conflicting answers" in f for f in task.findings)


def test_label_only_in_test(tmp_path):
    jsonl(tmp_path / "train.jsonl", rows())
    jsonl(tmp_path / "test.jsonl", [{"prompt": "new", "completion": "login"}, {"prompt": "x", "completion": "refund"}])
    with pytest.raises(TaskError, match="'refund'") as e:
        load_task(str(tmp_path))
    assert e.value.where == f"{tmp_path}/test.jsonl:2"
    assert load_task(str(tmp_path), kind="generate").kind == "generate"


def test_the_only_example_of_an_answer_is_learned_and_one_lost_to_leakage_is_reported(tmp_path):
    lonely = {"prompt": "lonely", "completion": "rare"}
    source = jsonl(tmp_path / "a.jsonl", [*rows(120), lonely])
    for task in (load_task(source, seed=seed) for seed in range(12)):
        assert "rare" in {e.completion for e in task.train}
        assert any(f.startswith("test has no example of 'rare'") for f in task.findings)
    task = load_task(source, test=jsonl(tmp_path / "test.jsonl", [{"prompt": "new", "completion": "login"}, lonely]))
    assert "rare" in task.answers and any("train has no example of 'rare'" in f for f in task.findings)


def test_rare_answers_are_in_every_split_and_named(tmp_path):
    items = [{"prompt": f"clause {i}", "completion": "yes" if i in (5, 90, 130) else "no"} for i in range(200)]
    task = load_task(jsonl(tmp_path / "a.jsonl", items))
    assert [sum(e.completion == "yes" for e in s) for s in (task.train, task.validation, task.test)] == [1, 1, 1]
    assert {f"{s} has fewer than 5 examples of 'yes' (1): give more of them" for s in ("validation", "test")} <= {
        *task.findings
    }
    assert not any("fewer than" in f for f in load_task(jsonl(tmp_path / "b.jsonl", rows(90))).findings)
    for name, part in (("train", items[:150]), ("validation", items[150:170]), ("test", items[170:])):
        jsonl(tmp_path / "given" / f"{name}.jsonl", part)
    found = load_task(str(tmp_path / "given")).findings
    assert any(f.startswith("validation has no example of 'yes': ") for f in found)
    assert any(f.startswith("test has no example of 'yes': ") for f in found)


def test_skewed_answers_are_scored_by_macro_f1(tmp_path):
    items = [{"prompt": f"clause {i}", "completion": "unfair" if i % 10 == 0 else "fair"} for i in range(200)]
    source = jsonl(tmp_path / "a.jsonl", items)
    assert load_task(source).metric == "macro-f1" and load_task(source, metric="accuracy").metric == "accuracy"
    with pytest.raises(TaskError, match="does not fit"):
        load_task(source, metric="bits-per-byte")
    with pytest.raises(UserError, match="unknown metric"):
        load_task(source, metric="acuracy")
    with pytest.raises(TaskError, match="unknown kind"):
        load_task(source, kind="chose")  # type: ignore[arg-type]


BAD_FILES = {
    "empty": ("a.jsonl", b"", "is empty", None),
    "blank": ("a.jsonl", b"\n\n \n", "no rows", None),
    "header only": ("a.csv", b"prompt,completion\n", "no rows", None),
    "empty parquet": ("a.parquet", b"", "is empty", None),
    "truncated": ("a.jsonl", b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "comp', "cut off", 2),
    "not json": ("a.jsonl", b'{"prompt": "a", "completion": "b"}\nhello\n', "not JSON", 2),
    "not an object": ("a.jsonl", b"3\n", "not a JSON object", 1),
    "array": ("a.json", b'[{"prompt": "a", "completion": "b"}]\n', "one JSON array", 1),
    "pretty array": ("a.json", b'[\n {"prompt": "a"}\n]\n', "several lines", 1),
    "too deep": ("a.jsonl", b"[" * 200_000 + b"\n", "nested too deeply", 1),
    "latin-1": (
        "a.jsonl",
        b'{"prompt": "a", "completion": "b"}\n{"prompt": "caf\xe9", "completion": "b"}\n',
        "byte 0xe9 at offset 50 ",
        2,
    ),
    "utf-16": ("a.jsonl", '{"prompt": "a"}\n'.encode("utf-16"), "UTF-16", 1),
    "nul": ("a.txt", b"some text\nand a \0\n", "NUL byte at offset 16 ", 2),
    "surrogate": ("a.jsonl", b'{"prompt": "\\ud83d", "completion": "b"}\n', "surrogate", 1),
    "open quote": ("a.csv", b'prompt,completion\na,b\n"c,d\ne,f\n', "not CSV", 3),
    "ragged": ("a.csv", b"prompt,completion\na,b\nc,d,e\n", "3 cells where the header names 2", 3),
    "two names": ("a.csv", b"prompt,prompt\na,b\n", "same name", 1),
    "corrupt parquet": ("a.parquet", b"PAR1" + bytes(range(256)) + b"PAR1", "corrupt", None),
    "suffix": ("a.xlsx", b"PK", "unknown kind of file: .xlsx", None),
    "too few": ("a.jsonl", b'{"prompt": "a", "completion": "b"}\n', "only 1 example; at least 8", None),
    "duplicates only": (
        "a.jsonl",
        b'{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n' * 50,
        "only 2 distinct examples among 100; at least 8",
        None,
    ),
    "mostly empty": (
        "a.jsonl",
        b'{"prompt": "a", "completion": ""}\n' * 9 + b'{"prompt": "a", "completion": "b"}\n' * 8,
        "9 of 17 rows have an empty",
        1,
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(tmp_path, name):
    file, content, message, line = BAD_FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(TaskError) as e:
        load_task(str(path))
    assert message in e.value.what and e.value.hint and e.value.exit_code == 2
    assert e.value.where == (f"{path}:{line}" if line else str(path))


def test_same_answer_everywhere(tmp_path):
    source = jsonl(tmp_path / "a.jsonl", [{"prompt": f"q{i}", "completion": "yes"} for i in range(20)])
    with pytest.raises(TaskError, match="nothing to choose"):
        load_task(source)
    with pytest.raises(TaskError, match="no closed set"):
        load_task(
            jsonl(tmp_path / "b.jsonl", [{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(20)]), kind="choose"
        )


def test_train_equal_to_test(tmp_path):
    source = jsonl(tmp_path / "a.jsonl", rows())
    with pytest.raises(TaskError, match="nothing is left in train"):
        load_task(source, test=source)


def test_one_line_of_100_mb(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as f:
        f.write(b'{"prompt": "')
        f.truncate(100 * 2**20)  # sparse: the line goes on without end
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(TaskError, match="longer than 8 MB") as e:
        load_task(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20 and time.monotonic() - began < 5 and e.value.where == f"{path}:1"


def test_no_such_path(tmp_path):
    jsonl(tmp_path / "tickets.jsonl", rows())
    for typed in ("ticket.jsonl", "tickets.json"):
        with pytest.raises(TaskError, match="no such task") as e:
            load_task(str(tmp_path / typed))
        assert str(tmp_path / "tickets.jsonl") in (e.value.hint or "")
    for typed in ("hom", "data/missing.jsonl", "x" * 5000, "nul\0byte", str(tmp_path / "a" / "b")):
        with pytest.raises(TaskError, match="no such task"):
            load_task(typed)
    with pytest.raises(TaskError, match="not a regular file"):
        os.mkfifo(tmp_path / "pipe.jsonl")
        load_task(str(tmp_path / "pipe.jsonl"))


def test_no_permission(tmp_path, monkeypatch):
    source = jsonl(tmp_path / "a.jsonl", rows())

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # a real chmod does not stop root
    with pytest.raises(TaskError, match="no permission") as e:
        load_task(source)
    assert e.value.hint == f"chmod u+r {source}"


def test_hub_id(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    split = datasets.Dataset.from_dict(
        {"text": [f"t{i}" for i in range(40)], "label": [i % 2 for i in range(40)]}, features=features
    )
    asked = []

    def load(name, config):
        asked.append((name, config))
        if name == "no/such":
            raise FileNotFoundError("Dataset 'no/such' does not exist on the Hub")
        return datasets.DatasetDict({"train": split})

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    assert load_task("owner/reviews:small").answers == ("bad", "good")
    assert load_task("hf:plain").name == "plain"
    with pytest.raises(TaskError, match="does not exist on the Hub"):
        load_task("no/such")
    (tmp_path / "owner").mkdir()
    for typed in ("owner/reviews", "folder/file.jsonl", "./x/y"):  # a path was meant: the network is not asked
        with pytest.raises(TaskError, match="no such task"):
            load_task(typed)
    assert asked == [("owner/reviews", "small"), ("plain", None), ("no/such", None)]


def test_fast_enough(tmp_path):
    source = jsonl(tmp_path / "a.jsonl", rows(100_000))
    began = time.process_time()
    task = load_task(source)
    assert time.process_time() - began < 10
    assert len(task.validation) == 1000 and abs(len(task.test) - 10_000) < 400


def test_a_part_of_a_split_is_spread_over_it():
    """Files are often sorted by answer."""
    examples = tuple(Example(f"question {i}", "a" if i < 50 else "b") for i in range(100))
    task = Task("sorted", "choose", "accuracy", examples, (), examples, ("a", "b"))
    before: set[Example] = set()
    for limit in range(1, 100):
        part = task.split("train", limit)
        assert len(part) == limit and before < set(part), "a longer part holds the shorter one"
        assert sorted(part, key=examples.index) == list(part)
        assert abs(sum(e.completion == "a" for e in part) - limit / 2) <= 1.5
        before = set(part)
    assert task.split("test") == task.split("test", 100) == task.split("test", 1000) == examples
    assert task.split("validation", 5) == ()


def test_a_part_of_a_split_has_every_answer_where_each_counts():
    examples = tuple(Example(f"question {i}", {40: "rare", 77: "rarer"}.get(i, "usual")) for i in range(200))
    task = Task("skewed", "choose", "macro-f1", examples, (), examples, ("rare", "rarer", "usual"))
    for limit in (3, 20, 199):
        part = task.split("test", limit)
        numbers = [examples.index(e) for e in part]
        assert len(part) == limit and {e.completion for e in part} == {"rare", "rarer", "usual"}
        assert numbers == sorted(set(numbers))
    assert {e.completion for e in task.split("test", 1)} == {"usual"}


def test_a_task_tells_how_it_was_read(tmp_path):
    data = jsonl(tmp_path / "t.jsonl", [{"q": f"question {i}", "a": f"answer {i}"} for i in range(40)])
    task = load_task(data, prompt="q", completion="a", metric="chrf", seed=3)
    assert task.reading == {"prompt": "q", "completion": "a", "metric": "chrf"}
    assert load_task(task.source, seed=3, **task.reading).fingerprint == task.fingerprint
