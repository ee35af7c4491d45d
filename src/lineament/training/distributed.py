"""Devices, precision and processes through Lightning Fabric, and the few collectives the loop needs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lineament.denormals import flushes_denormals
from lineament.errors import UsageError
from lineament.nn.sync_batch_norm import synchronise_batch_norm

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DeviceChoice = Literal["auto", "cpu", "cuda"]
PrecisionChoice = Literal["32-true", "bf16-mixed"]


def make_fabric(device: DeviceChoice, precision: PrecisionChoice) -> Fabric:
    """Set up the device, the precision and, under ``torchrun``, the process group (nccl on GPUs, gloo on CPUs).

    Raises:
        UsageError: If CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for but torch finds no CUDA device: choose --device cpu.")
    # Imported here: it costs as much time as torch itself, and only training needs it.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and dist.is_torchelastic_launched():
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        backend = "nccl" if accelerator == "cuda" else "gloo"
        strategy = DDPStrategy(process_group_backend=backend)
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy=strategy,
            precision=precision,
        )
    else:
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    fabric.launch()
    return fabric


def place_network(fabric: Fabric, network: nn.Module) -> nn.Module:
    """Move a network to the device, synchronise its batch norms, and make it compute in the precision.

    Under mixed precision ``forward``, and each method that the network names in ``forward_methods`` because recipes
    call it from outside, computes in bfloat16 where that is safe; outputs come back in float32, so that a recipe's loss
    is computed in float32. (Fabric's ``mark_forward_method`` does the same for networks that Fabric wraps.) The network
    is not wrapped: it keeps its class, its methods and its parameter names. (``DistributedDataParallel`` is not used:
    it forbids methods other than ``forward``, two passes per step, and gradients of some networks only; the loop
    averages gradients itself.)
    """
    if fabric.world_size > 1:
        network = synchronise_batch_norm(network)
    network.to(fabric.device)
    if fabric.world_size > 1:
        for tensor in [*network.parameters(), *network.buffers()]:
            dist.broadcast(tensor.detach(), src=0)
    if fabric.strategy.precision.precision == "bf16-mixed":
        for name in ("forward", *getattr(network, "forward_methods", ())):
            setattr(network, name, _in_precision(fabric, getattr(network, name)))
    return network


def is_mixed(network: nn.Module) -> bool:
    """Whether a network that a training has made ready computes in mixed precision: its methods are then its own."""
    return "forward" in vars(network)


def _in_precision(fabric: Fabric, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method under autocast, with float32 outputs; within another such call only the method."""

    @functools.wraps(method)
    def run(*arguments: Any, **options: Any) -> Any:
        if torch.is_autocast_enabled(fabric.device.type):
            return method(*arguments, **options)
        with fabric.autocast():
            output = method(*arguments, **options)
        return _to_float32(output)

    return run


def average_gradients(parameters: Iterable[nn.Parameter], world: int) -> None:
    """Replace the gradients by their mean over all processes; a gradient that no process has stays ``None``."""
    if world == 1:
        return
    by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for dtype, members in by_dtype.items():
        # The last entries count the processes that have a gradient, so that all agree on which are None.
        present = torch.tensor([p.grad is not None for p in members], device=members[0].device, dtype=dtype)
        parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in members]
        flat = torch.cat([*parts, present])
        dist.all_reduce(flat)
        flat[: -len(members)] /= world
        start = 0
        for parameter, count in zip(members, flat[-len(members) :].tolist(), strict=True):
            piece = flat[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
            if count:
                parameter.grad = piece.clone()


def average_scalars(values: dict[str, Tensor], extra: dict[str, float], world: int) -> dict[str, float]:
    """Return scalars as floats, averaged over processes; one transfer and one collective for all of them.

    Args:
        values: Scalar tensors on the device, the same names in every process.
        extra: Python numbers to average with them.
        world: Number of processes.
    """
    tensors = [value.detach().double().reshape(()) for value in values.values()]
    device = tensors[0].device if tensors else torch.device("cpu")
    more = torch.tensor(list(extra.values()), dtype=torch.float64, device=device)
    together = torch.cat([torch.stack(tensors), more]) if tensors else more
    if world > 1:
        dist.all_reduce(together)
        together = together / world
    return dict(zip([*values, *extra], together.tolist(), strict=True))


def average_tensors(tensors: dict[str, Tensor], world: int) -> dict[str, Tensor]:
    """Return tensors without their history, averaged over processes; every process must have the same names."""
    averaged = {name: tensor.detach() for name, tensor in tensors.items()}
    if world > 1:
        for name in sorted(averaged):
            total = averaged[name].clone()
            dist.all_reduce(total)
            averaged[name] = total / world
    return averaged


def gather(value: Any, world: int) -> list[Any]:
    """Return the value of every process, by rank."""
    if world == 1:
        return [value]
    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def rounding_facts(device: torch.device) -> dict[str, Any]:
    """Return what decides how this process rounds: the device, and on a CPU its threads and its subnormal numbers."""
    if device.type != "cpu":
        return {"device": device.type, "threads": None, "flush_to_zero": None}
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "flush_to_zero": flushes_denormals(),
    }


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Ask for deterministic kernels while training, so that equal runs have equal bits.

    On a CPU this matters from two threads on: gradients of repeated indices are then added up by whichever thread comes
    first. Kernels that have no deterministic form warn once and run all the same; a bitwise resume is then not
    promised.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_deterministic_debug_mode()
    flags = [
        (torch.backends.cudnn, "benchmark", False),
        (torch.backends.mkldnn, "deterministic", True),
        # Filling every new tensor with NaN finds reads of memory that nothing wrote; here it would only cost time.
        (torch.utils.deterministic, "fill_uninitialized_memory", False),
    ]
    # Some versions of torch lack some of the flags.
    found = [
        (place, name, getattr(place, name), value) for place, name, value in flags if hasattr(place, name)
    ]
    # The same as use_deterministic_algorithms(True, warn_only=True), but without importing a compiler.
    torch.set_deterministic_debug_mode("warn")
    for place, name, _, value in found:
        setattr(place, name, value)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        for place, name, value, _ in found:
            setattr(place, name, value)


def _to_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if isinstance(value, dict):
        return type(value)({key: _to_float32(item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_to_float32(item) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(_to_float32(item) for item in value)
    return value
