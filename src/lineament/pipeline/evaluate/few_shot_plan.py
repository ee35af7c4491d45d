"""What a few-shot study compares: ways of learning from few labels, as data; importing it imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lineament.errors import UsageError, unknown_name
from lineament.training.registry import RANDOM_BASE


@dataclass(frozen=True)
class Variant:
    """One way of learning landmarks from labels, a row of the study.

    Attributes:
        title: For tables and plots.
        recipe: Name of the recipe.
        base: Method of the run it builds on, ``fabrec``, ``dve`` or ``landmarks``; "" for none.
        fields: Fields of the recipe's config.
        preset: Preset of the recipe that these fields change; "" for its defaults.
        semi_supervised: Whether unlabelled faces take part.
        rates: Fields that the learning rate of the study sets; the first gets it, the others keep their ratio to it.
            Empty for a variant that does not learn by gradient descent, whose steps are its own.
        like: Without a base: method of the run whose networks it has untrained.
        by_default: Whether a study that names no variants has it; the others are ablations.
        learns_scheme: Whether its recipe is told the scheme of the labels; the others learn that of their default.
    """

    title: str
    recipe: str
    base: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""
    semi_supervised: bool = False
    rates: tuple[str, ...] = ()
    like: str = ""
    by_default: bool = True
    learns_scheme: bool = False


# Fields of a run's config that say which networks it has, by its method.
SIZES: Mapping[str, tuple[str, ...]] = {
    "fabrec": ("size", "width", "code", "linear"),
    "landmarks": ("size", "widths", "blocks", "features"),
}
_HEAD, _ALL = ("learning_rate",), ("learning_rate", "encoder_rate")

VARIANTS = {
    "fabrec": Variant("autoencoder, frozen", "fabrec-landmarks", "fabrec", rates=_HEAD),
    "fabrec-tuned": Variant(
        "autoencoder, encoder tuned", "fabrec-landmarks", "fabrec", {"tune_encoder": True}, rates=_ALL
    ),
    "fabrec-modern": Variant(
        "autoencoder, all tuned (modern)",
        "fabrec-modern",
        "fabrec",
        {"batch_size": 10},
        semi_supervised=True,
        rates=_ALL,
    ),
    "fabrec-faithful": Variant(
        "autoencoder, frozen, published head", "fabrec-landmarks", "fabrec", preset="paper", rates=_HEAD
    ),
    "supervised": Variant("same networks, labels alone", "fabrec-supervised", like="fabrec", rates=_ALL),
    # What of the modern variant is due to the autoencoder, and what to unlabelled faces beside the labelled ones.
    "no-autoencoder": Variant(
        "labels and unlabelled faces, no autoencoder",
        "fabrec-modern",
        "",
        {"base": RANDOM_BASE, "batch_size": 10},
        semi_supervised=True,
        like="fabrec",
        rates=_ALL,
        by_default=False,
    ),
    "no-unlabelled": Variant(
        "autoencoder, all tuned, labels alone",
        "fabrec-modern",
        "fabrec",
        {"batch_size": 10},
        rates=_ALL,
        by_default=False,
    ),
    # What the published head learns by, but from random weights: what of a frozen autoencoder's result is its own.
    "plain": Variant(
        "same networks, labels alone, published loss and moves",
        "fabrec-supervised",
        preset="plain",
        like="fabrec",
        rates=_ALL,
        by_default=False,
    ),
    # A trained network of landmarks learns another scheme; what it knew of faces, and what the labels alone bring.
    "landmarks": Variant(
        "landmarks network, trained before",
        "landmarks",
        "landmarks",
        rates=("learning_rate", "backbone_rate"),
        learns_scheme=True,
    ),
    "landmarks-random": Variant(
        "same network, random weights",
        "landmarks",
        fields={"base": RANDOM_BASE},
        like="landmarks",
        rates=_HEAD,
        learns_scheme=True,
    ),
    # Sixteen looks at every labelled face pin the detectors down, as in the demo.
    "dve": Variant("descriptors (DVE)", "dve-landmarks", "dve", {"steps": 16}),
}


@dataclass(frozen=True)
class FewShotPlan:
    """What is compared.

    Attributes:
        counts: Numbers of labelled faces.
        seeds: Seeds; each draws other labels, other starts and other moves.
        variants: fabrec, fabrec-tuned, fabrec-modern, fabrec-faithful, supervised, landmarks, landmarks-random, dve,
            no-autoencoder, no-unlabelled, plain; when left out, those of the runs given (supervised: of the fabrec run,
            fabrec-modern: where there are unlabelled faces too), without the last three.
        steps: Steps of the variants that learn by gradient descent; 0 leaves each recipe's own.
        rate: Learning rate of the transfer layers of those variants, to which that of the encoder keeps its ratio; 0
            leaves each recipe's own, made for its default steps.
        box_jitter: Move and scale each test box by up to this share of its side.
    """

    counts: tuple[int, ...] = (1, 5, 10, 50, 500)
    seeds: tuple[int, ...] = (0, 1, 2)
    variants: tuple[str, ...] = ()
    steps: int = 750
    rate: float = 0.0
    box_jitter: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``UsageError`` on unknown variants or impossible numbers."""
        for variant in self.variants:
            if variant not in VARIANTS:
                raise unknown_name("variant", variant, VARIANTS)
        negative = min(self.steps, self.rate) < 0
        if not self.counts or not self.seeds or min(self.counts) < 1 or negative:
            raise UsageError(
                "give at least one count of 1 or more and one seed, and no negative steps or rate."
            )
        if not 0 <= self.box_jitter < 1:
            raise UsageError(f"--box-jitter lies in 0..1, not {self.box_jitter}.")

    def settled(self, bases: Collection[str], unlabelled: bool) -> FewShotPlan:
        """Return the plan with its variants named: see :func:`default_variants`."""
        return self if self.variants else replace(self, variants=default_variants(bases, unlabelled))


def default_variants(bases: Collection[str], unlabelled: bool) -> tuple[str, ...]:
    """Variants of a study that names none: only what the given runs and faces are for.

    Args:
        bases: Methods of the given runs: ``fabrec``, ``dve``, ``landmarks``.
        unlabelled: Whether there are unlabelled faces.

    Raises:
        UsageError: If no run is given.
    """
    if not bases:
        raise UsageError(
            "nothing to compare: give a run to build on with --fabrec, --dve or --landmarks, or name the variants with "
            "--variants."
        )
    return tuple(
        name
        for name, variant in VARIANTS.items()
        if variant.by_default
        and (variant.base or variant.like) in bases
        and (unlabelled or not variant.semi_supervised)
    )
