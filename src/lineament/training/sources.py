"""Opens the data of a run: what was given to ``--data`` and ``--validation``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lineament.data.registry import open_data
from lineament.data.sample import FaceSample, Source
from lineament.data.subset import Concat
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import convert_points, scheme_word
from lineament.training.run import Run


def open_joined(texts: Sequence[str]) -> Source[Any]:
    """Open one or several data specifications (see ``data.registry.open_data``) as one source.

    Raises:
        UsageError: If none is given, or a name or option is unknown.
        DataError: If files are missing.
    """
    if not texts:
        raise UsageError("no data is named: give at least one folder or data set with --data.")
    sources = [open_data(text) for text in texts]
    return sources[0] if len(sources) == 1 else Concat(sources)


def labels_scheme(source: Source[Any], default: str) -> str:
    """The scheme to learn where none was asked for: the default, else that of the labels, as a word of its own.

    Args:
        source: Labelled faces; the first labelled one of up to 50 tells.
        default: Scheme that a recipe learns.
    """
    for index in range(min(50, len(source))):
        try:
            sample = source[index]
        except DataError:
            # It is reported by name when training reads it.
            continue
        if not isinstance(sample, FaceSample) or sample.scheme is None or sample.landmarks is None:
            continue
        try:
            convert_points(sample.landmarks, sample.scheme, default)
        except UsageError:
            return scheme_word(sample.scheme)
        return default
    return default


def reopen_sources(run: Run) -> tuple[Source[Any], Source[Any] | None]:
    """Open the training and validation data that a run's config names.

    Raises:
        UsageError: If it names none, because a Python caller passed sources of its own.
    """
    if not run.data:
        raise UsageError(
            f"{run.folder} was trained on data that a Python program passed: resume it there with "
            "lineament.training.loop.resume(run, source)."
        )
    return open_joined(run.data), open_joined(run.validation) if run.validation else None
