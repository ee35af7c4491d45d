"""Data sets by name. A reader is one file in ``data/readers`` with one registered function.

Readers that need rooms above this one, or come with another package, are found by their module's name: those of this
package stand in :data:`MODULES`, those of others in the entry-point group ``lineament.readers``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from lineament.data.sample import Source
from lineament.errors import DataError, UsageError, unknown_name

Opener = TypeVar("Opener", bound=Callable[..., Source[Any]])

# A note in a folder whose index is still to come; without it the folder would pass for one of plain images.
UNFINISHED = "unfinished.txt"


@dataclass(frozen=True)
class Reader:
    """One kind of data that can be read.

    Attributes:
        name: The word a user types.
        summary: One line for ``lineament data list``.
        open: ``open(root, split=..., **options) -> Source``; ``root`` is None where no files are needed.
        splits: Splits it knows, the first is the default; empty where it has none.
        where: Where the files come from, for messages and documentation.
        needs_root: False where no files are needed.
    """

    name: str
    summary: str
    open: Callable[..., Source[Any]]
    splits: tuple[str, ...] = ()
    where: str = ""
    needs_root: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that :attr:`open` takes besides root and split."""
        return tuple(
            name for name in inspect.signature(self.open).parameters if name not in ("root", "split")
        )


# Modules that register readers and draw on rooms above this one.
MODULES = ("lineament.synthetic.reader", "lineament.synthetic.reader_keypoints")
# Entry points of other packages: each names a module that registers readers.
GROUP = "lineament.readers"

_READERS: dict[str, Reader] = {}


def register_reader(
    name: str, summary: str, *, splits: tuple[str, ...] = (), where: str = "", needs_root: bool = True
) -> Callable[[Opener], Opener]:
    """Register the decorated function as the reader ``name``; see :class:`Reader` for the arguments."""

    def register(function: Opener) -> Opener:
        if name in _READERS and _READERS[name].open.__module__ != function.__module__:
            raise ValueError(
                f"two readers are called {name!r}: {_READERS[name].open.__module__} has it already."
            )
        _READERS[name] = Reader(name, summary, function, splits, where, needs_root)
        return function

    return register


@functools.cache
def _register_all() -> None:
    """Import every module that registers a reader, once."""
    import lineament.data.readers as package

    here = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    for module in (*here, *MODULES, *(point.value for point in entry_points(group=GROUP))):
        importlib.import_module(module)


def readers() -> dict[str, Reader]:
    """Return all readers by name, in alphabetical order."""
    _register_all()
    return dict(sorted(_READERS.items()))


@dataclass(frozen=True)
class Request:
    """A data set asked for by name, checked but not opened yet."""

    reader: Reader
    root: Path | None
    arguments: dict[str, Any]

    def open(self) -> Source[Any]:
        """Open the samples; raises ``DataError`` if files are missing or cannot be used."""
        return self.reader.open(self.root, **self.arguments)


def request(
    name: str, root: str | Path | None = None, *, split: str | None = None, **options: Any
) -> Request:
    """Check a name, folder, split and options; arguments and errors as :func:`open_source`."""
    known = readers()
    if name not in known:
        raise unknown_name("data set", name, known)
    reader = known[name]
    for option in options:
        if option not in reader.options:
            raise unknown_name(f"option of data set {name!r}", option, reader.options)
    arguments = dict(options)
    if reader.splits:
        split = split or reader.splits[0]
        if split not in reader.splits:
            raise unknown_name(f"split of data set {name!r}", split, reader.splits)
        arguments["split"] = split
    elif split is not None:
        raise UsageError(f"data set {name!r} has no splits: leave {split!r} out.")
    if root is None:
        if reader.needs_root:
            raise UsageError(f"data set {name!r} needs the folder it lies in.")
        return Request(reader, None, arguments)
    place = Path(root).expanduser()
    if not place.exists():
        hint = f" ({reader.where})" if reader.where else ""
        raise DataError(
            f"there is no {place} to read data set {name!r} from: give the folder it lies in{hint}."
        )
    return Request(reader, place, arguments)


def open_source(
    name: str, root: str | Path | None = None, *, split: str | None = None, **options: Any
) -> Source[Any]:
    """Open a data set.

    Args:
        name: Name of a reader, see ``lineament data list``.
        root: Folder (or archive) of the data set; None for readers that need none.
        split: Part of the data set; None takes the reader's default.
        **options: Options of the reader.

    Returns:
        The samples, in a fixed order.

    Raises:
        UsageError: If the reader, split or option is unknown.
        DataError: If files are missing or cannot be used.
    """
    return request(name, root, split=split, **options).open()


def open_data(text: str | Path, *, split: str | None = None, **options: Any) -> Source[Any]:
    """Open what a user types after ``--data``; see :func:`parse_data`."""
    return parse_data(text, split=split, **options).open()


def parse_data(text: str | Path, *, split: str | None = None, **options: Any) -> Request:
    """Understand what a user types after ``--data``: ``NAME:FOLDER``, ``NAME``, or a folder, with ``?option=value``.

    A bare folder is recognised by its index: one that ``lineament data synth`` wrote, one that ``lineament data
    prepare`` wrote, a portrait pack; a zip archive by what lies in and beside it; anything else is read as a folder of
    images. Options follow a question mark: ``celeba:/data/celeba?split=val``, ``synthetic?count=500&size=64``.

    Raises:
        UsageError: If a name, split or option is unknown.
        DataError: If there is no such folder.
    """
    place, _, query = str(text).partition("?")
    for pair in filter(None, query.split("&")):
        key, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"{pair!r} in {str(text)!r} is not option=value.")
        if key == "split":
            split = value
        else:
            options[key] = _plain(value)
    known = readers()
    name, colon, root = place.partition(":")
    if colon and name in known:
        return request(name, root or None, split=split, **options)
    if place in known and not (known[place].needs_root and Path(place).exists()):
        return request(place, None, split=split, **options)
    folder = Path(place).expanduser()
    if not folder.exists():
        if colon and not Path(name).exists():
            raise unknown_name("data set", name, known)
        raise DataError(f"there is no folder or data set {place!r}: see `lineament data list`.")
    return request(recognise(folder), folder, split=split, **options)


def with_labels(text: str | Path, labels: Path) -> str:
    """What is typed after ``--data`` with a label file beside it: only its labelled faces are meant.

    Args:
        text: As for :func:`parse_data`.
        labels: A label file of any tool, or a folder of them (docs/labels.md).

    Raises:
        UsageError: If the data set takes no label file, or the path cannot stand in such a text.
        DataError: If there is no such file.
    """
    if not labels.expanduser().exists():
        raise DataError(f"there is no label file {labels}.")
    path = str(labels.expanduser().resolve())
    if "&" in path or "?" in str(text).partition("?")[2]:
        raise UsageError(f"{path} cannot be named together with {text}: rename it without '&' and '?'.")
    asked = parse_data(text)
    if "labels" not in asked.reader.options:
        raise UsageError(
            f"the data set {asked.reader.name!r} has labels of its own: a label file goes with a folder of images or "
            "prepared crops."
        )
    return f"{text}{'&' if '?' in str(text) else '?'}labels={path}&labelled=true"


def refuse_unfinished(folder: Path) -> None:
    """Refuse a folder that a command began to write and did not finish.

    Raises:
        DataError: With what lies in the folder's note, which says how to go on.
    """
    note = folder / UNFINISHED
    if note.is_file():
        raise DataError(f"{folder} is unfinished: {note.read_text(encoding='utf-8').strip()}")


def recognise(folder: Path) -> str:
    """Guess the reader of a folder by the index that lies in it; raises ``DataError`` on one that is unfinished."""
    refuse_unfinished(folder)
    if (folder / "cache.json").is_file():
        return "crops"
    if (folder / "index.parquet").is_file():
        import pyarrow.parquet as pq

        metadata = pq.read_schema(folder / "index.parquet").metadata or {}
        return metadata.get(b"lineament.reader", b"synthetic").decode()
    if folder.suffix.lower() == ".zip" and not (folder.parent / "index.csv").is_file():
        return _archive_reader(folder)
    if folder.suffix.lower() == ".zip" or ((folder / "index.csv").is_file() and list(folder.glob("*.zip"))):
        return "portraits"
    return "folder"


def _archive_reader(path: Path) -> str:
    """The reader of a zip archive without an index beside it: images by the data set tool of StyleGAN2-ADA or EG3D."""
    try:
        with zipfile.ZipFile(path) as archive:
            labels = json.loads(archive.read("dataset.json"))["labels"]
            return "afhqcat" if len(labels[0][1]) == 25 else "ffhq"
    # Without labels it holds images alone; whatever else is wrong with it, reading says so.
    except Exception:
        return "ffhq"


def _plain(value: str) -> int | float | bool | str:
    """Read a number or truth value from text, else keep the text."""
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
