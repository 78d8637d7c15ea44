"""Raw records -> documents: HTML to text by a named engine, plain text as it is, the rest quarantined."""

from pipelines.extraction.html import ExtractHtml
from pipelines.extraction.limits import PageLimits

__all__ = ["ExtractHtml", "PageLimits"]
