"""Unified diffs read into records: what happened to each file between two states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from foretest.changes.git import Repository
from foretest.changes.symbols import is_source, outline, touched
from foretest.records import MODULE_LEVEL, Change, FileChange, FileStatus, Hunk, Symbol

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED = dict(zip(b'abtnvfr"\\', b'\a\b\t\n\v\f\r"\\', strict=True))
_SUBMODULE = b"160000"
_LARGEST_TEXT = 16 << 20
"""Bytes above which an untracked file counts as binary."""
_BATCH = 500
"""Files whose two sides are held in memory at once."""


def read_change(repo: Repository, base: str, head: str | None) -> Change:
    """What changed from `base` to `head`, or (None) to the work tree with its untracked files.

    Raises MissingBase where either end names no commit. A text file that attributes call binary
    is read as a whole.
    """
    base = repo.resolve(base)
    head = None if head is None else repo.resolve(head)
    files = parse_diff(repo.diff_bytes(base, head))
    if head is None:
        files = _with_work_tree(repo, base, files)
    return Change(repo.key(), base, head, tuple(_with_symbols(repo, base, head, files)))


def parse_diff(patch: bytes) -> list[FileChange]:
    """Read the output of `git diff` or `git show`; what is not a diff is passed over.

    Hunks hold changed lines alone: where the diff has context, its hunks are split at it.
    """
    # A bare header is a file of the work tree with a new time and the old content.
    return _joined([s.change() for s in _sections(patch) if s.marks or s.hunks])


@dataclass(frozen=True, slots=True)
class HunkPatch:
    """One hunk as a patch of its own, for `git apply` or `git apply -R`.

    `index` counts the hunks of the whole patch from 0. A renamed file goes by its new name, so that
    taking the hunk back leaves the rename alone.
    """

    path: str
    index: int
    patch: bytes


def split_hunks(patch: bytes) -> list[HunkPatch]:
    """Every hunk of a patch with context, in order; binary and mode changes have none."""
    found: list[HunkPatch] = []
    for section in _sections(patch):
        path = section.paths()[1]
        header = section.plain_header()
        for first, last in section.hunk_lines:
            body = b"\n".join(section.lines[first:last])
            found.append(HunkPatch(path, len(found), header + body + b"\n"))
    return found


# One file's section of a diff.


@dataclass(slots=True)
class _Section:
    lines: list[bytes]
    head: bytes
    marks: dict[bytes, bytes] = field(default_factory=dict)
    """Extended header lines: the words that open them, and the rest."""
    hunks: list[Hunk] = field(default_factory=list)
    hunk_lines: list[tuple[int, int]] = field(default_factory=list)
    """Where each hunk stands in `lines`, its header included."""

    def change(self) -> FileChange:
        old, new = self.paths()
        status = self._status()
        moved = status in (FileStatus.RENAMED, FileStatus.COPIED)
        return FileChange(
            path=old if status is FileStatus.DELETED else new,
            status=status,
            old_path=old if moved else None,
            binary=b"Binary" in self.marks or b"GIT" in self.marks,
            hunks=() if status is FileStatus.SUBMODULE else tuple(self.hunks),
        )

    def paths(self) -> tuple[str, str]:
        """Old and new path, equal for a file that stays in its place."""
        marks = self.marks
        for words in ((b"rename from", b"rename to"), (b"copy from", b"copy to")):
            if words[0] in marks and words[1] in marks:
                return _path(marks[words[0]]), _path(marks[words[1]])
        if b"*" in marks:
            path = _path(marks[b"*"])
            return path, path
        sides = [_path(marks[side], 2) for side in (b"---", b"+++") if _named(marks.get(side))]
        if sides:
            return sides[0], sides[-1]
        return _head_paths(self.head)

    def plain_header(self) -> bytes:
        """The header without rename and mode, which are no part of any hunk."""
        old, new = self.marks.get(b"---", b""), self.marks.get(b"+++", b"")
        lines = []
        if b"rename to" in self.marks or b"copy to" in self.marks:
            old = new.replace(b"b/", b"a/", 1)
        for words in (b"new file mode", b"deleted file mode", b"index"):
            if words in self.marks:
                lines.append(words + b" " + self.marks[words])
        first, second = (old, new) if _named(old) and _named(new) else _both(old, new)
        lines.insert(0, b"diff --git " + first.rstrip(b"\t") + b" " + second.rstrip(b"\t"))
        return b"\n".join([*lines, b"--- " + old, b"+++ " + new, b""])

    def _status(self) -> FileStatus:
        marks = self.marks
        modes = [value for key, value in marks.items() if key.endswith(b"mode")]
        modes.append(marks.get(b"index", b"").rpartition(b" ")[2])
        if b"*" in marks:
            return FileStatus.UNMERGED
        if _SUBMODULE in modes:
            return FileStatus.SUBMODULE
        for words, status in (
            (b"new file mode", FileStatus.ADDED),
            (b"deleted file mode", FileStatus.DELETED),
            (b"rename to", FileStatus.RENAMED),
            (b"copy to", FileStatus.COPIED),
        ):
            if words in marks:
                return status
        content = self.hunks or b"Binary" in marks or b"GIT" in marks
        return FileStatus.MODE if b"new mode" in marks and not content else FileStatus.MODIFIED


_MARKS = re.compile(
    rb"(old mode|new mode|deleted file mode|new file mode|copy from|copy to|rename from|rename to"
    rb"|similarity index|dissimilarity index|index|---|\+\+\+|Binary|GIT) (.*)",
    re.DOTALL,
)


def _sections(patch: bytes) -> Iterator[_Section]:
    lines = patch.split(b"\n")
    section: _Section | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith((b"diff --git ", b"diff --cc ", b"diff --combined ", b"* Unmerged ")):
            if section is not None:
                yield section
            section = _Section(lines, line)
            if line.startswith(b"* "):
                section.marks[b"*"] = line.removeprefix(b"* Unmerged path ")
        elif section is not None and (found := _HUNK.match(line)):
            end = _read_hunk(section, at, [int(n or 1) for n in found.groups(b"1")])
            section.hunk_lines.append((at, end))
            at = end
            continue
        elif section is not None and not section.hunks and (mark := _MARKS.match(line)):
            section.marks.setdefault(mark[1], mark[2])
        at += 1
    if section is not None:
        yield section


def _read_hunk(section: _Section, at: int, numbers: Sequence[int]) -> int:
    """Read one hunk's lines by the counts in its header; gives the line after it.

    The counts, not the lines' looks, end a hunk: a removed line may read `-- a/file`.
    """
    old, old_left, new, new_left = numbers
    # Git writes the line before an empty side; from here on both name the next line to come.
    old, new = old + (not old_left), new + (not new_left)
    lines = section.lines
    removed: list[str] = []
    added: list[str] = []

    def close() -> None:
        if removed or added:
            starts = old - len(removed) - (not removed), new - len(added) - (not added)
            section.hunks.append(
                Hunk(starts[0], len(removed), starts[1], len(added), tuple(removed), tuple(added))
            )
            removed.clear()
            added.clear()

    at += 1
    while at < len(lines) and (old_left > 0 or new_left > 0 or lines[at].startswith(b"\\")):
        line = lines[at]
        sign = line[:1]
        if sign == b"-":
            removed.append(_line(line))
            old, old_left = old + 1, old_left - 1
        elif sign == b"+":
            added.append(_line(line))
            new, new_left = new + 1, new_left - 1
        elif sign in (b" ", b""):
            close()
            old, old_left, new, new_left = old + 1, old_left - 1, new + 1, new_left - 1
        elif sign != b"\\":
            break
        at += 1
    close()
    return at


def _joined(files: list[FileChange]) -> list[FileChange]:
    """One change a path: git spells a change of type, and an unmerged file, as two."""
    found: dict[str, FileChange] = {}
    for file in files:
        known = found.get(file.path)
        if known is None:
            found[file.path] = file
            continue
        pair = {known.status, file.status}
        status = FileStatus.TYPE
        if FileStatus.UNMERGED in pair:
            status = FileStatus.UNMERGED
        elif pair != {FileStatus.DELETED, FileStatus.ADDED} and FileStatus.SUBMODULE not in pair:
            status = file.status
        found[file.path] = replace(
            file,
            status=status,
            binary=known.binary or file.binary,
            hunks=known.hunks + file.hunks,
        )
    return list(found.values())


def _line(line: bytes) -> str:
    return line[1:].decode("utf-8", "replace")


# Names in headers.


def _named(side: bytes | None) -> bool:
    return bool(side) and side != b"/dev/null"


def _both(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """The name of the side that exists, spelt for both."""
    if _named(new):
        return new.replace(b"b/", b"a/", 1), new
    return old, old.replace(b"a/", b"b/", 1)


def _path(name: bytes, prefix: int = 0) -> str:
    """A header's name: unquoted, without the tab that git sets behind spaces, and its prefix."""
    name = name.removesuffix(b"\t")
    if name.startswith(b'"') and name.endswith(b'"'):
        name = _ESCAPE.sub(_unescape, name[1:-1])
    return name[prefix:].decode("utf-8", "surrogateescape")


def _unescape(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return bytes([int(code, 8) & 255 if len(code) == 3 else _ESCAPED.get(code[0], code[0])])


def _head_paths(head: bytes) -> tuple[str, str]:
    """Paths of `diff --git a/X b/X`, where nothing else names them: both sides are the same."""
    names = head.partition(b" ")[2]
    if not names.startswith(b"--git "):  # of a merge: one name, no prefix
        path = _path(names.partition(b" ")[2])
        return path, path
    names = names.removeprefix(b"--git ")
    half = len(names) // 2
    return _path(names[:half], 2), _path(names[half + 1 :], 2)


# What git's diff does not say.


def _with_work_tree(repo: Repository, base: str, files: list[FileChange]) -> list[FileChange]:
    """Untracked files join, and unmerged ones are called so."""
    unmerged = repo.unmerged()
    found = {
        file.path: replace(file, status=FileStatus.UNMERGED) if file.path in unmerged else file
        for file in files
    }
    for path in sorted(unmerged.difference(found)):
        found[path] = FileChange(path, FileStatus.UNMERGED)
    for path in repo.untracked():
        new = repo.read(None, path)
        if path not in found:
            found[path] = _whole(FileChange(path, FileStatus.ADDED), None, new)
        elif (old := repo.read(base, path)) == new:  # taken out of the index alone
            del found[path]
        else:
            found[path] = _whole(FileChange(path, FileStatus.MODIFIED), old, new)
    return list(found.values())


def _whole(file: FileChange, old: bytes | None, new: bytes | None) -> FileChange:
    """The file with one hunk that replaces everything."""
    sides = [side or b"" for side in (old, new)]
    if any(b"\0" in side[:8000] or len(side) > _LARGEST_TEXT for side in sides):
        return replace(file, binary=True)
    removed, added = (tuple(side.decode("utf-8", "replace").split("\n")) for side in sides)
    removed, added = (lines[:-1] if lines[-1] == "" else lines for lines in (removed, added))
    if not removed and not added:
        return file
    hunk = Hunk(int(bool(removed)), len(removed), int(bool(added)), len(added), removed, added)
    return replace(file, hunks=(hunk,))


def _with_symbols(
    repo: Repository, base: str, head: str | None, files: list[FileChange]
) -> Iterator[FileChange]:
    rest = iter(files)
    while batch := list(islice(rest, _BATCH)):
        code = [file for file in batch if is_source(file.path)]
        old = repo.read_many(base, (f.old_path or f.path for f in code))
        new = repo.read_many(head, (f.path for f in code))
        for file in batch:
            sides = old.get(file.old_path or file.path), new.get(file.path)
            yield _with_file_symbols(file, *sides) if is_source(file.path) else file


def _with_file_symbols(file: FileChange, old: bytes | None, new: bytes | None) -> FileChange:
    before = None if old is None else outline(file.old_path or file.path, old)
    after = None if new is None else outline(file.path, new)
    hunks = file.hunks or (_whole(file, old, new).hunks if file.binary else ())
    symbols, names = touched(before, after, hunks)
    if file.status is FileStatus.RENAMED:  # whoever imports the old name meets this at import
        moved = (Symbol(path, MODULE_LEVEL) for path in (file.old_path or file.path, file.path))
        symbols = tuple(dict.fromkeys((*moved, *symbols)))
    return replace(file, touched=symbols, names_set=names)
