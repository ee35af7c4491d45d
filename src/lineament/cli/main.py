"""The command line: finds the verb, imports only that verb's file, and turns errors into exit codes.

Exit codes: 0 done, 1 the work failed (one clear sentence), 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from lineament.denormals import denormals_restored
from lineament.errors import Interrupted, LineamentError, Terminated, UsageError, unknown_name

# Verb -> (module that holds its `Command` dataclass and `run`, one line of help).
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "a real photo in seconds; then learning without labels, in one report"),
    "detect": ("detect", "find faces: box, five points, score"),
    "analyze": ("analyze", "everything about faces: landmarks, pose, expression, mesh, one page"),
    "landmarks": ("landmarks", "put landmarks on photos with a trained model"),
    "match": ("match", "match points between two faces"),
    "depth": ("depth", "find the depth of a face: map, image, mesh"),
    "turn": ("turn", "turn the face of a photo, or put it on to another"),
    "mpi": ("mpi", "make a photo that can be looked at from the side: page, video, planes"),
    "data list": ("data_list", "name the data sets that can be read"),
    "data fetch": ("data_fetch", "get the data packs from those who publish them"),
    "data check": ("data_check", "find unreadable images and labels before training"),
    "data prepare": ("data_prepare", "find and crop the faces of a folder or data set"),
    "data synth": ("data_synth", "draw synthetic faces with exact ground truth"),
    "labels convert": ("labels_convert", "turn the labels of one tool into those of another"),
    "models": ("models", "list the models that can be named"),
    "models pack": ("models_pack", "write a run as a model folder"),
    "export": ("export", "write a model for other programs: ONNX, torch.export, a folder"),
    "recipes": ("recipes", "list what can be trained"),
    "train": ("train", "train a recipe"),
    "resume": ("resume", "go on with an interrupted run"),
    "import": ("import_", "read an old checkpoint into a run directory"),
    "evaluate": ("evaluate", "score a run or a file of predictions"),
    "evaluate depth": ("evaluate_depth", "score depths of keypoints over all pairs of faces"),
    "evaluate few-shot": ("evaluate_few_shot", "landmark error against the number of labels"),
    "gmpi sample": ("gmpi_sample", "draw samples of a run of multiplane images"),
    "gmpi video": ("gmpi_video", "turn such samples in a video, in colour and depth"),
    "gmpi mesh": ("gmpi_mesh", "make coloured meshes of them"),
    "gmpi view": ("gmpi_view", "make pages on which they are turned by hand"),
    "gmpi fit": ("gmpi_fit", "fit one to images with known poses"),
    "gmpi project": ("gmpi_project", "turn the face of a photo by such a run"),
    "bench": ("bench", "measure speed; prints one JSON line"),
}


def help_text() -> str:
    """Return the overview that `lineament --help` prints."""
    width = max(len(verb) for verb in VERBS)
    lines = [
        "lineament: learns the geometry of faces from few labels or none.",
        "",
        "usage: lineament VERB [options]      (lineament VERB --help shows the options)",
        "",
        *(f"  {verb:<{width}}  {summary}" for verb, (_, summary) in VERBS.items()),
        "",
        "  --debug     show the traceback of an error",
        "  --version   print the version",
    ]
    return "\n".join(lines)


def find_verb(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Split the arguments into a known verb (one or two words) and the rest.

    Raises:
        UsageError: If the verb is unknown; the message names the nearest one.
    """
    for words in (2, 1):
        verb = " ".join(arguments[:words])
        if len(arguments) >= words and verb in VERBS:
            return verb, list(arguments[words:])
    first = arguments[0]
    if any(verb.startswith(first + " ") for verb in VERBS):
        children = [verb for verb in VERBS if verb.startswith(first + " ")]
        if len(arguments) == 1 or arguments[1].startswith("-"):
            raise UsageError(f"'lineament {first}' needs one more word: {', '.join(children)}.")
        raise unknown_name("verb", " ".join(arguments[:2]), children)
    raise unknown_name("verb", first, VERBS)


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if given[0] == "--version":
        from lineament import __version__

        print(__version__)
        return 0
    verb, rest = find_verb(given)
    module = importlib.import_module(f"lineament.cli.{VERBS[verb][0]}")
    return int(module.main(rest) or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Threads of torch that spin between two operations hold the cores that the kernels' own threads are to run on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        # Verbs have the processor take subnormal numbers for zero; a Python caller of this function gets its own back.
        with denormals_restored():
            code = _run(given)
        # What is still buffered may meet a reader that has gone, which is to be answered below and not at exit.
        sys.stdout.flush()
        return code
    except UsageError as error:
        if debug:
            raise
        print(f"lineament: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"lineament: {stop}", file=sys.stderr)
        return stop.exit_code
    except LineamentError as error:
        if debug:
            raise
        print(f"lineament: {error}", file=sys.stderr)
        return 1
    except Terminated:
        print("lineament: terminated.", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("lineament: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (for example `| head`); nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"lineament: {error.strerror or error}{place}.", file=sys.stderr)
        return 1
    except SystemExit as stop:
        # The argument parser ends this way: 0 after --help, 2 after a wrong flag.
        return stop.code if isinstance(stop.code, int) else 2


def entry_point() -> None:
    """Entry point of the `lineament` script."""
    here = os.getpid()

    def terminate(number: int, frame: object) -> None:
        if os.getpid() != here:
            # A process that was forked with this handler has nothing of ours to clean up.
            os._exit(143)
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    sys.exit(main())
