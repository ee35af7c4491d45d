"""A trained model as a folder: ``weights.safetensors``, ``model.json`` and the card ``README.md``.

A run keeps all of a training; a model folder keeps what it takes to use it, and what there is to know about it. Models
that come with the package are such folders; so is what anybody makes of a run with :func:`write_model`. Reading one
executes nothing: weights are safetensors, facts are JSON, and names in it never become paths.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from lineament.capabilities import capability_words, words_of
from lineament.errors import CheckpointError, DataError, LineamentError, UsageError
from lineament.faces.landmark_scheme import LandmarkScheme
from lineament.faces.schemes import scheme_content
from lineament.files import replacing_folder, write_new
from lineament.metrics.card import MetricCard
from lineament.training.checkpoint import Checkpoint
from lineament.training.model_card import ModelCard, card_text
from lineament.training.run import Run
from lineament.training.weights import collect_weights

WEIGHTS, FACTS, CARD = "weights.safetensors", "model.json", "README.md"
VERSION = 1
# Key of the limit of a face's uncertainty; models that were packed without one lack it.
LIMIT = "uncertainty_limit"
# Of a metric card: what a reader of a figure must know.
_FIGURE_KEYS = tuple(each.name for each in fields(MetricCard) if each.name != "details")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFolder(Run):
    """A model folder; it can be asked all that a run can be asked about its result.

    Attributes:
        facts: The content of ``model.json``.
        name: What it is called.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return str(self.facts.get("summary", ""))

    @property
    def uncertainty_limit(self) -> float | None:
        """Largest uncertainty of a whole face that is believed, a share of its box; None where none was measured."""
        limit = self.facts.get(LIMIT)
        return None if limit is None else float(limit["value"])

    @property
    def scheme_points(self) -> tuple[str, ...] | None:
        """Names of the points that it was taught, in order; None where it has no landmark scheme."""
        content = self.facts.get("scheme")
        return None if content is None else tuple(content["points"])

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """None: a model folder does not keep how it was trained."""
        return []

    def environment(self) -> list[dict[str, Any]]:
        """What is known of its training data."""
        return [{"data_fingerprint": each} for each in self.facts.get("data_fingerprints", [])]

    def read_checkpoint(self, which: str | int = "newest") -> Checkpoint:
        """Read the weights, after checking them against their sha256.

        Raises:
            CheckpointError: If they are missing or damaged; the message names file and sha256.
        """
        path = self.folder / WEIGHTS
        expected = str(self.facts["weights"]["sha256"])
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"the model {self.name} lacks its weights: {path} cannot be read ({error.strerror}); its sha256 should "
                f"be {expected}."
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise CheckpointError(
                f"the weights of the model {self.name} are damaged: the sha256 of {path} is {found} instead of "
                f"{expected}; copy the folder again, or install lineament anew."
            )
        try:
            tensors = safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} (sha256 {found}) is no safetensors file: {error}.") from error
        step = int(self.facts["step"])
        if isinstance(which, int) and which != step:
            raise CheckpointError(
                f"the model {self.name} holds the weights of step {step} alone, not {which}."
            )
        return Checkpoint(step, {"networks": tensors}, {"best": None})

    def check_scheme(self, scheme: LandmarkScheme | None) -> None:
        """Refuse a model whose points are not what this version means by the name of their scheme.

        Raises:
            CheckpointError: If they differ.
        """
        taught = self.scheme_points
        if taught is not None and scheme is not None and taught != scheme.names:
            raise CheckpointError(
                f"the model {self.name} was taught {len(taught)} points of a scheme {scheme.name} that is not the one "
                f"of this version ({len(scheme)} points): train it anew, or use the lineament that it was made with."
            )


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return (folder / FACTS).is_file()


def open_model_folder(folder: Path, name: str = "") -> ModelFolder:
    """Open a model folder.

    Args:
        folder: Where it lies.
        name: The name that it was found by; that in its facts when empty.

    Raises:
        CheckpointError: If ``model.json`` cannot be read, is of a newer version, or lacks facts.
    """
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        found = facts["version"]
        if isinstance(found, int) and found > VERSION:
            called = name or str(facts.get("name", folder.name))
            raise CheckpointError(
                f"the model {called} in {folder} is of version {found}, this version of lineament reads up to "
                f"{VERSION}: update lineament."
            )
        if found != VERSION:
            raise ValueError(f"its version is {found!r}")
        config = dict(facts["config"])
        _check_facts(facts, config)
        return ModelFolder(
            folder,
            str(facts["recipe"]),
            str(facts["method"]),
            config,
            "32-true",
            tuple(map(str, facts.get("data", ()))),
            (),
            str(facts.get("preset", "")),
            tuple(map(str, facts.get("inherited", ()))),
            facts=facts,
            name=name or str(facts["name"]),
        )
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise CheckpointError(f"{path} cannot be read as the facts of a model ({what}).") from error


def _check_facts(facts: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    if not _DIGEST.fullmatch(str(facts["weights"]["sha256"])):
        raise ValueError("the sha256 of its weights is none")
    if not isinstance(facts["step"], int):
        raise ValueError("its step is no whole number")
    content = facts.get("scheme")
    if content is not None and not all(isinstance(point, str) for point in content["points"]):
        raise ValueError("the points of its scheme have no names")
    limit = facts.get(LIMIT)
    if limit is not None and not (isinstance(limit["value"], int | float) and 0 < limit["value"] < math.inf):
        raise ValueError("the limit of its uncertainty is no positive number")
    for key, value in config.items():
        # A scheme is a name or its whole content; a file of this machine is nothing that a model may ask for.
        if key.endswith("scheme") and isinstance(value, str) and value.endswith((".yaml", ".yml")):
            raise ValueError(f"its {key} is a file, {value}")


def write_model(
    run: Run,
    folder: Path,
    card: ModelCard,
    *,
    name: str = "",
    figures: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    limit: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ModelFolder:
    """Write the best weights of a run as a model folder, which appears whole or not at all.

    The recipe's predictor is asked what the model can do, its scheme, and (attribute ``calibration``) how its
    confidences were calibrated.

    Args:
        run: What is packed; the moving average of the weights is taken where it has one.
        folder: The folder to make.
        card: What people should know.
        name: What the model is called; the name of the folder when empty.
        figures: Metric cards by protocol, as JSON holds them; those in ``RUN/evaluations`` when None.
        limit: Limit of a face's uncertainty, ``value``, and how it was found
            (``pipeline.evaluate.uncertainty.UncertaintyLimit``); None: the model rejects nothing.
        overwrite: Replace an older model there.

    Raises:
        UsageError: If the name cannot be one.
        LineamentError: If the folder is in use by something else, or cannot be written.
        CheckpointError: If the run has no whole checkpoint.
    """
    name = name or folder.resolve().name
    if not _NAME.fullmatch(name):
        raise UsageError(f"a model is called by small letters, digits, '-', '_' and '.', not {name!r}.")
    if folder.exists() and not (overwrite and is_model_folder(folder)):
        advice = "give --overwrite" if is_model_folder(folder) else "choose another"
        raise LineamentError(f"the folder {folder} exists: {advice}.")
    weights = collect_weights(run.load_networks())
    data = safetensors.torch.save({key: tensor.cpu().contiguous().clone() for key, tensor in weights.items()})
    facts = _facts_of(run, name, card, weights, data)
    facts["figures"] = {
        protocol: [_figure(each) for each in cards]
        for protocol, cards in (run_figures(run.folder) if figures is None else figures).items()
    }
    if limit is not None:
        facts[LIMIT] = {**limit, "data": [_without_places(text) for text in limit["data"]]}
    try:
        with replacing_folder(folder) as temporary:
            write_new(temporary / WEIGHTS, data)
            write_new(temporary / FACTS, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
            write_new(temporary / CARD, card_text(facts, card).encode())
            # Read once as anybody will read it, so that what is written is known to load.
            made = open_model_folder(temporary)
            made.check_scheme(getattr(made.build_recipe().predictor(made.load_networks()), "scheme", None))
    except OSError as error:
        raise LineamentError(f"cannot write the model {folder}: {error.strerror or error}.") from error
    return open_model_folder(folder)


def run_figures(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Metric cards that ``lineament evaluate`` left in a run, by protocol and data.

    Raises:
        DataError: If a file there holds none.
    """
    return {
        path.stem.removesuffix(".cards"): read_figures(path)
        for path in sorted((run / "evaluations").glob("*.json"))
    }


def read_figures(path: Path) -> list[dict[str, Any]]:
    """Metric cards of a file that ``lineament evaluate`` wrote.

    Raises:
        DataError: If it holds none.
    """
    try:
        cards = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(cards, list) or any("name" not in card or "value" not in card for card in cards):
            raise ValueError("a list of metric cards is needed")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} holds no metric cards of `lineament evaluate` ({error}).") from error
    return cards


def _figure(card: Mapping[str, Any]) -> dict[str, Any]:
    return {key: card[key] for key in _FIGURE_KEYS if card.get(key) not in (None, "")}


def _facts_of(
    run: Run, name: str, card: ModelCard, weights: Mapping[str, Tensor], data: bytes
) -> dict[str, Any]:
    recipe = run.build_recipe()
    predictor = recipe.predictor(run.load_networks())
    layout = getattr(predictor, "scheme", None)
    config = {key: _without_places(value) for key, value in run.config.items()}
    return {
        "version": VERSION,
        "name": name,
        "summary": card.summary or words_of(predictor),
        "gives": capability_words(predictor),
        "licence": card.licence,
        "recipe": run.recipe,
        "method": run.method,
        "preset": run.preset,
        "inherited": list(run.inherited),
        "config": config,
        "step": run.read_checkpoint("best").step,
        "scheme": None if layout is None else scheme_content(layout),
        "sizes": {
            "parameters": sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point()),
            "bytes": len(data),
            **{key: config[key] for key in ("size", "image_size") if isinstance(config.get(key), int)},
        },
        "calibration": _plain(getattr(predictor, "calibration", None)),
        "data": [_without_places(text) for text in run.data],
        "data_fingerprints": sorted(
            {session["data_fingerprint"] for session in run.environment() if "data_fingerprint" in session}
        ),
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(data).hexdigest()},
    }


def _without_places(value: Any) -> Any:
    """A value of a config without the folders of the machine that trained: of every path its last part."""
    if isinstance(value, list | tuple):
        return [_without_places(each) for each in value]
    if not isinstance(value, str) or value.lstrip().startswith("{"):
        return value
    place, mark, options = value.partition("?")
    head, colon, rest = place.rpartition(":")
    named = f"{head}{colon}{Path(rest).name}" if "/" in rest else place
    kept = [
        f"{key}{equals}{Path(text).name if '/' in text else text}" for key, equals, text in _pairs(options)
    ]
    return f"{named}{mark}{'&'.join(kept)}"


def _pairs(options: str) -> list[tuple[str, str, str]]:
    return [pair.partition("=") for pair in options.split("&")] if options else []


def _plain(value: Any) -> Any:
    """A calibration as JSON holds it."""
    if isinstance(value, Tensor):
        return _plain(value.detach().to("cpu", torch.float64).tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
