"""Which kernels run, on which device, chosen out loud: never a silent fall back to slow code.

`auto` takes Triton on a CUDA device and plain torch on a CPU; on a CUDA device without Triton it refuses. The choice goes
into the run's record with the versions that decide its numbers.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from pipelines.errors import ConfigError

CHOICES = ("auto", "triton", "torch")


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What runs: `name` "torch" or "triton", `device` "cpu" or "cuda:0", versions by library, the device's own name."""

    name: str
    device: str
    device_name: str
    versions: dict[str, str]
    interpreted: bool = False

    def as_json(self) -> dict[str, Any]:
        """The record's form."""
        return {
            "name": self.name,
            "device": self.device,
            "device_name": self.device_name,
            "interpreted": self.interpreted,
            "versions": dict(sorted(self.versions.items())),
        }


def choose_backend(choice: str, device: str | torch.device = "cpu") -> Backend:
    """The backend for `choice` (auto, triton or torch) on `device` (cpu, cuda, cuda:N).

    Raises ConfigError for an unknown choice or device, CUDA that is not there, and Triton that is not there: asked for by
    name, or by `auto` on a CUDA device.
    """
    if choice not in CHOICES:
        raise ConfigError(f"backend = {choice!r}: expected one of {', '.join(map(repr, CHOICES))}")
    place = _device(device)
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    has_triton = importlib.util.find_spec("triton") is not None
    if choice == "auto" and place.type == "cuda" and not has_triton:
        raise ConfigError(
            f"backend = 'auto' on {place}: Triton is not installed, and plain torch would be many times slower; install "
            "triton, or ask for backend = 'torch'"
        )
    name = ("triton" if place.type == "cuda" else "torch") if choice == "auto" else choice
    if name == "triton":
        if not has_triton:
            raise ConfigError("backend = 'triton': Triton is not installed; install triton, or ask for 'torch'")
        if place.type == "cpu" and not interpreted:
            raise ConfigError(
                "backend = 'triton' on the CPU: its kernels need CUDA; ask for 'torch', or set TRITON_INTERPRET=1 to run "
                "them, slowly, in Triton's interpreter"
            )
    versions = {"torch": str(torch.__version__), "numpy": metadata.version("numpy")}
    if name == "triton":
        versions["triton"] = metadata.version("triton")
    if place.type == "cuda":
        versions["cuda"] = str(torch.version.cuda)
    return Backend(
        name=name,
        device=str(place),
        device_name=torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu",
        versions=versions,
        interpreted=name == "triton" and interpreted,
    )


def _device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device = {device!r}: expected 'cpu', 'cuda' or 'cuda:N'") from error
    if place.type not in ("cpu", "cuda"):
        raise ConfigError(f"device = {device!r}: expected 'cpu', 'cuda' or 'cuda:N'")
    if place.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(f"device = {device!r}: torch finds no CUDA device here; use 'cpu'")
    index = torch.cuda.current_device() if place.index is None else place.index
    if index >= torch.cuda.device_count():
        raise ConfigError(f"device = {device!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return torch.device("cuda", index)
