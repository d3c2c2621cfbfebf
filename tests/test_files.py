"""A file is there whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import largest_file

from asi_image_async import files
from asi_image_async.files import sync_directory, write_whole
from asi_image_async.sinks.disk.metadata import Metadata

OLD, NEW = b"old" * 100, b"new" * 100_000


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "fox.jpg"
    for content in (OLD, NEW, b""):
        write_whole(path, content)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["fox.jpg"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="not on this system")
def test_what_is_on_the_disk_leaves_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for step in ("posix_fadvise", "fsync"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *given, step=step, real=real: steps.append(step) or real(*given))
    write_whole(tmp_path / "fox.jpg", NEW)
    assert steps == ["posix_fadvise", "fsync", "posix_fadvise"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="not on this system")
def test_a_kernel_that_takes_no_advice_costs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    write_whole(tmp_path / "fox.jpg", NEW)
    assert (tmp_path / "fox.jpg").read_bytes() == NEW


def test_when_the_disk_is_full_the_old_file_stays_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "fox.jpg"
    write_whole(path, OLD)
    with largest_file(1000), pytest.raises(OSError):
        write_whole(path, NEW)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["fox.jpg"]


def test_when_the_name_is_taken_by_a_directory_no_part_is_left(tmp_path: Path) -> None:
    path = tmp_path / "fox.jpg"
    path.mkdir()
    with pytest.raises(OSError):
        write_whole(path, NEW)
    assert os.listdir(tmp_path) == ["fox.jpg"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_whichever_step_fails_the_old_file_stays_and_no_part_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    path = tmp_path / "fox.jpg"
    write_whole(path, OLD)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_whole(path, NEW)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["fox.jpg"]


def test_the_part_that_is_being_written_may_lie_elsewhere(tmp_path: Path) -> None:
    seen: list[list[list[str]]] = []
    (tmp_path / "parts").mkdir()
    (tmp_path / "out").mkdir()
    real = os.fsync

    def watching(descriptor: int) -> None:
        seen.append([os.listdir(tmp_path / "parts"), os.listdir(tmp_path / "out")])
        real(descriptor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", watching)
        write_whole(tmp_path / "out" / "fox.jpg", NEW, temporary_directory=tmp_path / "parts")
    [part], before = seen[0]
    assert part.startswith(".")
    assert before == []
    assert (os.listdir(tmp_path / "parts"), os.listdir(tmp_path / "out")) == ([], ["fox.jpg"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600)])
def test_a_file_has_the_permissions_that_the_user_s_other_files_have(
    tmp_path: Path, umask: str, mode: int
) -> None:
    code = (
        f"import os; os.umask(0o{umask}); from pathlib import Path;"
        f"import asi_image_async.files as files; files.write_whole(Path({str(tmp_path / 'a')!r}), b'')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "fox.jpg", NEW)
    sync_directory(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_name_is_flushed_after_it_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    replace, sync = os.replace, files.sync_directory
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    monkeypatch.setattr(files, "sync_directory", lambda folder: (done.append("flushed"), sync(folder)))
    files.write_durably(tmp_path / "fox.jpg", NEW)
    assert done == ["named", "flushed"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows flushes no folders")
@pytest.mark.parametrize(
    ("function", "error"),
    [("fsync", OSError(errno.EINVAL, "Invalid argument")), ("open", PermissionError(errno.EACCES, "no"))],
    ids=["a share of Samba", "not to be read"],
)
def test_a_folder_whose_names_cannot_be_flushed_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: OSError
) -> None:
    real = getattr(os, function)

    def fails_for_a_folder(what: int | Path, *rest: object) -> object:
        if os.path.isdir(what):
            raise error
        return real(what, *rest)

    monkeypatch.setattr(os, function, fails_for_a_folder)
    files.write_durably(tmp_path / "fox.jpg", NEW)
    assert (tmp_path / "fox.jpg").read_bytes() == NEW


@pytest.mark.skipif(sys.platform == "win32", reason="Windows flushes no folders")
def test_a_disk_that_fails_to_flush_a_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(tmp_path)


def test_what_was_written_by_name_is_flushed_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("flushed"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("named"), replace(*names)))
    with files.replacing(tmp_path / "all.csv") as place:
        place.write_bytes(NEW)
    assert done == ["flushed", "named"]
    assert (tmp_path / "all.csv").read_bytes() == NEW


class Darwin:
    """The `fcntl` of macOS, on a file system that takes F_FULLFSYNC, refuses it, or fails."""

    F_FULLFSYNC = 51

    def __init__(self, done: list[str], error: int | None) -> None:
        self.done, self.error = done, error

    def fcntl(self, descriptor: int, command: int) -> None:
        assert command == self.F_FULLFSYNC
        self.done.append("full")
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows flushes no folders")
@pytest.mark.parametrize(
    ("error", "one"), [(None, ["full"]), (errno.ENOTSUP, ["full", "sync"]), (errno.EINVAL, ["full", "sync"])]
)
def test_on_macos_the_drive_writes_what_it_has_in_its_cache_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None, one: list[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(files, "fcntl", Darwin(done, error))
    monkeypatch.setattr(os, "fsync", lambda _: done.append("sync"))
    files.write_durably(tmp_path / "fox.jpg", NEW)
    assert done == one * 2  # the file and its folder
    with files.replacing(tmp_path / "all.csv") as place:
        place.write_bytes(NEW)
    metadata = Metadata(tmp_path)
    metadata.flush()
    metadata.close()
    assert done == one * 4


def test_on_macos_a_disk_that_fails_is_not_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(files, "fcntl", Darwin(done, errno.EIO))
    monkeypatch.setattr(os, "fsync", lambda _: done.append("sync"))
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "fox.jpg", NEW)
    assert done == ["full"]


def test_the_draft_of_a_process_with_the_same_number_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_numbers", iter(range(9)))
    other = tmp_path / f".{os.getpid()}-0.tmp"
    other.write_bytes(OLD)
    write_whole(tmp_path / "fox.jpg", NEW)
    assert other.read_bytes() == OLD
