"""Whatever README and docs name exists: commands, flags, files, links, names of the package, targets of make."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tyro
from tests.docs.documents import DOCUMENTS, PACKAGE, ROOT, Document, run_session

from lineament.cli.main import VERBS, find_verb, main
from lineament.errors import LineamentError
from lineament.heads.builtin import builtin_head

each_document = pytest.mark.parametrize(
    "document", [Document(path) for path in DOCUMENTS], ids=lambda each: each.name
)

# Programs that a session may name besides `lineament`, which are looked at only where they hold names of ours.
OTHER_PROGRAMS = {"make", "pytest", "pip", "python", "torchrun", "bash", "mkdir", "cp", "npm", "tar"}
# Files of other programs, named as sources; and the reader's own.
NOT_OURS = {"data/datasets/coco.py", "my_scheme.yaml", "gmpi.yml"}
# Endings of files that lie in this repository; others are the reader's own.
OUR_ENDINGS = (".py", ".md", ".toml", ".sh", ".yml")


class Understood(BaseException):
    """The words were parsed; nothing is to be done."""


def refusal_of(words: Sequence[str]) -> str | None:
    """What the command line says against these words (without `lineament`), or None where it would begin to work."""
    parse, said = tyro.cli, io.StringIO()

    def parse_only(*arguments: Any, **options: Any) -> None:
        parse(*arguments, **options)
        raise Understood

    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
    ):
        patch.setattr(tyro, "cli", parse_only)
        try:
            code = main(list(words))
        except Understood:
            return None
    return said.getvalue() or f"exit code {code}"


@functools.cache
def flags_of(verb: str) -> frozenset[str]:
    """All flags that the help of a verb names; of `train RECIPE` also the fields of its config."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert main([*verb.split(), "--help"]) == 0
    return frozenset(re.findall(r"--[a-z][\w-]*", shown.getvalue())) | {"--debug", "--help"}


def known_recipes() -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["recipes"]) == 0
    from lineament.training.registry import recipes

    return list(recipes())


@functools.cache
def all_flags() -> frozenset[str]:
    """Flags of every verb and every recipe."""
    from lineament.training.registry import get_recipe

    found = {"--preset", "--version"}
    for verb in VERBS:
        found |= flags_of(verb)
    found |= flags_of("train dve-smallnet-16d")
    for recipe in known_recipes():
        for field in dataclasses.fields(get_recipe(recipe).config_class):
            found |= {f"--{field.name}".replace("_", "-"), f"--no-{field.name}".replace("_", "-")}
    return frozenset(found)


def unknown_in(words: Sequence[str]) -> list[str]:
    """What of an incomplete command (without `lineament`) does not exist: the verb, the recipe, flags."""
    if not words or words[0].startswith("--"):
        return [flag for flag in flags_in(words) if flag not in all_flags()]
    try:
        verb, rest = find_verb(words)
    except LineamentError as error:
        return [str(error)]
    if verb == "train" and rest and not rest[0].startswith("-") and rest[0].lower() == rest[0]:
        if rest[0] not in known_recipes():
            return [f"recipe {rest[0]}"]
        verb = f"train {rest[0]}"
    known = all_flags() if verb == "train" else flags_of(verb)
    return [flag for flag in flags_in(rest) if flag not in known]


def flags_in(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


def started_by_torchrun(words: Sequence[str]) -> tuple[str, list[str]]:
    """The program and its words as torchrun reads them: it takes beginnings of its options for these, even in ours."""
    from torch.distributed.run import parse_args

    try:
        read = parse_args(list(words))
    except SystemExit:
        return f"torchrun {shlex.join(words)}", []
    return read.training_script, read.training_script_args


def is_incomplete(words: Sequence[str]) -> bool:
    return "..." in words


@each_document
def test_every_command_of_a_session_is_understood(document: Document):
    refused = []
    for program, *words in document.commands:
        if program == "torchrun":
            program, words = started_by_torchrun(words)
        if program != "lineament":
            assert program in OTHER_PROGRAMS, f"{program}: neither ours nor known"
            continue
        if is_incomplete(words):
            refused += [(shlex.join(words), each) for each in unknown_in(words)]
        elif said := refusal_of(words):
            refused.append((shlex.join(words), said))
    assert not refused


@each_document
def test_every_command_within_a_sentence_exists(document: Document):
    wrong = []
    for span in document.spans:
        words = span.split()
        if words[0] == "lineament" and len(words) > 1:
            wrong += [(span, each) for each in unknown_in([word.strip("'\"") for word in words[1:]])]
        elif re.match(r"--[a-z]", span):
            wrong += [(span, flag) for flag in flags_in(words) if flag not in all_flags() | other_flags()]
    assert not wrong


@functools.cache
def other_flags() -> frozenset[str]:
    """Flags that this repository's tests add to pytest's, and those of its scripts."""
    found = re.findall(r'addoption\("(--[\w-]+)"', (ROOT / "tests" / "conftest.py").read_text())
    for path in (each for ending in ("py", "sh") for each in (ROOT / "scripts").rglob(f"*.{ending}")):
        found += re.findall(r'(?:== |add_argument\(")(--[\w-]+)', path.read_text())
    return frozenset(found)


@each_document
def test_every_target_of_make_exists(document: Document):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = [words[1:] for words in document.commands if words[0] == "make"]
    named += [span.split()[1:] for span in document.spans if span.startswith("make ")]
    assert {word for words in named for word in words if "=" not in word} <= targets


@each_document
def test_every_link_leads_somewhere(document: Document):
    dead = []
    for link in document.links:
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (document.path.parent / place).resolve() if place else document.path
        if not target.is_file() or (anchor and anchor not in Document(target).anchors):
            dead.append(link)
    assert not dead


def folders_of(document: Document) -> list[Path]:
    """Where the files of a document may lie: the root, the package, beside it, and folders that it names itself."""
    here = [ROOT, PACKAGE, document.path.parent, ROOT / "docs"]
    named = [Path(span) for span in document.spans if re.fullmatch(r"[\w./-]+/", span)]
    return here + [base / folder for base in (ROOT, PACKAGE) for folder in named if (base / folder).is_dir()]


def files_in(document: Document) -> Iterator[str]:
    """Names of files of this repository: in code spans, in calls of pytest, and as plain words."""
    for span in document.spans:
        for word in re.split(r"[\s,;()\"']+", span):
            yield from filter(is_our_file, expand_braces(word.partition("::")[0]))
    for words in document.commands:
        yield from (word for word in words if word.startswith(("tests/", "scripts/", "docs/", "src/")))
    unquoted = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", document.prose)
    yield from re.findall(r"(?<![\w/.:-])(?:[\w-]+/)+[\w-]+\.(?:py|md)\b", unquoted)


def is_our_file(word: str) -> bool:
    """Whether a word names a file that should lie here; a pattern such as `methods/<name>/recipe*.py` names a kind."""
    if word in NOT_OURS or re.search(r"[*<]|NAME", word):
        return False
    return word.endswith(OUR_ENDINGS) or word.startswith(("tests/", "docs/", "src/", "scripts/"))


def expand_braces(word: str) -> list[str]:
    match = re.search(r"\{([^{}]*,[^{}]*)\}", word)
    if match is None:
        return [word]
    return [word[: match.start()] + each + word[match.end() :] for each in match[1].split(",")]


@each_document
def test_every_file_of_the_repository_exists(document: Document):
    folders = folders_of(document)
    assert not {
        name for name in files_in(document) if not any((folder / name).exists() for folder in folders)
    }


@functools.cache
def words_of_the_code() -> frozenset[str]:
    """Every identifier and every word in a string of the package, its tests and their data; names of a head's modes."""
    head = builtin_head()
    found = {*head.identity_names, *head.expression_names}
    for folder in (PACKAGE, ROOT / "tests", ROOT / "scripts"):
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".yaml", ".json", ".sh") and path != Path(__file__):
                found |= set(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8")))
    return frozenset(found)


@each_document
def test_every_name_in_a_sentence_is_one_of_the_code(document: Document):
    """Functions, classes, fields and files' keys: one word, with brackets or without, also behind dots."""
    unknown = set()
    for span in document.spans:
        match = re.fullmatch(r"([A-Za-z_][\w.]*?)(\(.*\))?", span)
        if match and not span.endswith(OUR_ENDINGS):
            names = {part for part in match[1].split(".") if not part[:1].isdigit()} - {""}
            unknown |= names - words_of_the_code()
    assert not unknown


def resolve(dotted: str) -> object:
    """The module or attribute that a dotted path names.

    Raises:
        ImportError: If it does not exist.
    """
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                raise ImportError(f"{dotted}: no {part}")
            value = getattr(value, part)
        return value
    raise ImportError(dotted)


@each_document
def test_every_path_of_a_module_or_class_exists(document: Document):
    wrong = []
    for span in document.spans:
        match = re.fullmatch(r"(lineament(?:\.\w+)+)(\(.*\))?", span)
        # Keys of files that begin with the package's name stand in its source as strings.
        if match and not any(f'"{match[1]}"' in path.read_text() for path in PACKAGE.rglob("*.py")):
            try:
                resolve(match[1])
            except ImportError as error:
                wrong.append(str(error))
    assert not wrong


@each_document
def test_every_import_of_a_snippet_works(document: Document):
    for fence in document.fences:
        if fence.language != "python":
            continue
        for node in ast.walk(ast.parse(fence.text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    resolve(f"{node.module}.{alias.name}")
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    resolve(alias.name)


def test_what_does_not_exist_is_noticed():
    """The checks above would pass on anything if these did not fail."""
    assert refusal_of(["landmarks", "photo.jpg", "--model", "runs/marks"]) is None
    assert "--modle" in (refusal_of(["landmarks", "photo.jpg", "--modle", "runs/marks"]) or "")
    assert refusal_of(["landmark", "photo.jpg"])
    assert refusal_of(["train", "dve-moderne", "--data", "faces/"])
    assert refusal_of(["train", "dve-modern", "--preset", "none-such"])
    assert refusal_of(["train", "dve-modern", "--step", "fast"])
    assert unknown_in(["train", "dve-modern", "--colour-of-hair"]) == ["--colour-of-hair"]
    assert unknown_in(["train", "dve-moderne"]) == ["recipe dve-moderne"]
    assert unknown_in(["bench", "NAME", "--repeats", "5", "--threds=1"]) == ["--threds"]
    assert unknown_in(["--no-such-flag"]) == ["--no-such-flag"]
    with pytest.raises(ImportError):
        resolve("lineament.data.registry.open_nothing")
    assert run_session("for s in 0 1; do lineament train a --seed $s \\\n --run r-$s; done  # twice") == [
        ["lineament", "train", "a", "--seed", "0", "--run", "r-0"],
        ["lineament", "train", "a", "--seed", "1", "--run", "r-1"],
    ]
    with pytest.raises(AssertionError):
        run_session("for s in 0 1; lineament")
