"""The models of an analysis, opened once, and what their absence leaves out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.capabilities import DenseDescriptor, DepthPredictor, LandmarkPredictor
from lineament.errors import UsageError
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel
from lineament.inference import DEFAULT_MODELS, Model, default_model, has_default, load
from lineament.pipeline.analyze.options import AnalyzeOptions
from lineament.pipeline.predict.describe import can_match, check_matches
from lineament.pipeline.predict.results import model_settings, run_digest
from lineament.pipeline.turn.depth import load_depth_run
from lineament.pipeline.turn.models import OF_HEAD


@dataclass(frozen=True)
class Analyzer:
    """What looks at faces.

    Attributes:
        model: Finds faces and their landmarks.
        head: Head that is fitted to them.
        options: What is wanted.
        depth: Model of depth, or None for the fitted head's.
        dense: Model that faces are matched with, or None.
        left_out: What is not done at all -> why.
    """

    model: Model
    head: HeadModel
    options: AnalyzeOptions
    depth: Model | None = None
    dense: Model | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, options: AnalyzeOptions, model: Path | None = None, device: str = "cpu") -> Analyzer:
        """Open the models; a wrong one is said before anything is looked at.

        Args:
            options: What is wanted.
            model: Run directory, model folder or name of a landmark model; face-68 when None.
            device: Where the models run, ``cpu`` or ``cuda``.

        Raises:
            LineamentError: If a model or the device is not there.
            UsageError: If a model cannot do what it is named for.
        """
        options.check()
        landmarks = load(default_model(LandmarkPredictor) if model is None else model, device)
        landmarks.capability(LandmarkPredictor)
        left_out: dict[str, str] = {}
        depth = _chosen(options.depth_model, DepthPredictor)
        if depth is not None:
            load_depth_run(str(depth))
        dense = _chosen(options.dense_model, DenseDescriptor)
        opened = landmarks if dense is None else load(dense, device)
        if dense is not None:
            check_matches(opened)
        elif not can_match(opened):
            left_out["matches"] = (
                "the landmark model gives neither dense descriptors nor 68 landmarks: name a model that does with "
                "--dense-model."
            )
        return cls(
            landmarks,
            load_head("builtin"),
            options,
            None if depth is None else load(depth, device),
            opened if can_match(opened) else None,
            left_out,
        )

    @property
    def depth_run(self) -> str | None:
        """The depth model as :func:`lineament.pipeline.turn.depth.face_depth` takes it."""
        return None if self.depth is None else str(self.depth.run.folder)

    def settings(self) -> dict[str, Any]:
        """All that decides a result besides the photo."""
        depth = None if self.depth is None else run_digest(self.depth.run.folder)
        return {**model_settings(self.model), "depth_model": depth, **self.options.recorded()}

    def match_settings(self) -> dict[str, Any]:
        """What decides the matches in addition."""
        return {} if self.dense is None else {"dense_model": run_digest(self.dense.run.folder)}


def _chosen(given: Path | None, wanted: type) -> Path | None:
    """The model given, else the default one where it is there; None where there is none, or the head is to serve."""
    if given is None:
        return Path(DEFAULT_MODELS[wanted]) if has_default(wanted) else None
    if given == OF_HEAD and not given.exists():
        if wanted is not DepthPredictor:
            raise UsageError("a head has depth alone: name a model with dense descriptors.")
        return None
    return given
