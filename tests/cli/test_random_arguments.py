"""300 random argument lists: each ends with 0, 1 or 2 and never with a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lineament.cli.main import VERBS, main

# These start minutes of work when their arguments happen to be right, so they always get one wrong flag.
WORKING_VERBS = {"demo", "detect", "train", "bench", "data synth", "data prepare"}
WORDS = [
    "--help", "-h", "--out", "--model", "--seed", "--count", "--size", "--data", "--overwrite", "--no-such-flag",
    "-1", "0", "nan", "1e9", "", " ", "--", "-", "x" * 300, "ünï/çødé.png", "missing.jpg", "missing_folder/", ".",
    "\x00", "a\nb", "--=", "--seed=", "--count=many", "picture.txt", "empty", "../..", "builtin", "mtcnn", "--points",
]  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "picture.txt").write_text("not an image")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def argument_lists(count: int, seed: int) -> list[list[str]]:
    rng = random.Random(seed)
    lists = []
    for _ in range(count):
        verb = rng.choice(
            sorted(VERBS) if rng.random() < 0.9 else ["", "dta", "--", "recipe", "--version", "-x"]
        )
        rest = [rng.choice(WORDS) for _ in range(rng.randrange(5))]
        if verb in WORKING_VERBS:
            rest.insert(rng.randrange(len(rest) + 1), "--no-such-flag")
        lists.append([*verb.split(" "), *rest])
    return lists


@pytest.mark.parametrize("part", range(6))
def test_exit_codes_without_traceback(part: int, workplace: Path, capsys: pytest.CaptureFixture[str]):
    for arguments in argument_lists(50, seed=part):
        code = main(arguments)
        printed = capsys.readouterr()
        assert code in (0, 1, 2), arguments
        assert "Traceback" not in printed.err + printed.out, arguments
        if code:
            assert printed.err.strip(), f"{arguments} failed without a sentence"
