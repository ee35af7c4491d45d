"""The training loop: reads top to bottom; everything a recipe should not have to think about.

Steps are counted from 1 once they are done. After step ``s`` come, in this order: the metric line, the evaluation
and the figures when they are due, the checkpoint. A checkpoint therefore holds all that happened up to its step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from lineament.data.loader import BatchStream
from lineament.data.sample import Source
from lineament.denormals import flush_denormals
from lineament.errors import LineamentError
from lineament.progress import say
from lineament.training.base_run import check_base_stays, shortened
from lineament.training.checkpoint import (
    checkpoint_steps,
    newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from lineament.training.distributed import (
    DeviceChoice,
    PrecisionChoice,
    average_scalars,
    make_fabric,
    reproducible,
)
from lineament.training.environment import session_facts
from lineament.training.logs import MetricLog
from lineament.training.memory import keep_freed_memory
from lineament.training.progress import TrainingProgress
from lineament.training.randomness import fork_rng
from lineament.training.recipe import Recipe
from lineament.training.run import Run, check_free, clear_run, create_run, open_run, resume_command
from lineament.training.run_report import write_run_report
from lineament.training.sources import reopen_sources
from lineament.training.state import TrainingState
from lineament.training.stopping import StopRequest, TrainingInterrupted
from lineament.training.update import GradientUpdate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SECONDS_BETWEEN_TIMINGS = 10.0


@dataclass(frozen=True)
class LoopOptions:
    """How to train, not what: nothing here but the precision changes the result."""

    # Where to compute; auto takes a CUDA device when there is one.
    device: DeviceChoice = "auto"
    # 32-true, or bf16-mixed: the networks compute in bfloat16 where that is safe.
    precision: PrecisionChoice = "32-true"
    # Processes that prepare data; 0 prepares it in the training process.
    workers: int = 0
    # Show a progress bar.
    progress: bool = True
    # Write report.html at the end and with every set of figures.
    report: bool = True
    # Draw figures at all; False where nobody will look at them.
    figures: bool = True
    # Stop after this step with a checkpoint, as if interrupted (tests); None trains to the end.
    stop_after: int | None = None


def train(
    recipe: Recipe[Any, Any],
    source: Source[Any],
    folder: str | Path,
    *,
    validation: Source[Any] | None = None,
    options: LoopOptions | None = None,
    data: Sequence[str] = (),
    validation_data: Sequence[str] = (),
    overwrite: bool = False,
) -> Run:
    """Train a recipe into a new run directory.

    Args:
        recipe: What to train.
        source: Samples to train on.
        folder: The run directory to make.
        validation: Samples for evaluation and figures; the training samples when None.
        options: Device, precision, workers.
        data: How ``source`` can be opened again (``data.registry.open_data``), so that the command line can resume.
        validation_data: The same for ``validation``.
        overwrite: True replaces an older run in ``folder``.

    Returns:
        The run, trained to its last step.

    Raises:
        TrainingInterrupted: After Ctrl-C, with the checkpoint saved; the message says how to resume.
        LineamentError: If the folder is in use, a loss is not finite, the data cannot be read, the disk is full ...
    """
    options, folder = options or LoopOptions(), Path(folder)
    check_base_stays(folder, recipe.config)
    check_free(folder, overwrite)
    existed = folder.is_dir()
    source = recipe.training_source(source)
    fabric = make_fabric(options.device, options.precision)
    keep_freed_memory()
    with reproducible(fabric.device), flush_denormals():
        # Networks, base and first batch come before the folder: what cannot start must leave nothing in the way, and
        # remove nothing.
        state = TrainingState(recipe, fabric, options.precision, source.fingerprint)
        loop = _Loop(recipe, state, fabric, source, validation, options)
        loop.read_ahead()
        made = None
        if fabric.global_rank == 0:
            made = create_run(
                folder,
                recipe,
                options.precision,
                data=data,
                validation=validation_data,
                overwrite=overwrite,
            )
            if recipe.not_taken and options.progress:
                say(f"the base run has no weights for {shortened(recipe.not_taken)}: learnt anew.")
        # Only the first process makes the folder; the others learn from it what was made.
        run = cast(Run, fabric.broadcast(made))
        try:
            loop.run_to_end(run)
        except BaseException:
            if fabric.global_rank == 0 and not run.metrics("train"):
                clear_run(folder)
                if not existed:
                    folder.rmdir()
            raise
    return run


def resume(
    folder: str | Path,
    source: Source[Any] | None = None,
    *,
    validation: Source[Any] | None = None,
    options: LoopOptions | None = None,
    recipe: Recipe[Any, Any] | None = None,
) -> Run:
    """Go on with an interrupted run from its newest whole checkpoint; bitwise as if it had never stopped.

    Args:
        folder: The run directory.
        source: The samples it was trained on; their fingerprint must be the same. ``None`` opens what the run's config
            names.
        validation: As in :func:`train`; opened with ``source`` when that is None.
        options: Device and workers; the precision is the run's own.
        recipe: The run's recipe; built from the run's config when None.

    Raises:
        CheckpointError: If configuration or data differ (the differing fields are listed), or all checkpoints are
            damaged.
    """
    run = open_run(folder)
    options = replace(options or LoopOptions(), precision=run.precision)  # type: ignore[arg-type]
    checkpoint = newest_checkpoint(run.checkpoints)
    # Without a checkpoint it starts once more, from its base if it has one.
    recipe = recipe or run.build_recipe(restored=checkpoint is not None)
    if source is None:
        source, validation = reopen_sources(run)
    source = recipe.training_source(source)
    fabric = make_fabric(options.device, options.precision)
    keep_freed_memory()
    with reproducible(fabric.device), flush_denormals():
        state = TrainingState(recipe, fabric, options.precision, source.fingerprint)
        if checkpoint is not None:
            for sentence in state.restore(checkpoint):
                say(f"warning: {sentence}")
        if fabric.global_rank == 0 and options.progress:
            say(f"resuming {run.folder} after step {state.step} of {recipe.config.steps}.")
        _Loop(recipe, state, fabric, source, validation, options).run_to_end(run)
    return run


class _Loop:
    """One session of training one run."""

    def __init__(
        self,
        recipe: Recipe[Any, Any],
        state: TrainingState,
        fabric: Fabric,
        source: Source[Any],
        validation: Source[Any] | None,
        options: LoopOptions,
    ) -> None:
        self.run: Run
        self.recipe = recipe
        self.config = recipe.config
        self.state = state
        self.fabric = fabric
        self.validation = validation if validation is not None else source
        self.options = options
        self.first_process = fabric.global_rank == 0
        self.update = GradientUpdate(fabric, state.optimisers, self.config.accumulate)
        self.stream = BatchStream(
            source,
            recipe.item,
            recipe.collate,
            self.config.batch_size,
            self.config.seed,
            start_step=state.step,
            workers=options.workers,
            rank=fabric.global_rank,
            world=fabric.world_size,
            accumulate=self.config.accumulate,
        )
        self.log: MetricLog | None = None
        self._parts = cast("Generator[Any, None, None]", iter(self.stream))
        self._ahead: list[Any] = []

    def read_ahead(self) -> None:
        """Read the first batch, which is used in the first step; raises ``DataError`` where that cannot be done."""
        self._ahead.append(next(self._parts))

    def run_to_end(self, run: Run) -> None:
        """Train from the state's step to the last one, then write the report; also when training is interrupted."""
        self.run = run
        try:
            self._start_log()
            try:
                show = self.first_process and self.options.progress
                progress = TrainingProgress(self.recipe.name, self.config.steps, self.state.step, show)
                # The stop request is outermost: a Ctrl-C while the bar closes must not lose the checkpoint.
                with StopRequest() as request, progress, closing(self._batches()) as batches:
                    self._train(batches, request, progress)
            finally:
                if self.log:
                    self.log.close()
            self._report()
        except TrainingInterrupted:
            self._report()
            raise
        # What the data room cannot read is a DataError; what is left is writing into the run directory.
        except OSError as error:
            raise LineamentError(
                f"cannot write into the run {self.run.folder}: {error.strerror or error}; free some space or make it "
                f"writable, then {resume_command(self.run.folder)}."
            ) from error

    def _start_log(self) -> None:
        if self.first_process:
            world, source = self.fabric.world_size, self.stream.source
            facts = session_facts(self.fabric.device, world, self.options.workers, self.state.step, source)
            self.run.add_session(facts)
            self.log = MetricLog(self.run.folder, self.state.step)

    def _report(self) -> None:
        if self.first_process and self.options.report:
            write_run_report(self.run)
        self.fabric.barrier()

    def _batches(self) -> Generator[Any, None, None]:
        with closing(self._parts):
            yield from self._ahead
            self._ahead.clear()
            yield from self._parts

    def _train(self, batches: Iterator[Any], request: StopRequest, progress: TrainingProgress) -> None:
        state, config = self.state, self.config
        timed_at, timed_step = time.perf_counter(), state.step
        while state.step < config.steps and not self._exhausted():
            values = self._step(batches, request)
            stop = values.pop("stop") > 0 or state.step == self.options.stop_after
            last = state.step == config.steps
            self._write("train", values)
            progress.advance(state.step, values["loss"])
            improved = self._evaluate() if last or _due(config.evaluate_every, state.step) else False
            last = last or self._exhausted()
            if self.options.figures and (last or _due(config.figures_every, state.step)):
                self._figures(last)
            if last or stop or improved or _due(config.checkpoint_every, state.step):
                self._save()
            now = time.perf_counter()
            if self.log and (last or stop or now - timed_at > SECONDS_BETWEEN_TIMINGS):
                rate = (state.step - timed_step) / (now - timed_at)
                timing = {"steps_per_second": rate, "samples_per_second": rate * config.batch_size}
                self.log.write_timing(state.step, timing)
                timed_at, timed_step = now, state.step
            if stop and not last:
                raise TrainingInterrupted(
                    f"stopped after step {state.step} of {config.steps}, the checkpoint is saved: "
                    f"{resume_command(self.run.folder)} goes on."
                )

        if state.step < config.steps and self.first_process and self.options.progress:
            say(
                f"stopped early after step {state.step} of {config.steps}: the best of {config.patience} evaluations "
                f"before was that of step {state.best['step'] if state.best else 0}, whose weights are used."
            )

    def _exhausted(self) -> bool:
        """Whether the last evaluations, as many as the config's patience, brought nothing better."""
        patience, best = self.config.patience * self.config.evaluate_every, self.state.best
        return patience > 0 and best is not None and self.state.step - int(best["step"]) >= patience

    def _step(self, batches: Iterator[Any], request: StopRequest) -> dict[str, float]:
        """Do one step; return its metrics averaged over parts and processes, and whether anyone wants to stop."""
        state, parts = self.state, self.config.accumulate
        sums: dict[str, Tensor] = {}
        for part in range(parts):
            batch = self.fabric.to_device(next(batches))
            self.update.begin(part)
            context = state.context(self.update, part)
            for key, value in self.recipe.step(state.networks, batch, context).items():
                share = value.detach().float() / parts
                sums[key] = sums[key] + share if key in sums else share
        if "loss" not in sums:
            raise LineamentError(
                f"recipe {self.recipe.name!r} returned no 'loss' but {', '.join(sorted(sums))}."
            )
        rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in state.optimisers.items()}
        state.finish_step()
        values = average_scalars(sums, {"stop": float(request.wanted)}, self.fabric.world_size)
        self._check_finite(values)
        return {**values, **{f"learning_rate/{name}": float(rate) for name, rate in rates.items()}}

    def _check_finite(self, values: dict[str, float]) -> None:
        for key, value in values.items():
            if not math.isfinite(value):
                saved = checkpoint_steps(self.run.checkpoints)
                kept = (
                    f"the checkpoint of step {saved[-1]} is kept"
                    if saved
                    else "no checkpoint was written yet"
                )
                raise LineamentError(
                    f"{key} is {value} at step {self.state.step} of {self.recipe.name}: lower the learning rate or "
                    f"look for bad samples with `lineament data check`; {kept}."
                )

    def _evaluate(self) -> bool:
        """Measure in the first process; return whether the result is the best so far, the same in all processes."""
        improved = False
        if self.first_process:
            with _EvalMode(self.state), fork_rng(self.config.seed):
                measured = self.recipe.evaluate(self.state.eval_networks(), self.validation)
            if measured:
                self._write("evaluation", measured)
            improved = self._is_best(measured)
        improved, self.state.best = self.fabric.broadcast((improved, self.state.best))
        return improved

    def _is_best(self, measured: dict[str, float]) -> bool:
        name = self.recipe.best_metric
        if not name or not measured:
            return False
        if name not in measured:
            raise LineamentError(
                f"recipe {self.recipe.name!r} names {name!r} as its best metric but measured {', '.join(measured)}."
            )
        value, best = float(measured[name]), self.state.best
        sign = 1.0 if self.recipe.best_is == "lowest" else -1.0
        if math.isnan(value) or (best is not None and sign * value >= sign * best["value"]):
            return False
        self.state.best = {"metric": name, "value": value, "step": self.state.step}
        return True

    def _figures(self, last: bool) -> None:
        if self.first_process:
            folder = self.run.figures(self.state.step)
            folder.mkdir(parents=True, exist_ok=True)
            with _EvalMode(self.state), fork_rng(self.config.seed):
                drawn = self.recipe.figures(self.state.eval_networks(), self.validation, folder)
            if not drawn:
                folder.rmdir()
            if drawn and not last and self.options.report:
                write_run_report(self.run)
        self.fabric.barrier()

    def _save(self) -> None:
        checkpoint = self.state.to_checkpoint()
        if self.first_process:
            folder = self.run.checkpoints
            save_checkpoint(folder, checkpoint)
            # Later steps can only be damaged ones that a resume passed over.
            keep = [step for step in checkpoint_steps(folder) if step <= checkpoint.step][-2:]
            if self.state.best:
                keep.append(self.state.best["step"])
            prune_checkpoints(folder, keep)
        self.fabric.barrier()

    def _write(self, kind: str, values: dict[str, float]) -> None:
        if self.log:
            self.log.write(kind, self.state.step, values)


class _EvalMode:
    """Context in which the evaluated networks are in eval mode; each module's mode is set back afterwards."""

    def __init__(self, state: TrainingState) -> None:
        self.networks = state.eval_networks().values()

    def __enter__(self) -> None:
        self.modes = [(module, module.training) for network in self.networks for module in network.modules()]
        for network in self.networks:
            network.eval()

    def __exit__(self, *_: object) -> None:
        for module, training in self.modes:
            module.training = training


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
