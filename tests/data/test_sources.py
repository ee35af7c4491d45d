"""Subsets, joins, maps and the cache keep samples and fingerprints honest."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace

import pytest
import torch

from lineament.data.cache import WITHOUT_MAPS, CachedSource
from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import Concat, Mapped, Subset, digest, split_by_identity
from lineament.errors import DataError, UsageError


@dataclass
class Counting:
    """Counts how often it is read; even samples are exact in 8 bits, odd ones are not."""

    count: int
    name: str = "counting"
    fingerprint: str = "c"
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        self.reads.append(index)
        step = 255 if index % 2 == 0 else 1000
        image = torch.arange(48).reshape(3, 4, 4).float() / step
        return FaceSample(str(index), image, landmarks=torch.ones(5, 2) * index, meta={"index": index})


def test_sources_fulfil_the_contract() -> None:
    source = Counting(4)
    for made in (
        Subset(source, [1]),
        Concat([source]),
        Mapped(source, lambda s: s, "same"),
        CachedSource(source),
    ):
        assert isinstance(made, FaceSource)


def test_subset_picks_and_refuses() -> None:
    subset = Subset(Counting(5), [3, 1, 1])
    assert [sample.id for sample in subset] == ["3", "1", "1"]
    assert subset[-1].id == "1"
    with pytest.raises(DataError, match="sample 5 does not exist"):
        Subset(Counting(5), [5])


def test_concat_walks_through_all() -> None:
    joined = Concat([Counting(2), Counting(0), Counting(3)])
    assert [sample.id for sample in joined] == ["0", "1", "0", "1", "2"]
    with pytest.raises(IndexError):
        joined[5]
    with pytest.raises(DataError, match="no sources"):
        Concat([])


def test_mapped_changes_samples() -> None:
    mapped = Mapped(Counting(2), lambda sample: replace(sample, id="x" + sample.id), "x in front")
    assert mapped[1].id == "x1"


def test_fingerprints_change_with_what_they_stand_for() -> None:
    first, other = Counting(4), Counting(4, fingerprint="d")
    prints = [
        Subset(first, [0, 1]).fingerprint,
        Subset(first, [1, 0]).fingerprint,
        Subset(other, [0, 1]).fingerprint,
        Concat([first, other]).fingerprint,
        Concat([other, first]).fingerprint,
        Mapped(first, lambda sample: sample, "a").fingerprint,
        Mapped(first, lambda sample: sample, "b").fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert Subset(first, [0, 1]).fingerprint == prints[0]
    assert digest("ab", "c") != digest("a", "bc")


def test_cache_reads_once_and_returns_equal_fresh_samples() -> None:
    source = Counting(4)
    cached = CachedSource(source)
    for _ in range(3):
        for index in range(4):
            sample = cached[index]
            assert torch.equal(sample.image, Counting(4)[index].image)
            assert torch.equal(sample.landmarks, torch.ones(5, 2) * index)
            sample.image.zero_()
            sample.landmarks.zero_()
            sample.meta.clear()
    assert source.reads == [0, 1, 2, 3]
    # Even samples take 48 bytes of picture, odd ones 4 x 48; five points take 40 bytes.
    assert cached.used_bytes == 2 * (48 + 40) + 2 * (192 + 40)


def test_cache_stays_within_its_memory() -> None:
    source = Counting(10)
    cached = CachedSource(source, max_bytes=500)
    assert 0 < cached.warm() < 10
    assert cached.used_bytes <= 500
    assert [sample.id for sample in (cached[index] for index in range(10))] == [str(i) for i in range(10)]


def test_cache_keeps_only_the_fields_that_are_asked_for() -> None:
    cached = CachedSource(Counting(4), fields=("box",))
    for _ in range(2):
        sample = cached[1]
        assert sample.landmarks is None and torch.equal(sample.image, Counting(4)[1].image)
    assert cached.used_bytes == 192
    whole = CachedSource(Counting(4), fields=WITHOUT_MAPS)
    assert whole[1].landmarks is not None
    with pytest.raises(UsageError, match="landmarks"):
        CachedSource(Counting(4), fields=("landmark",))


def test_cache_travels_empty() -> None:
    cached = CachedSource(Counting(4))
    cached.warm()
    copy = pickle.loads(pickle.dumps(cached))
    assert copy.used_bytes == 0 and torch.equal(copy[2].image, cached[2].image)


def test_identities_stand_on_one_side() -> None:
    identities = [f"p{index // 3}" for index in range(300)] + [None, None]
    first, second = split_by_identity(Counting(302), identities, 0.3)
    assert len(first) + len(second) == 302
    assert not {identities[i] for i in first.indices if i < 300} & {identities[i] for i in second.indices}
    assert 40 < len(second) < 150
