"""A model in several GGUF files is one model: all of it, or one clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_model

from lightbulb.core.errors import ModelError
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.gguf import write_gguf
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.resolve import fingerprint, resolve
from lightbulb.predicting.shapes import from_model

COUNT = 4


def split(whole: Path, folder: Path, *, tensors_in_first: bool = True, total: int | None = None) -> list[Path]:
    """As llama-gguf-split names and marks parts."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(whole)
    count = len(reader.tensors)
    ends = [i * count // COUNT for i in range(COUNT + 1)]
    if not tensors_in_first:
        ends[1] = 0
    folder.mkdir()
    for i in range(COUNT):
        writer = GGUFWriter(folder / f"m-{i + 1:05d}-of-{COUNT:05d}.gguf", "llama")
        for field in reader.fields.values() if i == 0 else ():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                kind = field.types[0]
                inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
                writer.add_key_value(field.name, field.contents(), kind, inner)
        writer.add_uint16("split.no", i)
        writer.add_uint16("split.count", COUNT)
        writer.add_int32("split.tensors.count", total or count)
        for tensor in reader.tensors[ends[i] : ends[i + 1]]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    tiny_model(folder / "model", "llama")
    write_gguf(folder / "model", folder / "whole.gguf", "q8_0")
    return folder / "whole.gguf"


@pytest.fixture(scope="module", params=[True, False], ids=["tensors in the first", "keys alone in the first"])
def parts(whole, request) -> list[Path]:
    folder = whole.parent / f"parts-{request.param}"
    return split(whole, folder, tensors_in_first=request.param)


def test_all_parts_are_one_model(whole, parts):
    one, many = read_header(whole), read_header(parts[0])
    assert [t.name for t in many.tensors] == [t.name for t in one.tensors] and many.files == tuple(parts)
    assert many.bytes == sum(p.stat().st_size for p in parts) and one.bytes == whole.stat().st_size
    assert from_model(str(parts[0])) == from_model(str(parts[0].parent)) == from_model(str(whole))
    infos = read_gguf(whole), read_gguf(parts[0])
    assert infos[0].parameters == infos[1].parameters and infos[1].bytes == many.bytes


def test_imported_it_has_the_weights_of_the_whole(whole, parts, tmp_path):
    from safetensors.numpy import load_file

    from lightbulb.models.importing import import_model

    folders = []
    for file in (whole, parts[0]):
        import_model(resolve(str(file)), folder := tmp_path / file.stem)
        folders.append(load_file(folder / "model.safetensors"))
    assert folders[0].keys() == folders[1].keys()
    assert all(np.array_equal(folders[0][name], folders[1][name]) for name in folders[0])


def test_llama_cpp_answers_as_from_the_whole(whole, parts):
    from lightbulb.runtimes import open_gguf

    said = []
    for file in (whole, parts[0]):
        runtime = open_gguf(file, threads=1, context=64)
        said.append(runtime.write_exactly([runtime.tokenize("play some music")], 8).texts)
        runtime.close()
    assert said[0] == said[1]


def test_any_part_decides_the_fingerprint(parts, tmp_path):
    copied = [Path(shutil.copy(part, tmp_path)) for part in parts]
    before = fingerprint(resolve(str(copied[0])))
    assert before == fingerprint(resolve(str(parts[0])))
    with copied[2].open("r+b") as f:
        f.seek(-40, 2)
        f.write(b"\x01\x02\x03")
    assert fingerprint(resolve(str(copied[0]))) != before


def drop(files: list[Path]) -> Path:
    files[2].unlink()
    return files[0]


def later(files: list[Path]) -> Path:
    return files[1]


def renamed(files: list[Path]) -> Path:
    return files[0].rename(files[0].with_name("model.gguf"))


def swapped(files: list[Path]) -> Path:
    aside = files[1].rename(files[1].with_name("aside"))
    files[2].rename(files[1])
    aside.rename(files[2])
    return files[0]


def doubled(files: list[Path]) -> Path:
    shutil.copy(files[0], files[1])
    return files[0]


def other_count(files: list[Path]) -> Path:
    return [f.rename(f.with_name(f.name.replace("of-00004", "of-00005"))) for f in files][0]


def foreign(files: list[Path]) -> Path:
    shutil.copy(files[0].parent.parent.parent / "whole.gguf", files[3])
    return files[0]


def cut(files: list[Path]) -> Path:
    files[3].write_bytes(files[3].read_bytes()[:-4000])
    return files[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop, "1 of this model's 4 parts are missing: m-00003-of-00004.gguf"),
        (later, "part 2 of 4"),
        (renamed, "its name does not say so"),
        (swapped, "says that it is part 3 of 4"),
        (doubled, "says that it is part 1 of 4"),
        (other_count, "its name does not say so"),
        (foreign, "says that it is part 1 of 0"),
        (cut, "m-00004-of-00004.gguf is not a readable GGUF"),
    ],
)
def test_what_is_not_whole_is_one_clear_error(whole, spoil, message, tmp_path):
    shutil.copy(whole, tmp_path / "whole.gguf")
    (tmp_path / "run").mkdir()
    file = spoil(split(whole, tmp_path / "run" / "parts"))
    with pytest.raises(ModelError, match=message) as e:
        resolve(str(file))
    assert e.value.hint


def test_a_total_that_does_not_fit_is_refused(whole, tmp_path):
    with pytest.raises(ModelError, match="do not belong together"):
        read_header(split(whole, tmp_path / "parts", total=9)[0])
