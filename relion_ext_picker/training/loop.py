"""The one training loop: AdamW, a warm-up and cosine decay of the learning rate, averaged weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    average: float = 0.998
    report: int = 100

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
    running, start = 0.0, time.perf_counter()
    for step in range(schedule.steps):
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
            pace = (time.perf_counter() - start) / (step + 1)
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
