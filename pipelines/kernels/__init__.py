"""Numba passes over Arrow's own UTF-8 buffers. `text_statistics` is the one fused pass behind the filters."""

from pipelines.kernels.statistics import text_statistics

__all__ = ["text_statistics"]
