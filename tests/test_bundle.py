"""The bundle: whole, deterministic, small, and safe against files made to do harm."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foretest import bundle as bundles
from foretest.bundle import MANIFEST, Bundle, opened, read, write
from foretest.errors import BadBundle, NewerBundle, NoBundle
from foretest.evidence.store import EvidenceStore, empty
from foretest.models.formula import Constants, Formula


@pytest.fixture
def path(tmp_path: Path, store: EvidenceStore) -> Path:
    write(tmp_path / "bundle.ftb", Bundle(store))
    return tmp_path / "bundle.ftb"


def assert_same(one: EvidenceStore, other: EvidenceStore) -> None:
    left, right = one.to_arrays(), other.to_arrays()
    assert left.keys() == right.keys()
    for name, part in left.items():
        if isinstance(part, np.ndarray):
            np.testing.assert_array_equal(part, right[name], err_msg=name)
            assert part.dtype == right[name].dtype, name
        else:
            assert part == right[name], name


def rewrite(path: Path, change: Callable[[dict[str, bytes]], Any]) -> None:
    """Open the zip up, change its members, and close it again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)


def change_manifest(parts: dict[str, bytes], /, **values: Any) -> None:
    parts[MANIFEST] = json.dumps({**json.loads(parts[MANIFEST]), **values}).encode()


def replace_member(members: dict[str, bytes], name: str, raw: bytes, **facts: Any) -> None:
    """Put another content in place of a member, with a digest that fits."""
    manifest = json.loads(members[MANIFEST])
    member = manifest["members"][name]
    member.update(digest=bundles._digest(raw), **facts)
    members[f"{name}.{member['kind']}"] = raw
    members[MANIFEST] = json.dumps(manifest).encode()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_it_comes_back_as_it_was(tmp_path: Path, store: EvidenceStore) -> None:
    target = tmp_path / "deep" / "bundle.ftb"
    model = Formula(Constants(coverage=0.5))
    digest = write(target, Bundle(store, model, {"t": [1]}, {"labels": {"undone": 3}}))
    found = read(target)
    assert_same(found.store, store)
    assert found.model == model
    assert (found.thresholds, found.lineage) == ({"t": [1]}, {"labels": {"undone": 3}})
    assert found.digest == digest


def test_an_empty_store_is_a_bundle_too(tmp_path: Path) -> None:
    store = empty("example.org/a/b")
    write(tmp_path / "b", Bundle(store))
    assert_same(read(tmp_path / "b").store, store)


def test_names_beyond_unicode_survive(tmp_path: Path, store: EvidenceStore) -> None:
    odd = dataclasses.replace(store, tests=("t\n.py::é", "a\udcff", *store.tests[2:]))
    write(tmp_path / "b", Bundle(odd))
    assert read(tmp_path / "b").store.tests == odd.tests


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, store: EvidenceStore) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert write(one, Bundle(store)) == write(other, Bundle(store))
    assert one.read_bytes() == other.read_bytes()
    changed = dataclasses.replace(store, runs=store.runs + 1)
    assert write(other, Bundle(changed)) != write(one, Bundle(store))


def test_the_manifest_tells_without_reading_more(path: Path) -> None:
    with opened(path) as reader:
        assert reader.manifest["counts"]["tests"] == 7
        assert reader.manifest["counts"]["covered_tests"] == 6
        assert reader.manifest["repository"] == "example.org/acme/app"
        assert reader.manifest["model"]["constants"] == Constants().to_json()


@given(
    arrays.arrays(
        st.sampled_from([np.int16, np.int32, np.int64, np.uint16, np.float32, np.float64]),
        st.integers(0, 50),
    )
)
def test_packing_loses_nothing(array: np.ndarray[Any, Any]) -> None:
    again = bundles._unpacked(bundles._packed(array), array.dtype.str)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_ascending_indices_become_small(tmp_path: Path, store: EvidenceStore) -> None:
    ascending = np.arange(0, 3_000_000, 30, dtype=np.int32)
    assert bundles._packed(ascending).nbytes == ascending.nbytes / 4


def test_no_bundle_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoBundle) as caught:
        read(tmp_path / "nothing")
    assert "foretest learn" in caught.value.remedy


def test_a_newer_bundle_is_told_from_a_bad_one(path: Path) -> None:
    rewrite(path, lambda members: change_manifest(members, format=99, foretest="9.9"))
    with pytest.raises(NewerBundle, match=r"9\.9"):
        read(path)


def test_a_newer_model_is_newer(path: Path) -> None:
    rewrite(path, lambda members: change_manifest(members, model={"name": "forest"}))
    with pytest.raises(NewerBundle, match="forest"):
        read(path)


def test_an_interrupted_write_leaves_the_old_bundle(
    path: Path, store: EvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles, "_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path, Bundle(store))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 0.3, 0.7, 0.99])
def test_a_cut_bundle_is_bad(path: Path, keep: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    assert_bad(path)


def test_flipped_bytes_never_pass_unseen(path: Path, store: EvidenceStore) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = read(path)
        except (BadBundle, NewerBundle):
            continue
        assert_same(found.store, store)  # a byte that means nothing, such as a date


def assert_bad(path: Path) -> None:
    with pytest.raises(BadBundle) as caught:
        read(path)
    assert "foretest learn" in caught.value.remedy


def drop(members: dict[str, bytes], name: str) -> None:
    del members[name]


def drop_from_manifest(members: dict[str, bytes], name: str) -> None:
    manifest = json.loads(members[MANIFEST])
    kind = manifest["members"].pop(name)["kind"]
    members.pop(f"{name}.{kind}")
    members[MANIFEST] = json.dumps(manifest).encode()


HOSTILE: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "no manifest": lambda m: drop(m, MANIFEST),
    "manifest is no json": lambda m: m.update({MANIFEST: b"{"}),
    "manifest is a list": lambda m: m.update({MANIFEST: b"[]"}),
    "manifest nests deeply": lambda m: m.update({MANIFEST: b"[" * 200_000}),
    "members are a list": lambda m: change_manifest(m, members=[1]),
    "a member is no table": lambda m: change_manifest(m, members={"a": 1}),
    "format is a text": lambda m: change_manifest(m, format="1"),
    "an older format": lambda m: change_manifest(m, format=0),
    "no model": lambda m: change_manifest(m, model=None),
    "thresholds are a list": lambda m: change_manifest(m, thresholds=[1]),
    "thresholds are a text": lambda m: change_manifest(m, thresholds="x"),
    "no thresholds": lambda m: change_manifest(m, thresholds=None),
    "lineage is a list": lambda m: change_manifest(m, lineage=[1]),
    "a constant out of range": lambda m: change_manifest(
        m, model={"name": "formula", "constants": {"coverage": 7}}
    ),
    "a path outside": lambda m: m.update({"../../evil": b"x"}),
    "a member too many": lambda m: m.update({"extra.npy": b"x"}),
    "a member too few": lambda m: drop(m, "coverage.indices.npy"),
    "a part too few": lambda m: drop_from_manifest(m, "coverage.indices"),
    "a digest that does not fit": lambda m: m.update({"tests.json": b"[]"}),
    "fewer tests": lambda m: replace_member(m, "tests", b"[]"),
    "tests that are numbers": lambda m: replace_member(m, "tests", b"[1,2,3,4,5,6,7]"),
    "a text for a list": lambda m: replace_member(m, "tests", b'"abcdefg"'),
    "indices out of range": lambda m: replace_member(
        m, "coverage.indices", npy(np.full(12, 10**6, np.int32)), packed=False
    ),
    "negative indices": lambda m: replace_member(
        m, "coverage.indices", npy(np.full(12, -1, np.int32)), packed=False
    ),
    "offsets that fall": lambda m: replace_member(
        m, "coverage.indptr", npy(np.array([0, 9, 2, 3, 4, 5, 6, 12])), packed=False
    ),
    "pickled objects": lambda m: replace_member(
        m, "runs", npy(np.array([print] * 7, object)), packed=False
    ),
    "an array that claims terabytes": lambda m: replace_member(
        m, "runs", npy(np.zeros(7)).replace(b"(7,)", b"(9999999999999,)"), packed=False
    ),
    "an array of negative length": lambda m: replace_member(
        m, "runs", npy(np.zeros(7)).replace(b"(7,), ", b"(-7,),"), packed=False
    ),
    "no array at all": lambda m: replace_member(m, "runs", b"nothing", packed=False),
    "planes of another type": lambda m: replace_member(m, "runs", npy(np.zeros((8, 7)))),
    "planes of another number": lambda m: replace_member(
        m, "coverage.indices", npy(np.zeros((3, 12), np.uint8))
    ),
    "a type of objects": lambda m: replace_member(
        m, "runs", npy(np.zeros((8, 7), np.uint8)), dtype="O"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_are_bad(path: Path, name: str) -> None:
    rewrite(path, HOSTILE[name])
    assert_bad(path)
    assert not (path.parent.parent / "evil").exists()


def test_a_bomb_is_not_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"0" * (bundles.SMALL + (32 << 20))
    rewrite(path, lambda members: members.update({"tests.json": bomb}))
    reads: list[str] = []
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name: reads.append(name))
    with pytest.raises(BadBundle, match="unpack"):
        read(path)
    assert reads == []


def test_two_members_of_one_name_are_bad(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tests.json", b"[]")
    assert_bad(path)


def test_a_folder_is_no_bundle(tmp_path: Path) -> None:
    assert_bad(tmp_path)
