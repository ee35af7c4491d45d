"""`lineament bench`: one JSON line, options, errors."""

from __future__ import annotations

import json
import time

import pytest
import torch

from lineament.cli.main import main
from lineament.errors import DataError, UsageError
from lineament.pipeline.bench import BENCHES, run_bench
from lineament.pipeline.bench.timing import Timing, measure, report


def test_rasterize_prints_one_json_line(capsys):
    assert main(["bench", "rasterize", "--threads", "1", "--repeats", "2"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    figures = json.loads(lines[0])
    assert figures["name"] == "rasterize" and figures["device"] == "cpu" and figures["threads"] == 1
    assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["max_ms"]
    assert figures["ratio"] == pytest.approx(figures["reference_ms"] / figures["median_ms"], rel=0.01)
    assert figures["flush_to_zero"] is True and "family" in figures["processor"]
    assert figures["ratio"] > 2, "the kernels are hardly faster than plain torch"
    assert "11400 triangles" in figures["work"]
    assert 0.55 < float(figures["work"].rsplit(", ", 1)[1].split("%")[0]) / 100 < 0.65


def test_unknown_name_names_the_nearest(capsys):
    assert main(["bench", "rasterise"]) == 2
    assert "did you mean 'rasterize'" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--repeats", "0"], ["--threads", "0"], ["--device", "cuda:99"]])
def test_wrong_options_exit_with_2(options, capsys):
    assert main(["bench", "rasterize", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error


def test_help_lists_the_benches(capsys):
    assert main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in BENCHES) and "--threads" in text
    assert main(["bench"]) == 2


def test_missing_pack_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot read the small ICT face"):
        run_bench("rasterize", packs=tmp_path)
    with pytest.raises(UsageError, match="at least 1"):
        run_bench("rasterize", repeats=0)


def test_small_ict_face_of_the_pack(packs):
    figures = run_bench("rasterize", repeats=1, packs=packs)
    assert "filled" in figures["work"] and figures["median_ms"] > 0


def test_measure_takes_median_and_range(monkeypatch):
    now = 0.0
    seconds = iter([9.0, 9.0, 0.002, 0.006, 0.004])

    def work() -> None:
        nonlocal now
        now += next(seconds)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(time, "process_time", lambda: now / 2)
    timing = measure(work, repeats=3, warm_up=2)
    found = (timing.min_ms, timing.median_ms, timing.max_ms, timing.process_ms)
    assert found == pytest.approx((2.0, 4.0, 6.0, 2.0))


def test_report_gives_the_ratio_to_the_twin():
    fast, slow = Timing(2.0, 1.0, 3.0, 2.0), Timing(10.0, 9.0, 12.0, 10.0)
    figures = report("work", fast, slow, faces_per_s=12.34567)
    assert figures["ratio"] == 5 and figures["reference_ms"] == 10 and figures["faces_per_s"] == 12.346
    assert "ratio" not in report("work", fast)


@pytest.mark.parametrize("name", ["synth", "crops", "depthnet"])
def test_a_bench_of_the_cpu_refuses_another_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would measure the CPU and call it by the other's name."""
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    with pytest.raises(UsageError, match="on the CPU alone"):
        run_bench(name, device="cuda")


@pytest.mark.slow
def test_a_photo_is_told_by_its_parts():
    figures = run_bench("photo", threads=1, repeats=1)
    assert figures["faces"] == 1 and figures["weights"]
    parts = figures["detect_ms"] + figures["landmarks_ms"]
    assert 0 < parts < 2 * figures["photo_ms"] and figures["decode_ms"] > 0 and figures["draw_ms"] > 0
    assert figures["first_photo_processor_s"] > 0 and 100 < figures["first_photo_mb"] < 1000
    assert figures["video_frames_per_processor_second"] > figures["video_verb_frames_per_second"] > 0
