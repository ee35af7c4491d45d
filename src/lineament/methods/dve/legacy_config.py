"""The configs inside old checkpoints: plain dictionaries, or pickled parser objects that are only looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lineament.errors import CheckpointError
from lineament.interop.restricted_pickle import Inert
from lineament.methods.dve.protocol import published_place

# Classes of the old code -> published preprocessing (`evaluation.published.PROTOCOLS`).
DATASETS = {
    "CelebAPrunedAligned_MAFLVal": "celeba",
    "MAFLAligned": "celeba",
    "AFLW": "aflw-r",
    "AFLW_MTFL": "aflw-m",
    "ThreeHundredW": "300w",
}
# Loss -> whether descriptors were exchanged.
EXCHANGED = {"dense_correlation_loss": False, "dense_correlation_loss_dve": True}
# Size and crop of the published runs, where a config does not tell.
PUBLISHED_FRAME = {"smallnet": (100, 15), "hourglass": (136, 20)}
MISSING = object()


@dataclass
class LegacyConfig:
    """Careful access to a config of unknown content.

    Attributes:
        values: The nested dictionaries.
        origin: How the config was stored, for people.
        assumed: Values that it did not tell and that were taken from the published runs.
    """

    values: Mapping[str, Any]
    origin: str
    assumed: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, default: Any = None) -> Any:
        """Look up ``"dataset.args.imwidth"``."""
        here: Any = self.values
        for word in path.split("."):
            here = here.get(word, MISSING) if isinstance(here, Mapping) else MISSING
        return default if here is MISSING or here is None else here

    def has(self, path: str) -> bool:
        """Whether the config tells this value."""
        return self.get(path, MISSING) is not MISSING

    def number(self, path: str, default: float, low: float, high: float) -> float:
        """Look up a number; absent ones are the default and noted as assumed.

        Raises:
            CheckpointError: If it is no number or out of range.
        """
        value = self.get(path, MISSING)
        if value is MISSING:
            self.assumed[path] = f"{default:g}"
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise CheckpointError(
                f"its config says {path} = {shown(value)}, which is not a number from {low:g} to {high:g}"
            )
        return value

    def whole(self, path: str, default: int, low: int, high: int) -> int:
        """Like :meth:`number` for whole numbers."""
        value = self.number(path, default, low, high)
        if value != int(value):
            raise CheckpointError(f"its config says {path} = {value}, which is not a whole number")
        return int(value)

    def flag(self, path: str, default: bool) -> bool:
        """Look up true or false; numbers count as such, anything else is refused."""
        value = self.get(path, default)
        if not isinstance(value, bool | int):
            raise CheckpointError(f"its config says {path} = {shown(value)}, which is neither true nor false")
        return bool(value)


def shown(value: Any, limit: int = 80) -> str:
    """A value of a foreign file as text that is safe to print: one line, no control characters, not long."""
    try:
        whole = str(value)
    except ValueError:
        # Python refuses to write out whole numbers of more than some thousand digits.
        whole = f"a {type(value).__name__} too long to show"
    text = "".join(c if c.isprintable() else "?" for c in whole[: 2 * limit])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def read_config(stored: Any) -> LegacyConfig:
    """Find the dictionary inside what a checkpoint calls its config; nothing is a config that tells nothing."""
    if isinstance(stored, Mapping):
        return LegacyConfig(stored, "plain dictionary")
    if isinstance(stored, Inert):
        # Objects with slots store a pair.
        states = stored.state if isinstance(stored.state, tuple) else (stored.state,)
        for state in states:
            for name in ("_config", "config"):
                if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
                    return LegacyConfig(
                        state[name], f"pickled {shown(stored.foreign_name)}, read without running it"
                    )
        return LegacyConfig({}, f"pickled {shown(stored.foreign_name)} without a dictionary in it")
    return LegacyConfig({}, "none" if stored is None else f"unusable ({type(stored).__name__})")


def frame_fields(config: LegacyConfig, kind: str) -> dict[str, Any]:
    """Size, crop and view of the network; ``kind`` is smallnet or hourglass.

    Raises:
        CheckpointError: If nothing would be left of the image.
    """
    size, crop = PUBLISHED_FRAME[kind]
    size = config.whole("dataset.args.imwidth", size, 8, 4096)
    crop = config.whole("dataset.args.crop", crop, 0, 2048)
    seen = size - 2 * crop
    if seen < 8:
        raise CheckpointError(
            f"its config cuts {crop} pixels off each side of {size}, which leaves nothing to see"
        )
    view, shift = published_place(DATASETS.get(str(config.get("dataset.type")), "celeba"), size, crop)
    return {"image_size": size, "crop": crop, "view": view, "view_shift": shift}


def training_fields(config: LegacyConfig) -> dict[str, Any]:
    """Settings of the optimiser as far as the config tells them, for training on."""
    rates = {"learning_rate": "optimizer.args.lr", "weight_decay": "optimizer.args.weight_decay"}
    fields: dict[str, Any] = {
        name: config.number(path, 0.0, 0.0, 1e3) for name, path in rates.items() if config.has(path)
    }
    if config.has("batch_size"):
        fields["batch_size"] = config.whole("batch_size", 1, 1, 10**6)
    return fields


def descriptor_fields(config: LegacyConfig) -> dict[str, Any]:
    """What the loss and optimiser of a descriptor run tell."""
    name = str(config.get("loss"))
    if name not in EXCHANGED:
        config.assumed["loss"] = "with exchange"
    return {
        **training_fields(config),
        "exchange": EXCHANGED.get(name, True),
        # The functions normalised by default.
        "normalize": config.flag("loss_args.normalize_vectors", True),
        "power": float(config.number("loss_args.pow", 0.5, 0.0, 10.0))
        if config.has("loss_args.pow")
        else 0.5,
        "bias_learning_rate": float(config.number("bias_lr", 0.0, 0.0, 1e3))
        if config.has("bias_lr")
        else 0.0,
    }


def facts(config: LegacyConfig) -> dict[str, str]:
    """Facts of the config for people, as far as it tells."""
    asked = {
        "dataset": "dataset.type",
        "imwidth": "dataset.args.imwidth",
        "crop": "dataset.args.crop",
        "warper": "warper.type",
        "fine-tuned from": "finetune_from",
        "loss": "loss",
        "normalize_vectors": "loss_args.normalize_vectors",
        "softargmax_mul": "keypoint_regressor.args.softargmax_mul",
        "annotated images": "restrict_annos",
        "optimizer": "optimizer.type",
        "learning rate": "optimizer.args.lr",
        "epochs planned": "trainer.epochs",
    }
    told = {name: config.get(path) for name, path in asked.items()}
    found = {
        "config": config.origin,
        **{name: shown(value) for name, value in told.items() if value is not None},
    }
    if config.assumed:
        found["assumed"] = ", ".join(f"{path} = {value}" for path, value in config.assumed.items())
    return found
