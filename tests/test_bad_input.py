"""Whatever a user hands in: one clear error on stderr, the right exit code, nothing left behind."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
from conftest import choose_rows, write_rows

from lightbulb.cli import main


@pytest.fixture
def model(tiny_folder, tmp_path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def data(tmp_path) -> Path:
    return write_rows(tmp_path / "task.jsonl", choose_rows(60))


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs `lightbulb shrink`, expects one clear error and an untouched --out; returns the message."""

    def run(model, data, *more: str, code: int = 2, out: Path | None = None) -> str:
        folder = out or tmp_path / "out" / "run"
        capsys.readouterr()
        got = main(["shrink", str(model), "--task", str(data), "--out", str(folder), "--threads", "1", *more])
        printed, err = capsys.readouterr()
        assert got == code, err
        assert printed == "" and "Traceback" not in err and err.count("error: ") == 1
        assert len(err) < 2000, "one error, not a page"
        assert not folder.exists() or left_in(folder) == []
        return err[err.index("error: ") :]

    return run


def left_in(folder: Path) -> list[str]:
    """What a reader could take for a result; a finished step is whole, and the claim lets the same command resume."""
    whole = {"goal.json", "plan.json", "overhead.json", "events.jsonl", ".lock"}
    half = [str(p) for p in folder.rglob("*") if ".tmp" in p.name]
    return half + [p.name for p in folder.iterdir() if p.is_file() and p.name not in whole]


def lines(*rows: dict) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


ROW = json.dumps({"prompt": "hello there", "completion": "greeting"})
FILES = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n \n", "the file holds no rows"),
    "truncated": ("".join(json.dumps(r) + "\n" for r in choose_rows(40)).encode()[:-20], "cut off"),
    "mixed-encoding": (
        (ROW + "\n").encode() * 9 + '{"prompt": "café", "completion": "x"}\n'.encode("latin-1"),
        "not UTF-8",
    ),
    "utf-16": ((ROW + "\n").encode("utf-16") * 9, "UTF-16"),
    "nul": ((ROW + "\n").encode() * 9 + b"\0\n", "NUL"),
    "duplicate-only": ((ROW + "\n").encode() * 50, "every answer is 'greeting'"),
    "duplicate-prompts": (
        lines(*[{"prompt": "hi", "completion": "ab"[i % 2]} for i in range(50)]),
        "only 1 distinct example",
    ),
    "array": (json.dumps([json.loads(ROW)] * 9).encode(), "JSON array"),
    "not-objects": (b'"a"\n"b"\n' * 9, "not a JSON object"),
    "one-answer": (
        "".join(json.dumps({"prompt": f"p {i}", "completion": "a"}) + "\n" for i in range(50)).encode(),
        "nothing to choose",
    ),
    "too-few": ((ROW + "\n").encode() * 3, "at least 8"),
    "missing-columns": (lines(*[{"x1": f"p {i}", "x2": i, "x3": "y"} for i in range(50)]), "column"),
    "deep": (b"[" * 100_000 + b"\n", "nested too deeply"),
    "calls-of-tools": (
        lines(
            *[{"messages": [{"role": "user", "content": f"{i}"}, {"role": "tool", "content": "x"}]} for i in range(50)]
        ),
        "50 of 50 rows have calls of tools",
    ),
    "images": (
        lines(*[{"prompt": f"p {i}", "completion": "ab"[i % 2], "image": {"path": "x"}} for i in range(50)]),
        "50 of 50 rows have images",
    ),
    "empty-cells": (b'{"prompt": "", "completion": ""}\n' * 50, "empty prompt or completion"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_task_files(name, refused, tiny_folder, tmp_path):
    content, says = FILES[name]
    (tmp_path / "task.jsonl").write_bytes(content)
    error = refused(tiny_folder, tmp_path / "task.jsonl")
    assert says in error and "task.jsonl" in error
    assert not (tmp_path / "out").exists()


def test_a_file_of_one_endless_line(refused, tiny_folder, tmp_path):
    with (tmp_path / "task.jsonl").open("wb") as f:
        f.write(b'{"prompt": "')
        f.seek(100 * 2**20)
        f.write(b'"}')
    assert "longer than" in refused(tiny_folder, tmp_path / "task.jsonl")


def test_no_such_task(refused, tiny_folder, tmp_path):
    assert "task.jsonl" in refused(tiny_folder, tmp_path / "task.jsonl")


def test_a_named_column_that_is_missing(refused, tiny_folder, data):
    assert "questoin" in refused(tiny_folder, data, "--prompt", "questoin")


def test_a_label_seen_only_in_test(refused, tiny_folder, data, tmp_path):
    held = write_rows(tmp_path / "test.jsonl", [*choose_rows(9), {"prompt": "what", "completion": "never seen"}])
    error = refused(tiny_folder, data, "--test", str(held))
    assert "never seen" in error and "test.jsonl:10" in error


def test_bad_csv_and_parquet(refused, tiny_folder, tmp_path):
    (tmp_path / "task.csv").write_bytes(b'prompt,completion\n"open,never closed\n')
    assert "task.csv:2" in refused(tiny_folder, tmp_path / "task.csv")
    (tmp_path / "task.csv").write_bytes(b"prompt,completion\n" + b'"a" b,c\n' * 50)
    assert "task.csv:2" in refused(tiny_folder, tmp_path / "task.csv")
    (tmp_path / "task.csv").write_bytes("prompt;completion\ncafé;x\n".encode("windows-1252") * 50)
    error = refused(tiny_folder, tmp_path / "task.csv")
    assert "task.csv:2" in error and "iconv" in error
    (tmp_path / "task.parquet").write_bytes(b"PAR1 this is not")
    assert "task.parquet" in refused(tiny_folder, tmp_path / "task.parquet")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--keep", "1.2"), "keep"),
        (("--keep", "0"), "keep"),
        (("--keep", "97"), "--keep 0.97"),
        (("--keep", "nan"), "keep"),
        (("--at-least", "92"), "--at-least 0.92"),
        (("--at-least", "0"), "between 0 and 1"),
        (("--at-least", "nan"), "between 0 and 1"),
        (("--at-least", "1.2"), "--at-least 0.9"),
        (("--keep", "97", "--at-least", "0.9"), "--keep 0.97"),
        (("--max-time", "soon"), "is not a time"),
        (("--max-time", "1s"), "too few"),
        (("--max-time", "1h30"), "is not a time"),
        (("--metric", "acuracy"), "accuracy"),
        (("--metric", "no_such_module:f"), "no_such_module"),
        (("--zone", "atlantis"), "atlantis"),
        (("--threads", "0"), "threads"),
        (("--max-time", "20s"), "takes longer than"),
    ],
)
def test_bad_options(option, says, refused, tiny_folder, data):
    assert says in refused(tiny_folder, data, *option)


def test_a_time_too_short_leaves_the_folder_free_for_a_longer_one(refused, tiny_folder, data, tmp_path):
    refused(tiny_folder, data, "--max-time", "20s")
    assert not (tmp_path / "out" / "goal.json").exists()


def test_an_unknown_family(refused, model, data, tmp_path):
    config = json.loads((model / "config.json").read_text())
    other = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config | other))
    error = refused(model, data)
    assert "mamba" in error and "qwen3" in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_family_in_a_gguf(refused, model, data, tmp_path):
    from lightbulb.models.gguf import write_gguf

    file = tmp_path / "m.gguf"
    write_gguf(model, file, "f16")
    file.write_bytes(file.read_bytes().replace(b"llama", b"mamba"))
    error = refused(file, data)
    assert "mamba" in error and "qwen3" in error and "m.gguf" in error
    assert not (tmp_path / "out").exists()


def test_a_pickle(refused, model, data, tmp_path):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "pickle" in refused(model, data)
    assert not (tmp_path / "out").exists()


def test_code_in_the_model_folder(refused, model, data):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    assert "its own code" in refused(model, data)


@pytest.mark.parametrize("spoil", ["cut", "header", "empty", "garbage", "shape"])
def test_corrupt_safetensors(spoil, refused, model, data, tmp_path):
    file = model / "model.safetensors"
    whole = file.read_bytes()
    if spoil == "shape":
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    else:
        file.write_bytes(
            {
                "cut": whole[:-1000],
                "header": b"\xff" * 8 + whole[8:],
                "empty": b"",
                "garbage": whole[:8] + b"x" * 500 + whole[508:],
            }[spoil]
        )
    error = refused(model, data)
    assert "model" in error and "hint:" in error


def test_weights_that_are_not_there_any_more(refused, model, data, tmp_path):
    """As in a cache of which a part was deleted."""
    (model / "model.safetensors").rename(tmp_path / "blob")
    (model / "model.safetensors").symlink_to(tmp_path / "gone")
    assert "cannot read model.safetensors" in refused(model, data)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_truncated_tokenizer(file, refused, model, data, tmp_path):
    (model / file).write_text((model / file).read_text()[:200])
    assert str(model / file) in refused(model, data)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_ends_no_text_leaves_the_folder_free_for_the_mend(refused, model, data, tmp_path):
    file = model / "tokenizer_config.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in whole.items() if k != "eos_token"}))
    assert "eos_token" in refused(model, data)
    file.write_text(json.dumps(whole))
    assert "takes longer" in refused(model, data, "--max-time", "20s")  # and not: this folder holds another run


@pytest.mark.parametrize("key", ["tokenizer.ggml.merges", "llama.block_count", "tokenizer.ggml.eos_token_id"])
def test_a_gguf_without_what_it_needs(key, refused, model, data, tmp_path):
    from lightbulb.models.gguf import write_gguf

    file = tmp_path / "m.gguf"
    write_gguf(model, file, "f16")
    whole = file.read_bytes()
    assert whole.count(key.encode()) == 1
    file.write_bytes(whole.replace(key.encode(), key.encode()[:-1] + b"X"))
    assert "m.gguf" in refused(file, data)


@pytest.mark.parametrize("spoil", ["cut", "magic", "empty", "header"])
def test_corrupt_gguf(spoil, refused, model, data, tmp_path):
    from lightbulb.models.gguf import write_gguf

    file = tmp_path / "m.gguf"
    write_gguf(model, file, "f16")
    whole = file.read_bytes()
    file.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "magic": b"XXXX" + whole[4:],
            "empty": b"",
            "header": whole[:16] + b"\xff" * 16 + whole[32:],
        }[spoil]
    )
    assert "m.gguf" in refused(file, data)
    assert not (tmp_path / "out").exists()


def test_no_model(refused, data, tmp_path):
    assert "no model called" in refused("smollm3-135x", data)
    (tmp_path / "empty").mkdir()
    assert "config.json" in refused(tmp_path / "empty", data)


def test_out_below_a_file(refused, tiny_folder, data, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "a file stands where a folder is needed" in refused(tiny_folder, data, out=tmp_path / "file" / "run")
    assert main(["shrink", str(tiny_folder), "--task", str(data), "--out", str(tmp_path / "file")]) == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_no_permission_to_write(refused, tiny_folder, data, monkeypatch):
    """root may write anywhere, so the refusal is the system's own, raised for it."""
    made = Path.mkdir

    def mkdir(self, *args, **kwargs):
        if "out" in self.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return made(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert "no permission to write" in refused(tiny_folder, data)


@pytest.mark.parametrize("at", ["goal.json", "model.safetensors", "tokenizer.json", "lightbulb.json"])
def test_a_full_disk(at, refused, tiny_folder, data, tmp_path, monkeypatch):
    """The write of one file fails as on a full disk: exit 1, and the same command then resumes."""
    import safetensors.torch

    text, tensors, copied = Path.write_text, safetensors.torch.save_file, shutil.copyfile

    def full(path) -> None:
        if at in str(path) and "out" in Path(path).parts:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda self, *a, **k: (full(self), text(self, *a, **k))[1])
        patch.setattr(
            safetensors.torch, "save_file", lambda t, path, *a, **k: (full(path), tensors(t, path, *a, **k))[1]
        )
        patch.setattr(shutil, "copyfile", lambda a, b, **k: (full(b), copied(a, b, **k))[1])
        error = refused(tiny_folder, data, code=1)
    assert "no space left" in error and "resumes" in error
    folder = tmp_path / "out" / "run"
    assert [p for p in (folder / "steps").iterdir()] == []
    assert (folder / "goal.json").exists() == (at != "goal.json")


def test_a_disk_that_really_is_full(refused, tiny_folder, data):
    """/dev/full refuses every byte."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    from lightbulb.core.errors import StorageFull
    from lightbulb.core.files import plain_os_errors

    with pytest.raises(StorageFull), plain_os_errors(Path("/dev/full")), open("/dev/full", "w", buffering=1) as f:
        f.write("x\n")


def test_a_damaged_run_folder(tiny_folder, data, tmp_path, capsys):
    folder = tmp_path / "out"
    (folder / "steps").mkdir(parents=True)
    (folder / "goal.json").write_text("{")
    assert main(["shrink", str(tiny_folder), "--task", str(data), "--out", str(folder), "--threads", "1"]) == 1
    assert "cannot read a record" in capsys.readouterr().err


def test_bad_recipes(tiny_folder, data, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    for step, says in (
        ('label = "a"\npass = "explode"', "no pass 'explode'"),
        ('label = "a"\npass = "distill"', "needs an input 'logits'"),
        (
            'label = "a"\npass = "evaluate"\n[[step]]\nlabel = "b"\npass = "export"\n'
            'parameters = { quant_type = "f16" }',
            "the pass export reads model, and 'a' is of the kind figures",
        ),
        ('label = "a"\npass = "distill"\ninputs = { logits = "model" }', "'model' is of the kind model"),
        ('label = "a"\npass = "prune-depth"\nparameters = { layers = 99 }', "99 layers"),
    ):
        recipe.write_text(f'model = "{tiny_folder}"\ntask = "{data}"\n[[step]]\n{step}\n')
        assert main(["run", str(recipe), "--out", str(tmp_path / "out"), "--threads", "1"]) == 2
        err = capsys.readouterr().err
        assert says in err and "Traceback" not in err
        assert not (tmp_path / "out" / "goal.json").exists()  # the mended recipe may use this folder


def test_bad_questions(tmp_path, capsys):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert main(["ask", str(tmp_path / "m.gguf"), "hello"]) == 2
    assert "m.gguf" in capsys.readouterr().err


def test_a_model_without_a_tokenizer(refused, model, data):
    (model / "tokenizer.json").unlink()
    assert "tokenizer.json" in refused(model, data)


def test_a_template_that_another_program_renders_otherwise(model, tmp_path, refused):
    """Known before anything is trained; it names the user's model, and the folder is free for another try."""
    file = model / "tokenizer_config.json"
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | upper }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    )
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    turns = [
        {"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["completion"]}]}
        for r in choose_rows(60)
    ]
    out = tmp_path / "out" / "run"
    err = refused(model, write_rows(tmp_path / "chat.jsonl", turns), out=out)
    assert f"where: {model}" in err and "<think>" in err and "prompt and completion" in err
    assert not (out / "goal.json").exists()
