"""The peers' scans as functions of the same seven inputs, so that each computes what `kernels.ssd_scan` does, no documents.

mamba_ssm and fla come as wheels or source archives in a folder (`unpacked`); mamba_ssm's root needs a CUDA build, so an empty
module stands in for it and only its Triton files are loaded. The torch peer is written from the formulas of arXiv 2405.21060
as one would for `torch.compile`: products in bfloat16 with float32 decays, no loop over chunks.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional

from model_smoke.kernels import ssd_scan

Scan = Callable[..., torch.Tensor]
PLAIN_CHUNK = 128


def plain_scan(
    x: torch.Tensor, dt: torch.Tensor, A_log: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor,
    dt_bias: torch.Tensor, *, chunk: int = PLAIN_CHUNK,
) -> torch.Tensor:  # fmt: skip
    """Mamba-2's scan in plain torch; x [b, l, h, p], B and C [b, l, g, n], length a multiple of `chunk`; y in x's type."""
    b, length, h, p = x.shape
    g, n = B.shape[2:]
    k = length // chunk
    step = functional.softplus(dt.float() + dt_bias.float())
    log = (step * -torch.exp(A_log.float())).view(b, k, chunk, h).permute(0, 3, 1, 2)
    step = step.view(b, k, chunk, h).permute(0, 3, 1, 2)
    total = log.cumsum(-1)
    xs = x.view(b, k, chunk, h, p).permute(0, 3, 1, 2, 4)
    Bs, Cs = (each.view(b, k, chunk, g, n).permute(0, 3, 1, 2, 4) for each in (B, C))

    below = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
    between = (total[..., :, None] - total[..., None, :]).masked_fill(~below, -torch.inf)
    scores = (Cs @ Bs.transpose(-1, -2)).float().repeat_interleave(h // g, dim=1)
    y = (scores * between.exp() * step[..., None, :]).to(x.dtype) @ xs

    leaving = ((total[..., -1:] - total).exp() * step)[..., None]
    added = (xs * leaving).to(x.dtype).transpose(-1, -2) @ Bs.repeat_interleave(h // g, dim=1)
    ends = functional.pad(total[..., -1].cumsum(-1), (1, 0))
    earlier = torch.ones(k, k, dtype=torch.bool, device=x.device).tril(-1)
    carried = (ends[..., :-1, None] - ends[..., None, 1:]).masked_fill(~earlier, -torch.inf).exp()
    states = (carried.to(x.dtype) @ added.flatten(-2)).unflatten(-1, (p, n))
    y = y + (Cs.repeat_interleave(h // g, dim=1) @ states.transpose(-1, -2)) * total.exp()[..., None]
    y = y.permute(0, 2, 3, 1, 4).reshape(b, length, h, p)
    return (y + D.float()[:, None] * x).to(x.dtype)


def mamba_scan(chunk: int) -> Scan:
    """mamba_ssm's `mamba_chunk_scan_combined`. Raises ImportError where its Triton files cannot be loaded."""
    combined = importlib.import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined

    def scan(
        x: torch.Tensor, dt: torch.Tensor, A_log: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor,
        dt_bias: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        return combined(x, dt, -torch.exp(A_log), B, C, chunk, D=D, dt_bias=dt_bias, dt_softplus=True)

    return scan


def gla_scan() -> Scan:
    """fla's `chunk_simple_gla`: as many key heads as value heads, so B and C are repeated; steps and skip in torch."""
    chunk_simple_gla = importlib.import_module("fla.ops.simple_gla").chunk_simple_gla

    def scan(
        x: torch.Tensor, dt: torch.Tensor, A_log: torch.Tensor, B: torch.Tensor, C: torch.Tensor, D: torch.Tensor,
        dt_bias: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        served = x.shape[2] // B.shape[2]
        step = functional.softplus(dt.float() + dt_bias)
        b, c = (each.repeat_interleave(served, dim=2) for each in (B, C))
        values = (x * step[..., None]).to(x.dtype)
        y = chunk_simple_gla(q=c, k=b, v=values, g=-torch.exp(A_log) * step, scale=1.0)[0]
        return (y + D[:, None] * x).to(x.dtype)

    return scan


PEERS: dict[str, tuple[str, Callable[[], Scan]]] = {
    "mamba_ssm-256": ("mamba_ssm", partial(mamba_scan, 256)),
    "mamba_ssm-128": ("mamba_ssm", partial(mamba_scan, 128)),
    "fla": ("fla", gla_scan),
    "torch-compile": ("", lambda: torch.compile(plain_scan, dynamic=False)),
    "torch-eager": ("", lambda: plain_scan),
    "own-cpu-path": ("", lambda: partial(ssd_scan, backend="torch", chunk=64)),
}
"""By name: the package that it needs, and what makes the scan. The last is our CPU backend, on the GPU."""


@contextmanager
def unpacked(folder: str) -> Iterator[list[Path]]:
    """Put what lies in `folder` (wheels, .tar.gz of sources, unpacked packages) first on the path; taken off and removed after.

    An empty name is no folder: then only what is installed can be found.
    """
    with tempfile.TemporaryDirectory() as temporary:
        places = [Path(folder).resolve()] if folder else []
        for archive in sorted(Path(folder).iterdir()) if folder else []:
            target = Path(temporary) / archive.name
            if archive.suffix == ".whl":
                shutil.unpack_archive(archive, target, "zip")
                places.append(target)
            elif archive.name.endswith(".tar.gz"):
                shutil.unpack_archive(archive, target, "gztar", filter="data")
                places += [each for each in sorted(target.iterdir()) if each.is_dir()]
        before = list(sys.path)
        sys.path[:0] = [str(each) for each in places]
        try:
            yield places
        finally:
            sys.path[:] = before


def stand_in(package: str) -> str:
    """Make `package` importable without running its `__init__`; its version. Raises ImportError where no folder has its name."""
    for place in sys.path:
        if (Path(place or ".") / package).is_dir():
            module = types.ModuleType(package)
            module.__path__ = [str(Path(place or ".") / package)]
            module.__version__ = _version(Path(place or "."), package)
            sys.modules[package] = module
            return module.__version__
    raise ImportError(f"no {package} in the folder of wheels or installed; see docs/gpu.md")


def _version(place: Path, package: str) -> str:
    """From the name of the metadata beside it, else of the folder that its sources were unpacked to."""
    for name in [*(each.name for each in sorted(place.glob("*.dist-info"))), place.name]:
        found = re.match(rf"{package}(?:_core)?-([0-9][^-]*?)(?:\.dist-info)?$", name)
        if found:
            return found[1]
    return "0"
