"""The pages keep to what exists: links lead somewhere, commands and flags are those of the program."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from pipelines.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/how-to/*.md", "samples/README.md")
    for path in REPOSITORY.glob(pattern)
)
FENCE = re.compile(r"```.*?```", re.DOTALL)
IN_FENCE = re.compile(r"(?:^|-- )\s*(?:eyas|python -m pipelines) ([a-z]+)\b([^\n#]*)", re.MULTILINE)
IN_LINE = re.compile(r"`(?:eyas|python -m pipelines) ([a-z]+)\b([^`\n]*)`")


@cache
def help_of(command: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("argparse.ArgumentParser._print_message", lambda self, message, file=None: lines.append(message))
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, f"no command {command!r}"
    return "".join(lines)


def commands_in(page: Path) -> list[tuple[str, list[str]]]:
    text = page.read_text("utf-8").replace("\\\n", " ").replace("\\|", "/")
    found = [match for fence in FENCE.findall(text) for match in IN_FENCE.findall(fence)]
    found += IN_LINE.findall(FENCE.sub("", text))
    return [(command, re.findall(r"--[a-z][a-z-]*", rest)) for command, rest in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    targets = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)", text)
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_commands_and_flags_exist(page: Path) -> None:
    for command, flags in commands_in(page):
        known = set(re.findall(r"--[a-z][a-z-]*", help_of(command)))
        assert set(flags) <= known, f"eyas {command}: {sorted(set(flags) - known)}"


def test_commands_are_found_in_the_readme() -> None:
    shown = {command for command, _ in commands_in(REPOSITORY / "README.md")}
    assert shown >= {"build", "demo", "inspect", "sample", "explain", "whatif", "verify", "status", "list"}


def test_the_changelog_keeps_its_form() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    assert text.startswith("# Changelog\n")
    assert "## [Unreleased]" in text
    sections = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_license_is_whole() -> None:
    text = (REPOSITORY / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert text.rstrip().endswith("limitations under the License.")
