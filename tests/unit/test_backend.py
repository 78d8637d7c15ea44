"""The backend is chosen out loud: what is asked for runs, or an error says why it cannot."""

from __future__ import annotations

import pytest
import torch

from model_smoke.backend import choose_backend
from pipelines.errors import ConfigError


def test_auto_on_the_cpu_is_plain_torch_and_the_record_says_so():
    record = choose_backend("auto").as_json()
    assert (record["name"], record["device"], record["interpreted"]) == ("torch", "cpu", False)
    assert record["versions"]["torch"] == torch.__version__


def test_triton_on_the_cpu_is_only_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match="TRITON_INTERPRET=1"):
        choose_backend("triton", "cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    backend = choose_backend("triton", "cpu")
    assert (backend.name, backend.interpreted) == ("triton", True)
    assert backend.versions["triton"]


@pytest.mark.parametrize("choice", ["auto", "triton", "torch"])
def test_cuda_that_is_not_there_is_refused(choice, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", bool)
    with pytest.raises(ConfigError, match="no CUDA device"):
        choose_backend(choice, "cuda")


def test_auto_on_cuda_without_triton_refuses_rather_than_crawl(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", int)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="Triton is not installed"):
        choose_backend("auto", "cuda")
    with pytest.raises(ConfigError, match="counted from 0"):
        choose_backend("auto", "cuda:7")


@pytest.mark.parametrize(("choice", "device"), [("cuda", "cpu"), ("auto", "tpu"), ("auto", "mps"), ("torch", "")])
def test_what_is_unknown_is_refused(choice, device):
    with pytest.raises(ConfigError, match="expected"):
        choose_backend(choice, device)
