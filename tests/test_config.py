"""Settings: where they come from, who wins, and what a wrong one says."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretest.config import Config, load_config
from foretest.errors import BadConfiguration


def _write(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text, encoding="utf-8")


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_config(tmp_path, {}) == Config(root=tmp_path)


def test_pyproject_table_is_read(tmp_path: Path) -> None:
    _write(
        tmp_path, "pyproject.toml", '[tool.foretest]\ntarget = 0.2\nmust_run = ["tests/smoke/*"]\n'
    )
    config = load_config(tmp_path, {})
    assert config.target == 0.2
    assert config.must_run == ("tests/smoke/*",)


def test_own_file_wins_over_pyproject_and_environment_over_both(tmp_path: Path) -> None:
    _write(
        tmp_path, "pyproject.toml", "[tool.foretest]\ntarget = 0.2\nexplore = 0.2\ntimeout = 2\n"
    )
    _write(tmp_path, "foretest.toml", "target = 0.3\nexplore = 0.3\n")
    config = load_config(tmp_path, {"FORETEST_TARGET": "0.4"})
    assert (config.target, config.explore, config.timeout) == (0.4, 0.3, 2.0)


def test_dashes_may_stand_for_underscores(tmp_path: Path) -> None:
    _write(tmp_path, "foretest.toml", "recent-days = 3\n")
    assert load_config(tmp_path, {}).recent_days == 3.0


@pytest.mark.parametrize(
    "text",
    ["", "[tool]\n", "[tool.other]\nx = 1\n", "tool = 3\n", "[project]\nname = 'x'\n"],
)
def test_pyproject_without_our_table_is_no_error(tmp_path: Path, text: str) -> None:
    _write(tmp_path, "pyproject.toml", text)
    assert load_config(tmp_path, {}) == Config(root=tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pyproject.toml", "[tool.foretest\n", "pyproject.toml cannot be read"),
        ("foretest.toml", "target = \n", "foretest.toml cannot be read"),
        ("pyproject.toml", "[tool]\nforetest = 3\n", "is not a table"),
        ("foretest.toml", "targte = 0.1\n", "Unknown setting 'targte'"),
        ("foretest.toml", "root = '.'\n", "Unknown setting 'root'"),
        ("foretest.toml", "target = 'much'\n", "Setting 'target' has the value 'much'"),
        ("foretest.toml", "target = true\n", "Setting 'target' has the value True"),
        ("foretest.toml", "max_coverage_age = 1.5\n", "'max_coverage_age' has the value 1.5"),
        ("foretest.toml", "max_coverage_age = true\n", "'max_coverage_age' has the value True"),
        ("foretest.toml", "must_run = 'tests'\n", "Setting 'must_run' has the value 'tests'"),
        ("foretest.toml", "must_run = 3\n", "Setting 'must_run' has the value 3"),
        ("foretest.toml", "must_run = [3]\n", "Setting 'must_run' has the value [3]"),
        ("foretest.toml", "must_run = {a = 1}\n", "Setting 'must_run' has the value {'a': 1}"),
        ("foretest.toml", "python = 3\n", "Setting 'python' has the value 3"),
        ("foretest.toml", "target = nan\n", "Setting 'target' has the value nan"),
        ("foretest.toml", "target = 1.5\n", "Setting 'target' has the value 1.5"),
        ("foretest.toml", "target = -0.1\n", "Setting 'target' has the value -0.1"),
        ("foretest.toml", "explore = 2\n", "Setting 'explore' has the value 2"),
        ("foretest.toml", "timeout = 0\n", "Setting 'timeout' has the value 0"),
        ("foretest.toml", "timeout = inf\n", "Setting 'timeout' has the value inf"),
        ("foretest.toml", "recent_days = -1\n", "Setting 'recent_days' has the value -1"),
        ("foretest.toml", "max_coverage_age = -1\n", "'max_coverage_age' has the value -1"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    _write(tmp_path, name, text)
    with pytest.raises(BadConfiguration) as caught:
        load_config(tmp_path, {})
    assert said in caught.value.message
    assert caught.value.remedy


def test_a_file_that_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "foretest.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfiguration, match="cannot be read"):
        load_config(tmp_path, {})


def test_a_folder_in_the_place_of_the_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "foretest.toml").mkdir()
    with pytest.raises(BadConfiguration, match="cannot be read"):
        load_config(tmp_path, {})


def test_files_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "foretest.toml").write_bytes(b"\xef\xbb\xbftarget = 0.5\n")
    assert load_config(tmp_path, {}).target == 0.5


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("FORETEST_TARGET", "0.5", "target", 0.5),
        ("FORETEST_MAX_COVERAGE_AGE", "7", "max_coverage_age", 7),
        ("FORETEST_MUST_RUN", "tests/a/*, tests/b/*,", "must_run", ("tests/a/*", "tests/b/*")),
        ("FORETEST_MUST_RUN", "", "must_run", ()),
        ("FORETEST_ADAPT", "true", "adapt", True),
        ("FORETEST_ADAPT", "0", "adapt", False),
        ("FORETEST_CATALOGUE", "postgresql://db/ft", "catalogue", "postgresql://db/ft"),
    ],
)
def test_environment_gives_text_for_every_type(
    tmp_path: Path, variable: str, value: str, field: str, expected: object
) -> None:
    assert getattr(load_config(tmp_path, {variable: value}), field) == expected


@pytest.mark.parametrize("value", ["many", "1.5", ""])
def test_environment_is_held_to_the_same_types(tmp_path: Path, value: str) -> None:
    with pytest.raises(BadConfiguration, match="max_coverage_age"):
        load_config(tmp_path, {"FORETEST_MAX_COVERAGE_AGE": value})


@pytest.mark.parametrize("text", ["adapt = 1.5\n", "adapt = 'perhaps'\n", "adapt = []\n"])
def test_a_switch_is_true_or_false(tmp_path: Path, text: str) -> None:
    _write(tmp_path, "foretest.toml", "adapt = true\n")
    assert load_config(tmp_path, {}).adapt is True
    _write(tmp_path, "foretest.toml", text)
    with pytest.raises(BadConfiguration, match="It takes true or false"):
        load_config(tmp_path, {})


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    environ = {"FORETEST_ROOT": "/elsewhere", "FORETEST_SOMETHING": "x", "TARGET": "0.9"}
    assert load_config(tmp_path, environ) == Config(root=tmp_path)


@given(st.sampled_from([f.name for f in fields(Config) if f.name != "root"]), st.text(max_size=20))
def test_any_text_gives_a_setting_or_a_plain_error(field: str, value: str) -> None:
    root = Path("does-not-exist")
    with suppress(BadConfiguration):
        config = load_config(root, {f"FORETEST_{field.upper()}": value})
        assert type(getattr(config, field)) is type(getattr(Config(root=root), field))


def test_places_follow_from_the_root(tmp_path: Path) -> None:
    config = Config(root=tmp_path)
    assert config.state == tmp_path / ".foretest"
    assert config.bundle_path.parent == config.state
