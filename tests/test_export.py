"""What is exported is read by the libraries that people use, picture for picture, byte for byte."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from full_disk import largest_file
from service import picture

from asi_image_async import DiskSink, Generation, ImageRequest
from asi_image_async.core.decode import to_image
from asi_image_async.errors import ConfigurationError, SinkError
from asi_image_async.export import Lines, export_folder, read_picture
from asi_image_async.gallery import make_gallery

pytestmark = pytest.mark.anyio

PROMPTS = ["a red fox", 'quotes " and, commas\nand lines', "狐 é", "four"]


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """What a batch leaves, its page and recipes included: pictures of three kinds, columns of many kinds."""
    sink = DiskSink(tmp_path / "pictures", recipe="sidecar")
    await sink.open()
    for number, prompt in enumerate(PROMPTS):
        metadata: dict[str, Any] = {
            "n": number,
            "share": number / 2,
        }
        if number == 3:
            metadata |= {"deep": {"a": [1]}, "flag": True}
        request = ImageRequest(prompt=prompt, metadata=metadata, id=f"id.{number}")
        image = to_image(picture(("JPEG", "PNG", "WEBP")[number % 3], (20 + number, 20)))
        await sink.write(Generation(request=request, images=(image,)))
    await sink.close()
    make_gallery(tmp_path / "pictures")
    return tmp_path / "pictures"


def stored(folder: Path) -> dict[str, bytes]:
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["prompt"]: (folder / line["file_name"]).read_bytes() for line in map(json.loads, lines)}


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A program with a library of its own, run in a process of its own: what it prints, as JSON."""

    def load(code: str, *arguments: str | Path) -> Any:
        environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])

    return load


def hexed(pictures: dict[str, bytes]) -> dict[str, str]:
    return {prompt: data.hex() for prompt, data in pictures.items()}


DATASETS = """
import json, sys, datasets
datasets.disable_progress_bars()
kind, where = sys.argv[1:]
given = {"data_dir": where} if kind == "imagefolder" else {"data_files": where}
rows = datasets.load_dataset(kind, split="train", **given)
assert isinstance(rows.features["image"], datasets.Image)
sizes = [row["image"].size for row in rows]
rows = rows.cast_column("image", datasets.Image(decode=False))
def data(image):
    return image["bytes"] or open(image["path"], "rb").read()
print(json.dumps({row["prompt"]: [data(row["image"]).hex(), size] for row, size in zip(rows, sizes)}))
"""


async def test_the_folder_itself_is_an_imagefolder_of_datasets(folder: Path, loaded: Any) -> None:
    found = loaded(DATASETS, "imagefolder", folder)
    assert {prompt: data for prompt, (data, _) in found.items()} == hexed(stored(folder))


async def test_parquet_is_read_by_datasets_as_pictures(folder: Path, loaded: Any, tmp_path: Path) -> None:
    exported = export_folder(folder, "parquet", tmp_path / "out.parquet")
    assert (exported.pictures, exported.files) == (4, (tmp_path / "out.parquet",))
    found = loaded(DATASETS, "parquet", tmp_path / "out.parquet")
    assert {prompt: data for prompt, (data, _) in found.items()} == hexed(stored(folder))
    assert found["a red fox"][1] == [20, 20]


async def test_parquet_has_a_column_of_the_narrowest_kind_for_each_name(folder: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    lines = map(json.loads, (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    mixed = [
        json.dumps(line | {"mixed": value}) for line, value in zip(lines, [1, "text", 2.5, True], strict=True)
    ]
    (folder / "metadata.jsonl").write_text("\n".join([*mixed, ""]), encoding="utf-8")
    export_folder(folder, "parquet", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    kinds = {field.name: str(field.type) for field in table.schema}
    assert {name: kinds[name] for name in ("prompt", "n", "mixed", "share", "deep", "flag", "width")} == {
        "prompt": "string", "n": "int64", "mixed": "string", "share": "double", "deep": "string",
        "flag": "bool", "width": "int64",
    }  # fmt: skip
    assert table.column("deep").to_pylist() == [None, None, None, '{"a": [1]}']


async def test_a_column_that_is_named_image_is_kept_beside_the_pictures(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with open(folder / "metadata.jsonl", "r+", encoding="utf-8") as file:
        lines = [json.loads(line) | {"image": f"ref{number}.png"} for number, line in enumerate(file)]
        file.seek(0)
        file.writelines(json.dumps(line) + "\n" for line in lines)
    export_folder(folder, "parquet", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("given_image").to_pylist() == [f"ref{number}.png" for number in range(4)]
    assert all(picture["bytes"] for picture in table.column("image").to_pylist())


async def test_webdataset_reads_each_picture_with_its_line(folder: Path, loaded: Any, tmp_path: Path) -> None:
    exported = export_folder(folder, "webdataset", tmp_path / "shards")
    assert [file.name for file in exported.files] == ["pictures-000000.tar"]
    code = """
import json, sys, webdataset
found = {}
for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):
    (picture,) = [value for name, value in sample.items() if name in ("jpg", "png", "webp")]
    found[json.loads(sample["json"])["prompt"]] = picture.hex()
print(json.dumps(found))
"""
    assert loaded(code, exported.files[0]) == hexed(stored(folder))


async def test_shards_are_cut_and_named_after_the_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asi_image_async.export.shards._MOST_SAMPLES", 3)
    exported = export_folder(folder, "webdataset", tmp_path / "foxes.tar")
    assert [file.name for file in exported.files] == ["foxes-000000.tar", "foxes-000001.tar"]


async def test_of_an_earlier_export_no_shard_is_left_and_of_other_files_all_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asi_image_async.export.shards._MOST_SAMPLES", 1)
    assert len(export_folder(folder, "webdataset", tmp_path / "foxes.tar").files) == 4
    theirs = {"foxes-202501.tar", "foxes.tar", "foxes-x.tar", "hares-000001.tar"}
    for name in theirs:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    for gone in list(folder.glob("*.jpg")) + list(folder.glob("*.png")):
        gone.unlink()
    [only] = export_folder(folder, "webdataset", tmp_path / "foxes.tar").files
    assert {path.name for path in tmp_path.glob("*.tar")} == theirs | {only.name}


@pytest.mark.parametrize("before", [True, False])
async def test_where_a_later_shard_fails_the_earlier_ones_are_as_they_were(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr("asi_image_async.export.shards._MOST_SAMPLES", 1)
    if before:
        export_folder(folder, "webdataset", tmp_path / "shards")
        (tmp_path / "shards" / "pictures-000000.tar").write_bytes(b"earlier")
    content = {path: path.read_bytes() for path in (tmp_path / "shards").glob("*")}
    last = sorted(Lines(folder), key=lambda line: line["n"])[-1]["file_name"]
    (folder / last).write_bytes(bytes(100_000))
    with largest_file(50_000), pytest.raises(SinkError, match="cannot write"):
        export_folder(folder, "webdataset", tmp_path / "shards")
    assert {path: path.read_bytes() for path in (tmp_path / "shards").glob("*")} == content
    assert not list((tmp_path / "shards").glob(".*"))


@pytest.mark.parametrize(("to", "module"), [("parquet", "table"), ("webdataset", "shards")])
async def test_a_picture_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, module: str
) -> None:
    first, *_ = [line["file_name"] for line in Lines(folder)]

    def without_the_first(path: Path) -> bytes:
        (folder / first).unlink(missing_ok=True)  # after its line was found to have a picture
        return read_picture(path)

    monkeypatch.setattr(f"asi_image_async.export.{module}.read_picture", without_the_first)
    with pytest.raises(SinkError, match=f"cannot read .*{first}: No such file"):
        export_folder(folder, to, tmp_path / "out")


async def test_pictures_of_one_name_and_two_kinds_are_two(folder: Path, loaded: Any, tmp_path: Path) -> None:
    for number, (kind, suffix) in enumerate((("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"))):
        name = f"twin.{suffix}"
        (folder / name).write_bytes(picture(kind))
        with open(folder / "metadata.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"file_name": name, "prompt": f"twin {number}"}) + "\n")
    exported = export_folder(folder, "webdataset", tmp_path / "shards")
    code = """
import json, sys, webdataset
print(json.dumps([sample["__key__"] for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False)]))
"""
    assert loaded(code, exported.files[0])[-3:] == ["twin", "twin_jpg", "twin_gif"]


async def test_a_picture_that_is_taken_away_meanwhile_takes_no_other_with_it(folder: Path) -> None:
    lines = Lines(folder)
    (gone, *others) = [line["file_name"] for line in lines]
    (folder / gone).unlink()
    assert [line["file_name"] for line in lines] == others


async def test_csv_has_a_row_for_each_picture(folder: Path, tmp_path: Path) -> None:
    export_folder(folder, "csv", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == PROMPTS
    assert all((folder / row["file_name"]).is_file() for row in rows)
    assert (rows[3]["deep"], rows[3]["flag"], rows[0]["deep"], rows[3]["n"]) == (
        '{"a": [1]}',
        "true",
        "",
        "3",
    )


async def test_of_a_name_that_stands_twice_the_last_line_counts(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    with open(folder / "metadata.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(json.loads(lines[0]) | {"prompt": "the last"}) + "\n")
    assert export_folder(folder, "csv", tmp_path / "out.csv").pictures == 4
    assert "the last" in (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert PROMPTS[0] not in (tmp_path / "out.csv").read_text(encoding="utf-8")


async def test_what_cannot_be_exported_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no form that is known"):
        export_folder(folder, "zip", tmp_path / "x")
    with pytest.raises(ConfigurationError, match="no folder of a batch"):
        export_folder(tmp_path, "csv", tmp_path / "x.csv")
    for to in ("csv", "parquet"):
        with pytest.raises(SinkError, match="cannot write"):
            export_folder(folder, to, tmp_path / "nowhere" / "x")


async def test_without_pyarrow_it_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match="needs pyarrow") as told:
        export_folder(folder, "parquet", tmp_path / "x.parquet")
    assert "pip install" in told.value.hint


@pytest.mark.parametrize("to", ["csv", "parquet"])
async def test_nothing_that_belongs_to_the_batch_is_written_over(folder: Path, to: str) -> None:
    theirs = ["metadata.jsonl", next(folder.glob("*.jpg")).name, next(folder.glob("*.jpg.json")).name]
    for path in (folder / name for name in [*theirs, ".asi-image/sink.lock"]):
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match="belongs to the batch"):
            export_folder(folder, to, path)
        with pytest.raises(ConfigurationError, match="belongs to the batch"):
            make_gallery(folder, path)
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.parquet"])
async def test_no_export_is_read_as_a_second_metadata(folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="belongs to the batch"):
        export_folder(folder, Path(name).suffix[1:], folder / name)
    assert not (folder / name).exists()


@pytest.mark.parametrize("to", ["csv", "parquet", "webdataset"])
async def test_an_export_that_fails_leaves_the_earlier_one_as_it_was(
    folder: Path, tmp_path: Path, to: str
) -> None:
    target = tmp_path / "exported"
    [before] = export_folder(folder, to, target).files
    content = before.read_bytes()
    with largest_file(len(content) // 2), pytest.raises(SinkError, match="cannot write"):
        export_folder(folder, to, target)
    assert before.read_bytes() == content
    assert [path.name for path in before.parent.iterdir() if path.is_file()].count(before.name) == 1
    assert not list(before.parent.glob(".*.tmp"))


async def test_an_export_may_be_written_to_what_is_no_file(folder: Path) -> None:
    assert export_folder(folder, "csv", "/dev/null").pictures == 4
    assert not Path("/dev/null").is_file()
