"""The demo's faces: drawn into folders once, opened by every process that works on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lineament.data.cache import WITHOUT_MAPS, CachedSource
from lineament.data.registry import open_data
from lineament.data.sample import FaceSource
from lineament.data.subset import Concat
from lineament.parallel import Helpers
from lineament.pipeline.evaluate.portraits import portrait_pack, portraits_to_learn_from
from lineament.progress import Progress, silent
from lineament.synthetic.dataset import write_faces
from lineament.synthetic.world import World


@dataclass(frozen=True)
class DemoFaces:
    """Where the demo's faces lie.

    Attributes:
        folder: Holds the folders ``unlabelled``, ``labelled`` and ``test``; no person is in two of them.
        packs: Folder of the real data packs, whose portraits are unlabelled faces too; None in the built-in demo.
    """

    folder: Path
    packs: Path | None = None

    @property
    def data(self) -> tuple[str, ...]:
        """How `lineament resume` can open the unlabelled faces again: not at all where portraits are among them."""
        return (str(self.folder / "unlabelled"),) if self.packs is None else ()

    @property
    def labelled_data(self) -> tuple[str, ...]:
        """The same for the labelled faces."""
        return (str(self.folder / "labelled"),)

    @property
    def test_data(self) -> tuple[str, ...]:
        """The same for the unseen faces."""
        return (str(self.folder / "test"),)

    def open(self, part: str) -> FaceSource:
        """Open the synthetic faces of a part."""
        return CachedSource(open_data(str(self.folder / part)), fields=WITHOUT_MAPS)

    def unlabelled(self, portraits: FaceSource | None = None) -> FaceSource:
        """All faces to learn from without labels.

        Args:
            portraits: Those of the packs, where they have been read already.
        """
        faces = self.open("unlabelled")
        if self.packs is None:
            return faces
        return Concat(
            [faces, portraits or portraits_to_learn_from(portrait_pack(self.packs), silent)],
        )


def draw_faces(
    folder: Path,
    counts: dict[str, int],
    *,
    seed: int,
    size: int,
    head: str,
    packs: Path | None,
    progress: Progress,
    overwrite: bool,
    side: Helpers,
) -> DemoFaces:
    """Draw each part into a folder of its name; two seeds share no person."""
    with progress("drawing faces", sum(counts.values()), "faces") as advance:

        def finished(number: int) -> None:
            for _ in range(number):
                advance()

        for number, (part, count) in enumerate(counts.items()):
            world = World(seed=len(counts) * seed + number, size=size, head=head)
            write_faces(
                folder / part,
                world,
                count,
                packs,
                overwrite=overwrite,
                advance=finished,
                submit=side.submit,
            )
    return DemoFaces(folder, packs)
