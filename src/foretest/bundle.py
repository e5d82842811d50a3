"""One file that carries all that was learnt: a zip of manifest, arrays and texts, no pickle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretest import __version__
from foretest.durable import writing
from foretest.errors import BadBundle, BadModel, ForetestError, NewerBundle, NoBundle
from foretest.evidence.store import EvidenceStore
from foretest.features.catalogue import CATALOGUE, CATALOGUE_VERSION
from foretest.models.contract import Model
from foretest.models.formula import Formula
from foretest.models.registry import MODELS, read_model

FORMAT = 1
MANIFEST = "manifest.json"
LONGEST_MANIFEST = 16 << 20
SMALL = 64 << 20
LARGEST_RATIO = 100
"""A bundle may unpack to SMALL + this many times its own size; more is an attack, not evidence."""
LEARN_AGAIN = "Run 'foretest learn' to make a new one."
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""The date of every member: the same content gives the same bytes."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Bundle:
    """A version of all that selection needs."""

    store: EvidenceStore
    model: Model = field(default_factory=Formula)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    """What it was made from: facts for people and for `stats`, JSON only."""
    digest: str = ""
    """Of the whole content; empty for a bundle that was not written yet."""


def write(path: Path, bundle: Bundle) -> str:
    """Write atomically; returns the digest. The same content gives the same bytes."""
    with writing(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        members = {
            name: _write_part(archive, name, part)
            for name, part in sorted(bundle.store.to_arrays().items())
        }
        manifest = json.dumps(_manifest(bundle, members), sort_keys=True, indent=1).encode()
        archive.writestr(_info(MANIFEST), manifest, compresslevel=6)
    return _digest(manifest)


def read(path: Path) -> Bundle:
    """Read a whole bundle. Raises NoBundle, NewerBundle or BadBundle, each with a remedy."""
    with opened(path) as reader:
        return Bundle(
            store=reader.store(),
            model=reader.model(),
            thresholds=reader.table("thresholds"),
            lineage=reader.table("lineage"),
            digest=reader.digest,
        )


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Open a bundle to read parts of it; errors as `read`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield Reader(archive, path.stat().st_size)
    except ForetestError:
        raise
    except FileNotFoundError:
        raise NoBundle(
            f"There is no bundle at {path}.", "Run 'foretest learn' or 'foretest state pull'."
        ) from None
    except Exception as error:  # a file made to do harm may raise anything on its way
        raise _bad(str(error) or type(error).__name__) from error


class Reader:
    """An open bundle: the manifest at once, each other member when asked for."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        infos = {info.filename: info for info in archive.infolist()}
        if len(infos) != len(archive.infolist()):
            raise _bad("two members share a name")
        if sum(info.file_size for info in infos.values()) > SMALL + LARGEST_RATIO * size:
            raise _bad("it would unpack to far more than it can hold")
        if MANIFEST not in infos or infos[MANIFEST].file_size > LONGEST_MANIFEST:
            raise _bad("its manifest is missing or too long")
        raw = archive.read(MANIFEST)
        self.digest = _digest(raw)
        manifest = json.loads(raw)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("members"), dict):
            raise _bad("its manifest is not one")
        self.manifest: dict[str, Any] = manifest
        self._check_versions()
        if {f"{name}.{m['kind']}" for name, m in manifest["members"].items()} != set(infos) - {
            MANIFEST
        }:
            raise _bad("its members are not those of its manifest")

    def store(self) -> EvidenceStore:
        return EvidenceStore.from_arrays(
            {name: self.part(name) for name in self.manifest["members"]}
        )

    def model(self) -> Model:
        data = self.manifest["model"]
        if data["name"] not in MODELS:
            raise NewerBundle(
                f"The bundle's model '{data['name']}' is not known here.", "Upgrade foretest."
            )
        try:
            return read_model(data)
        except BadModel as error:
            raise _bad(error.message.rstrip(".")) from error

    def table(self, name: str) -> dict[str, Any]:
        """A table of the manifest; empty where it has none."""
        found = self.manifest.get(name, {})
        if not isinstance(found, dict):
            raise _bad(f"the {name} of its manifest are no table")
        return found

    def part(self, name: str) -> Array | list[str]:
        """One array or list of strings, its digest checked."""
        member = self.manifest["members"][name]
        raw = self._archive.read(f"{name}.{member['kind']}")
        if _digest(raw) != member["digest"]:
            raise _bad(f"'{name}' is not what was written")
        if member["kind"] == "json":
            texts = json.loads(raw)
            if not isinstance(texts, list) or not all(type(text) is str for text in texts):
                raise _bad(f"'{name}' is not a list of texts")
            return texts
        array = _array(raw)
        return _unpacked(array, member["dtype"]) if member["packed"] else array

    def _check_versions(self) -> None:
        form, catalogue = self.manifest.get("format"), self.manifest.get("catalogue_version")
        if not isinstance(form, int) or not isinstance(catalogue, int):
            raise _bad("its manifest names no format")
        if form > FORMAT or catalogue > CATALOGUE_VERSION:
            raise NewerBundle(
                f"Foretest {self.manifest.get('foretest', '?')} wrote the bundle; "
                f"this is {__version__}, which is older.",
                "Upgrade foretest, or run 'foretest learn' here.",
            )
        if form < FORMAT or catalogue < CATALOGUE_VERSION:
            raise _bad("an older foretest wrote it")


def _manifest(bundle: Bundle, members: Mapping[str, Any]) -> dict[str, Any]:
    store = bundle.store
    return {
        "format": FORMAT,
        "foretest": __version__,
        "catalogue_version": CATALOGUE_VERSION,
        "catalogue": [feature.name for feature in CATALOGUE],
        "repository": store.repository,
        "commit": store.commit,
        "created_at": store.created_at,
        "counts": {
            "tests": len(store.tests),
            "symbols": len(store.symbols),
            "files": len(store.files),
            "covered_tests": int(store.has_coverage.sum()),
        },
        "model": bundle.model.to_json(),
        "thresholds": dict(bundle.thresholds),
        "lineage": dict(bundle.lineage),
        "members": dict(members),
    }


def _write_part(archive: zipfile.ZipFile, name: str, part: Any) -> dict[str, Any]:
    if isinstance(part, np.ndarray):
        packed = part.ndim == 1 and part.dtype.kind in "iuf" and part.dtype.itemsize > 1
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, _packed(part) if packed else part, allow_pickle=False)
        raw = buffer.getvalue()
        member = {"kind": "npy", "dtype": part.dtype.str, "packed": packed}
    else:
        # Escapes keep even file names that are not UTF-8.
        raw = json.dumps(list(part), ensure_ascii=True, separators=(",", ":")).encode()
        member = {"kind": "json"}
    archive.writestr(_info(f"{name}.{member['kind']}"), raw, compresslevel=3)
    return {**member, "digest": _digest(raw)}


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _MOMENT)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3  # else it would differ between systems
    return info


def _packed(array: Array) -> Array:
    """Byte planes, and of whole numbers their zigzag differences: deflate then finds little left.

    Sparse indices ascend within a row and offsets ascend throughout: their differences are small.
    """
    if array.dtype.kind in "iu":
        longs = array.astype(np.int64)
        step = longs - np.concatenate(([np.int64(0)], longs[:-1]))
        zigzag = ((step << 1) ^ (step >> 63)).view(np.uint64)
        largest = int(zigzag.max(initial=0))
        array = zigzag.astype(f"<u{next(size for size in (1, 2, 4, 8) if largest < 256**size)}")
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
    return np.ascontiguousarray(little.view(np.uint8).reshape(len(array), array.itemsize).T)


def _unpacked(planes: Array, dtype: str) -> Array:
    wanted = np.dtype(dtype)
    if planes.dtype != np.uint8 or planes.ndim != 2 or wanted.kind not in "iuf":
        raise ValueError("an array is packed in no known way")
    bytes_ = np.ascontiguousarray(planes.T)
    if wanted.kind == "f":
        return bytes_.reshape(-1).view(wanted.newbyteorder("<")).astype(wanted, copy=False)
    zigzag = bytes_.reshape(-1).view(f"<u{len(planes)}").astype(np.uint64)
    step = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
    return np.cumsum(step).astype(wanted)


def _array(raw: bytes) -> Array:
    """Read .npy; numpy's own reader would believe the header and allocate what it claims."""
    stream = io.BytesIO(raw)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError("an array has an unknown version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    size = dtype.itemsize
    for length in shape:
        size *= length
    if fortran or dtype.hasobject or min(shape, default=0) < 0 or size != len(raw) - start:
        raise ValueError("an array is not what its header says")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape)


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def _bad(reason: str) -> BadBundle:
    return BadBundle(f"The bundle cannot be used: {reason}.", LEARN_AGAIN)
