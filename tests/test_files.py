"""Files and folders that are complete or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lineament import files
from lineament.files import replacing, replacing_folder, write_bytes, write_new, write_text


def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "deep" / "a.txt"
    write_text(target, "old \u00e9")
    with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text(encoding="utf-8") == "old \u00e9"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_older_folder_and_nothing_else(tmp_path: Path):
    target = tmp_path / "run"
    for content in ("first", "second"):
        with replacing_folder(target) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
    assert [path.name for path in (target / "sub").iterdir()] == ["second"]
    with pytest.raises(ZeroDivisionError), replacing_folder(target) as temporary:
        (temporary / "half").touch()
        raise ZeroDivisionError
    assert [path.name for path in (target / "sub").iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_cannot_take_its_place_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "run"
    with replacing_folder(target) as temporary:
        (temporary / "kept").touch()
    replace = Path.replace

    def refuse(self: Path, onto: Path) -> Path:
        if onto == target and not self.name.endswith(".old"):
            raise OSError("no")
        return replace(self, onto)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no"), replacing_folder(target):
        pass
    assert [path.name for path in target.iterdir()] == ["kept"]


def test_results_have_the_rights_of_any_new_file(tmp_path: Path):
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        with replacing_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_the_disk_has_the_file_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    flush, replace = files.flush, Path.replace
    monkeypatch.setattr(files, "flush", lambda path: (done.append(f"flush {path.is_dir()}"), flush(path)))
    monkeypatch.setattr(Path, "replace", lambda self, onto: (done.append("replace"), replace(self, onto)))
    write_bytes(tmp_path / "a", b"x")
    assert done == ["flush False", "replace", "flush True"]
    done.clear()
    write_bytes(tmp_path / "a", b"y", durable=False)
    assert done == ["replace"]


def test_a_new_file_is_never_written_over(tmp_path: Path):
    write_new(tmp_path / "a", b"x")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"y")
    assert (tmp_path / "a").read_bytes() == b"x"
