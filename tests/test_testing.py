"""What `check_sink` promises: a sink that keeps the contract passes, one that does not is told which part."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asi_image_async import CallbackSink, DiskSink, Generation, MemorySink, Receipt, Sink, testing
from asi_image_async.testing import check_sink

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("recipe", ["none", "sidecar", "embed"])
async def test_a_folder_keeps_the_contract(tmp_path: Path, recipe: Any) -> None:
    await check_sink(lambda: DiskSink(tmp_path / "out", recipe=recipe))


async def test_a_folder_by_a_relative_name_keeps_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await check_sink(lambda: DiskSink("out"))


async def test_memory_keeps_the_contract() -> None:
    await check_sink(MemorySink)


async def test_a_function_keeps_the_contract() -> None:
    async def later(generation: Generation) -> None:
        await asyncio.sleep(0)

    await check_sink(lambda: CallbackSink(lambda generation: None))
    await check_sink(lambda: CallbackSink(later))


class Files:
    """A sink of files in its plainest form, for the broken ones to be broken in one place each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def name(self, generation: Generation, number: int) -> str:
        image = generation.images[number]
        text = f"{generation.request.prompt}{generation.occurrence}{number}"
        return f"{text.encode().hex()[-60:]}-{hash(text)}{image.suffix}"

    async def write(self, generation: Generation) -> Any:
        locations = []
        for number, image in enumerate(generation.images):
            path = self.folder / self.name(generation, number)
            path.write_bytes(image.data)
            locations.append(str(path))
        return Receipt(tuple(locations), sum(len(image.data) for image in generation.images))


async def test_a_plain_sink_of_a_user_keeps_the_contract(tmp_path: Path) -> None:
    await check_sink(lambda: Files(tmp_path))


class NotASink:
    async def write(self, generation: Generation) -> Receipt:
        return Receipt()


class ReturnsNothing(Files):
    async def write(self, generation: Generation) -> Any:
        await super().write(generation)


class NotAsync(Files):
    def open(self) -> Any:
        return "opened"


class CannotBeOpened(Files):
    async def open(self) -> None:
        raise PermissionError(13, "Permission denied")


class MiscountsBytes(Files):
    async def write(self, generation: Generation) -> Any:
        receipt = await super().write(generation)
        return Receipt(receipt.locations, receipt.bytes_written - 1)


class ForgetsTheSecondPicture(Files):
    async def write(self, generation: Generation) -> Any:
        receipt = await super().write(generation)
        return Receipt(receipt.locations[:1], receipt.bytes_written)


class ForgetsOccurrences(Files):
    def name(self, generation: Generation, number: int) -> str:
        return f"{generation.request.prompt.encode().hex()[-60:]}-{number}"


class DiffersInCaseOnly(Files):
    def name(self, generation: Generation, number: int) -> str:
        same = generation.request.prompt.casefold().encode().hex()[-60:] + f"{generation.occurrence}{number}"
        return f"{'x' if generation.request.prompt.islower() else 'X'}{same}"


class NamesByThePrompt(Files):
    def name(self, generation: Generation, number: int) -> str:
        return f"{generation.request.prompt.replace('/', '_')}-{generation.occurrence}-{number}"


class WritesLater(Files):
    async def write(self, generation: Generation) -> Any:
        size = sum(len(image.data) for image in generation.images)
        return Receipt(
            tuple(str(self.folder / self.name(generation, n)) for n in range(len(generation.images))), size
        )


class TellsPlacesInBytes(Files):
    async def write(self, generation: Generation) -> Any:
        receipt = await super().write(generation)
        return Receipt(tuple(map(os.fsencode, receipt.locations)), receipt.bytes_written)


class CutsShort(Files):
    async def write(self, generation: Generation) -> Any:
        receipt = await super().write(generation)
        for location in receipt.locations:
            Path(location).write_bytes(Path(location).read_bytes()[:-1])
        return receipt


class RemovesWhenItCloses(Files):
    async def close(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


class BeginsAnew(Files):
    async def open(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


class RefusesARepeat(Files):
    async def write(self, generation: Generation) -> Any:
        if (self.folder / self.name(generation, 0)).exists():
            raise FileExistsError(17, "File exists")
        return await super().write(generation)


class HangsAfterACancelledWrite(Files):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.turn = asyncio.Semaphore(1)

    async def write(self, generation: Generation) -> Any:
        await self.turn.acquire()
        await asyncio.sleep(0)  # cancelled here, and the turn is never given back
        receipt = await super().write(generation)
        self.turn.release()
        return receipt


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (NotASink, r"it has async open\(\), write\(generation\) and close\(\)"),
        (ReturnsNothing, "returns None, not a Receipt"),
        (NotAsync, r"open\(\) is async; it returns 'opened'"),
        (CannotBeOpened, r"open\(\) raises PermissionError"),
        (MiscountsBytes, "bytes_written counts every image"),
        (ForgetsTheSecondPicture, "a location for each image"),
        (TellsPlacesInBytes, "a location is text or a path, not b'"),
        (ForgetsOccurrences, "each picture has a place of its own"),
        (DiffersInCaseOnly, "each picture has a place of its own"),
        (NamesByThePrompt, r"write\(\) of a picture of .* raises (ValueError|OSError)"),
        (WritesLater, r"is there, whole, when write\(\) returns"),
        (CutsShort, r"is there, whole, when write\(\) returns"),
        (RemovesWhenItCloses, r"is still there when close\(\) has returned"),
        (BeginsAnew, "is still there when another sink has used the place"),
        (RefusesARepeat, "after a cancelled one.* raises FileExistsError"),
        (HangsAfterACancelledWrite, "after a cancelled one.* ends within"),
    ],
)
async def test_a_broken_sink_is_told_which_promise_it_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[[Path], Sink], sentence: str
) -> None:
    if broken is HangsAfterACancelledWrite:
        monkeypatch.setattr(testing, "_PATIENCE", 0.5)
    with pytest.raises(AssertionError, match=f"^the sink breaks its contract: .*{sentence}"):
        await check_sink((lambda: NotASink()) if broken is NotASink else lambda: broken(tmp_path))


async def test_a_location_may_be_a_path_as_in_a_run(tmp_path: Path) -> None:
    class TellsPaths(DiskSink):
        async def write(self, generation: Generation) -> Receipt:
            receipt = await super().write(generation)
            return Receipt(tuple(map(Path, receipt.locations)), receipt.bytes_written)  # type: ignore[arg-type]

    await check_sink(lambda: TellsPaths(tmp_path))
