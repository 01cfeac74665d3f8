"""A trained network made quick for picking."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LAST = ("head", "decide", "output")  # names of the layers that give the score


class Inference(nn.Module):
    """A network as it is used for picking: what was trained, computed in less time.

    Batch normalisations are folded into the convolutions before them, which saves passes over memory and changes
    nothing but rounding. On a CPU that multiplies bfloat16 the convolutions compute in it, twice as fast; scores change
    by less than 0.01. The last layer stays in 32 bit, so that scores remain fine. Others would only emulate it.

    Parameters
    ----------
    network : nn.Module
        It is copied. Convolutions and their batch normalisations are the first two parts of an ``nn.Sequential``.
    half : bool, optional
        Compute in bfloat16; by default where the CPU does.
    """

    def __init__(self, network: nn.Module, half: bool | None = None) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        for part in list(self.network.modules()):
            if isinstance(part, nn.Sequential) and len(part) > 1:
                convolution, norm = part[0], part[1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[0], part[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
        use_half = has_half(next(network.parameters()).device) if half is None else half
        self.dtype = torch.bfloat16 if use_half else torch.float32
        for name, part in self.network.named_children():
            part.to(torch.float32 if name in LAST else self.dtype)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *rest: Any) -> Tensor:
        """What the network says, in 32 bit; `rest` is handed on."""
        answer: Tensor = self.network(image.to(self.dtype), *rest)
        return answer.float()


def has_half(device: torch.device) -> bool:
    """Whether a CPU multiplies bfloat16 itself. False for GPUs, and where torch is too old to tell."""
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
