"""The project's own promises: two commands, one list of environments, true lower bounds."""

from __future__ import annotations

import configparser
import re
import tomllib
from typing import Any

from packaging.requirements import Requirement

from tests.architecture.project import PROJECT

ENVIRONMENTS = {"py311", "py312", "py313", "minimal", "noxdist", "bytecode", "check", "pkg"}


def text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def pyproject() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def tox() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text("tox.ini"))
    return parser


def readme_commands() -> list[str]:
    """Return the first two shell lines of the README: install and demo, install and test."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text("README.md"), flags=re.MULTILINE | re.DOTALL)
    return [block.strip() for block in blocks[:2]]


def test_the_readme_starts_with_two_commands_of_one_line() -> None:
    """A fresh machine needs one line to see the story and one to pass all tests, before any other reading."""
    demo, suite = readme_commands()
    assert "\n" not in demo + suite
    assert demo.endswith("hotplug demo")
    assert suite.endswith("-m pytest -n 4")
    assert text("README.md").index(suite) < text("README.md").index("\n## ")


def test_ci_runs_the_readmes_commands_to_the_letter() -> None:
    """What the README tells a newcomer to type is what CI typed."""
    named = dict(re.findall(r"^(README_\w+)='(.*)'$", text(".ci/run"), flags=re.MULTILINE))
    assert [named["README_DEMO"], named["README_TEST"]] == readme_commands()
    assert re.search(r'^step .* bash -c "\$README_DEMO"$', text(".ci/run"), flags=re.MULTILINE)
    assert re.search(r'^step .* bash -c "\$README_TEST"$', text(".ci/run"), flags=re.MULTILINE)


def test_every_promised_environment_is_listed_and_run_by_ci() -> None:
    """Nothing is checked only on one developer's machine."""
    listed = {name.strip() for name in tox()["tox"]["env_list"].split(",")}
    called = set(re.findall(r"tox\" run -e ([a-z]+)\b", text(".ci/run")))
    by_version = {f"py{version.replace('.', '')}" for version in re.findall(r"3\.\d+", supported_by_ci())}
    assert listed == ENVIRONMENTS
    assert called | by_version == ENVIRONMENTS


def supported_by_ci() -> str:
    found = re.search(r'^SUPPORTED="(.*)"$', text(".ci/run"), flags=re.MULTILINE)
    assert found
    return found[1]


def test_the_supported_pythons_are_told_alike_everywhere() -> None:
    """Classifiers, CI and tox name the same versions, and the lowest is the required one."""
    project = pyproject()["project"]
    classified = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert classified == supported_by_ci().split()
    assert project["requires-python"] == f">={classified[0]}"


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    """A lower bound in the metadata is a version that the suite passes with, not a guess."""
    bounds = {}
    project = pyproject()["project"]
    for line in [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == ">=", f"{line} has no proven lower bound"
        bounds[requirement.name] = specifier.version
    pinned = dict(line.split("==") for line in text("requirements/lowest.txt").splitlines() if not line.startswith("#"))
    assert pinned == bounds
    assert "lowest.txt" in tox()["testenv:minimal"]["set_env"]


def test_no_registry_or_machine_is_named() -> None:
    """The project builds wherever pip works: no host of an index, no absolute path of somebody's machine."""
    for name in ("pyproject.toml", "tox.ini", ".ci/run", ".ci/try_wheel.py", "requirements/lowest.txt"):
        assert not re.search(r"https?://|--index-url|/(home|root)/", text(name)), name


def test_every_fragment_of_the_changelog_is_named_by_its_kind() -> None:
    """A release finds each visible change under the right heading."""
    fragments = [p.name for p in (PROJECT / "changelog.d").iterdir() if p.name != "README.md"]
    named_right = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md")
    assert [name for name in fragments if not named_right.fullmatch(name)] == []
