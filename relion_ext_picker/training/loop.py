"""The one training loop: AdamW, a warm-up and cosine decay of the learning rate, averaged weights.

What a training has come to can be kept in a file, from which it goes on after an interruption.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from relion_ext_picker.atomic import atomic_path

Batch = tuple[Tensor, ...]
Progress = Callable[[str, nn.Module], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    learning_rate : float
        Largest learning rate, reached after `warmup` of the steps.
    warmup : float
        Share of the steps.
    weight_decay : float
    average : float
        Decay of the running average of the weights; 0 switches it off.
    report : int
        A progress line every so many steps.
    state : Path, optional
        File that keeps what there is at every progress line; if it is there, training goes on from it.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    average: float = 0.998
    report: int = 100
    state: Path | None = None

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))


def low_precision(device: torch.device) -> bool:
    """Whether bfloat16 is fast on the device."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def fit(
    network: nn.Module,
    batches: Iterator[Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    schedule: Schedule,
    device: torch.device,
    progress: Progress,
) -> nn.Module:
    """Train a network and return the average of its weights over the last steps.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    batches : iterator of tuple of Tensor
        At least ``schedule.steps`` batches, on the CPU.
    loss : callable
        ``loss(network, batch) -> scalar``; called under autocast.
    schedule : Schedule
    device : torch.device
    progress : callable
        Takes one line of text and the average so far, which it may save. It may raise, to stop the training.

    Returns
    -------
    nn.Module
        In evaluation mode, on `device`.
    """
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    mixed = low_precision(device)
    running, first = _restored(schedule.state, network, averaged, optimiser)
    start = time.perf_counter()
    for step in range(first, schedule.steps):
        batch = tuple(part.to(device, non_blocking=True) for part in next(batches))
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            value = loss(network, batch)
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        # Early steps must not weigh in the average, so its memory grows to the full length.
        _average(averaged, network, min(schedule.average, (1 + step) / (10 + step)))
        running += (float(value.detach()) - running) * max(0.01, 1 / (step + 1))
        if (step + 1) % schedule.report == 0 or step + 1 == schedule.steps:
            pace = (time.perf_counter() - start) / (step + 1 - first)
            if schedule.state is not None:
                _keep(schedule.state, (step + 1, running), network, averaged, optimiser)
            progress(f"step {step + 1}/{schedule.steps}: loss {running:.5f}, {pace:.2f} s per step", averaged)
    return averaged.eval()


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    live = network.state_dict()
    for name, value in averaged.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(live[name], 1 - decay)
        else:
            value.copy_(live[name])


def steps_done(state: Path | None) -> int:
    """Optimiser steps that a file of :class:`Schedule` stands for; 0 where there is none, or none that can be read."""
    return round(_told(state).get("step", 0.0))


def _told(state: Path | None) -> dict[str, float]:
    if state is None or not state.is_file():
        return {}
    try:
        with safe_open(state, framework="pt") as stored:
            return {name: float(value) for name, value in (stored.metadata() or {}).items()}
    except (SafetensorError, ValueError):  # of another program, or damaged
        return {}


def _keep(
    state: Path, told: tuple[int, float], network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write weights, their average and the optimiser's moments."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in averaged.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_path(state) as temporary:
        save_file(whole, temporary, {"step": str(told[0]), "loss": repr(told[1])})


def _restored(
    state: Path | None, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[float, int]:
    """Fill in what a file holds; mean loss and number of steps done, 0 of both where there is nothing to go on from."""
    told = _told(state)
    if state is None or not told:
        return 0.0, 0
    moments: dict[int, dict[str, Tensor]] = {}
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "averaged": {}}
    with safe_open(state, framework="pt") as stored:
        for full in stored.keys():  # noqa: SIM118
            part, _, name = full.partition(".")
            if part == "optimiser":
                index, _, name = name.partition(".")
                moments.setdefault(int(index), {})[name] = stored.get_tensor(full)
            else:
                parts[part][name] = stored.get_tensor(full)
    network.load_state_dict(parts["network"])
    averaged.load_state_dict(parts["averaged"])
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    return told["loss"], round(told["step"])
