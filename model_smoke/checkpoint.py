"""Where an interrupted run goes on: weights, optimizer, loader, random state and all that was gathered, in one .npz file.

In: a model, its optimizer, plain JSON and named arrays. Out: a file that appears whole or not at all and holds no pickle.
Loading it and going on gives bit for bit what would have come without the interruption.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipelines.errors import InputError

FORMAT = 1
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    plain: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Write it beside `path`, then move it there."""
    content: dict[str, npt.NDArray[Any]] = {f"given/{name}": array for name, array in arrays.items()}
    for name, parameter in model.named_parameters():
        content[f"model/{name}"] = parameter.detach().cpu().numpy()
        for moment, value in optimizer.state.get(parameter, {}).items():
            content[f"{moment}/{name}"] = value.detach().cpu().numpy()
    content["torch_random_state"] = torch.get_rng_state().numpy()
    document = json.dumps({"format": FORMAT} | dict(plain)).encode()
    content["plain"] = np.frombuffer(document, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **content)  # type: ignore[arg-type,unused-ignore]
    temporary.replace(path)


def load(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, expected: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Put a checkpoint's state into `model` and `optimizer`; return its plain JSON and arrays.

    Raises InputError where the file is damaged, or was written by a run in which one of `expected` is another.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        plain: dict[str, Any] = json.loads(content["plain"].tobytes())
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable checkpoint ({error}); delete it to start the run anew") from error
    if plain.get("format") != FORMAT:
        raise InputError(f"{path}: checkpoint format {plain.get('format')!r}, this version of eyas reads {FORMAT}")
    for key, value in expected.items():
        if plain.get(key) != json.loads(json.dumps(value)):
            raise InputError(
                f"{path}: written by a run with {key} = {plain.get(key)!r}, this one has {value!r}; delete it"
            )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(content[f"model/{name}"]))
            if f"step/{name}" in content:
                optimizer.state[parameter] = {
                    moment: _moment(moment, content[f"{moment}/{name}"], parameter) for moment in _MOMENTS
                }
    torch.set_rng_state(torch.from_numpy(content["torch_random_state"]))
    prefix = "given/"
    return plain, {name.removeprefix(prefix): array for name, array in content.items() if name.startswith(prefix)}


def _moment(name: str, array: npt.NDArray[Any], parameter: torch.Tensor) -> torch.Tensor:
    """Adam's count of steps lives on the CPU unless the optimizer is fused on a GPU."""
    value = torch.from_numpy(array.copy())
    return value if name == "step" and parameter.device.type == "cpu" else value.to(parameter.device)
