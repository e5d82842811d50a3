"""State on its way: through a folder, a real git remote and a real S3 server."""

import http.server
import json
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from foretest.errors import BadConfiguration, BadStore, NoBundle, ReadOnlyTarget, StateNotFound
from foretest.history import carry
from foretest.history.carry import pull, push, seal, unseal
from foretest.history.places import Place, place

COMMITS = [f"{i:040x}" for i in range(1, 9)]  # newest first


@dataclass
class Setting:
    """A user's repository and a place to carry state to."""

    target: str
    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def push(self, commit: str, content: bytes, now: float, **more: int) -> carry.Pushed:
        state = self.root / ".foretest"
        state.mkdir(exist_ok=True)
        (state / "bundle.ftb").write_bytes(content)
        return push(
            *(state, self.target, commit),
            root=self.root,
            environment=self.environment,
            now=now,
            **more,
        )

    def pull(self, commits: list[str]) -> carry.Pulled:
        state = self.root / "elsewhere"
        return pull(state, self.target, commits, root=self.root, environment=self.environment)

    @property
    def place(self) -> Place:
        return place(self.target, self.root, self.environment)


def git(root: Path, *args: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=x@x", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one commit, and a bare remote that it came from."""
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(tmp_path, "init", "-q", "user")
    root = tmp_path / "user"
    (root / "file").write_text("content")
    git(root, "add", "file")
    git(root, "commit", "-q", "-m", "one")
    git(root, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(root, "push", "-q", "origin", "HEAD:main")
    return root


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        pytest.skip("moto[server] is not installed: carrying by S3 is NOT tested")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path) -> Setting:
    name = f"b-{abs(hash(str(tmp_path))):x}"
    urllib.request.urlopen(
        urllib.request.Request(f"{s3_server}/{name}", method="PUT"), timeout=30
    ).close()
    settings = {**KEYS, "AWS_ENDPOINT_URL": s3_server}
    return Setting(f"s3://{name}/some/prefix", tmp_path, settings)


@pytest.fixture(params=["folder", "git", "s3"])
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    if request.param == "folder":
        return Setting("cache/state", tmp_path)
    if request.param == "git":
        return Setting("git:refs/foretest/state", request.getfixturevalue("clone"))
    found: Setting = request.getfixturevalue("bucket")
    return found


def test_the_nearest_ancestor_is_found(setting: Setting) -> None:
    setting.push(COMMITS[5], b"far", now=1e9)
    setting.push(COMMITS[2], b"near\0\r\n", now=1e9 + 1)
    setting.push("f" * 40, b"another branch", now=1e9 + 2)
    pulled = setting.pull(COMMITS)
    assert (pulled.commit, pulled.distance, pulled.notices) == (COMMITS[2], 2, ())
    assert pulled.path.read_bytes() == b"near\0\r\n"
    assert setting.pull(COMMITS[3:]).distance == 2


def test_nothing_there_is_said(setting: Setting) -> None:
    with pytest.raises(StateNotFound) as caught:
        setting.pull(COMMITS)
    assert caught.value.remedy


def test_damage_is_passed_over_with_a_notice(setting: Setting) -> None:
    setting.push(COMMITS[4], b"whole", now=1e9)
    cut = seal(b"much longer than this")[:-3]
    setting.place.put(f"1000000001-{COMMITS[1]}.ftb", cut)
    setting.place.put(f"1000000002-{COMMITS[2]}.ftb", b"nonsense")
    pulled = setting.pull(COMMITS)
    assert pulled.commit == COMMITS[4]
    assert ["digest" in notice for notice in pulled.notices] == [True, False]
    with pytest.raises(StateNotFound, match="digest"):
        setting.pull(COMMITS[:3])


def test_the_last_ones_stay(setting: Setting) -> None:
    setting.place.put("not-ours", b"left alone")
    for i, commit in enumerate(COMMITS[:5]):
        pushed = setting.push(commit, b"x", now=1e9 + i, keep=2)
        assert pushed.notices == ()
    setting.push(COMMITS[4], b"again", now=1e9 + 9, keep=2)
    assert sorted(setting.place.names()) == [
        f"1000000003-{COMMITS[3]}.ftb",
        f"1000000009-{COMMITS[4]}.ftb",
        "not-ours",
    ]
    assert setting.pull(COMMITS[4:]).path.read_bytes() == b"again"


def test_pushers_at_once_all_get_through(setting: Setting) -> None:
    state = setting.root / ".foretest"
    state.mkdir()
    (state / "bundle.ftb").write_bytes(b"x")

    def one(commit: str) -> carry.Pushed:
        return push(
            *(state, setting.target, commit), root=setting.root, environment=setting.environment
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [*COMMITS[:4], COMMITS[0]]))
    assert {name[11:51] for name in setting.place.names()} == set(COMMITS[:4])


def test_no_bundle_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoBundle):
        push(tmp_path, str(tmp_path / "there"), COMMITS[0])


@pytest.mark.parametrize("target", ["", "ftp://x/y", "git:main", "git:refs/../x", "git:refs/x y"])
def test_what_is_no_place_is_said(tmp_path: Path, target: str) -> None:
    with pytest.raises(BadConfiguration):
        place(target, tmp_path, {})


@pytest.mark.parametrize("data", [b"", b"x" * 300])
def test_seals(data: bytes) -> None:
    assert unseal(seal(data)) == (data, b"")
    assert seal(data).startswith(b"foretest-state 1 ")  # as every version reads it
    assert unseal(seal(data, b"past")) == (data, b"past")
    for sealed in (seal(data), seal(data, b"past")):
        for broken in (sealed + b"x", sealed[1:], sealed[:-1], b"", data):
            with pytest.raises(BadStore):
                unseal(broken)


def test_a_history_alone_stands_behind_any_bundle(tmp_path: Path) -> None:
    here, there, target = tmp_path / "here", tmp_path / "there", str(tmp_path / "target")
    here.mkdir()
    push(here, target, COMMITS[0], history=b"newest", now=1e9)
    pulled = pull(there, target, COMMITS)
    assert (pulled.commit, pulled.history, pulled.path.exists()) == (COMMITS[0], True, False)
    assert (there / carry.HISTORY).read_bytes() == b"newest"
    (here / "bundle.ftb").write_bytes(b"bundle")
    push(here, target, COMMITS[3], history=b"older", now=1e9)
    pulled = pull(there, target, COMMITS)
    assert (pulled.commit, pulled.path.read_bytes()) == (COMMITS[3], b"bundle")
    assert (there / carry.HISTORY).read_bytes() == b"older"


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and ".foretest" not in p.parts and "elsewhere" not in p.parts
    }


def test_git_leaves_the_users_repository_alone(clone: Path) -> None:
    before = everything(clone)
    setting = Setting("git:refs/foretest/state", clone)
    setting.push(COMMITS[0], b"content", now=1e9)
    setting.pull(COMMITS)
    assert everything(clone) == before
    assert git(clone, "ls-remote", "origin", "refs/heads/*").count("\n") == 1


def test_git_works_from_a_shallow_clone_and_a_linked_work_tree(clone: Path) -> None:
    Setting("git:refs/foretest/state", clone).push(COMMITS[1], b"content", now=1e9)
    address = f"file://{clone.parent / 'remote.git'}"
    git(clone.parent, "clone", "-q", "--depth=1", "--branch=main", address, "shallow")
    git(clone, "worktree", "add", "-q", "--detach", "../linked")
    for name in ("shallow", "linked"):
        setting = Setting("git:refs/foretest/state", clone.parent / name)
        assert setting.pull(COMMITS[1:]).distance == 0
        setting.push(COMMITS[0], name.encode(), now=1e9 + 1)
        assert setting.pull(COMMITS).path.read_bytes() == name.encode()


def test_a_remote_that_refuses_can_be_pulled_from(clone: Path) -> None:
    setting = Setting("git:refs/foretest/state", clone)
    setting.push(COMMITS[0], b"content", now=1e9)
    hook = clone.parent / "remote.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ReadOnlyTarget, match="pulling works"):
        setting.push(COMMITS[1], b"more", now=1e9 + 1)
    assert setting.pull(COMMITS).path.read_bytes() == b"content"


def test_a_folder_that_refuses_can_be_pulled_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting("cache", tmp_path)
    setting.push(COMMITS[0], b"content", now=1e9)

    def refused(*_: object) -> None:  # as a mode would, were these tests not run as root somewhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(ReadOnlyTarget, match="pulling works"):
        setting.push(COMMITS[1], b"more", now=1e9 + 1)
    monkeypatch.undo()
    assert setting.pull(COMMITS).path.read_bytes() == b"content"


def test_a_remote_that_is_gone_is_said(clone: Path) -> None:
    git(clone, "remote", "set-url", "origin", str(clone.parent / "none.git"))
    setting = Setting("git:refs/foretest/state", clone)
    with pytest.raises(BadStore, match="cannot be reached"):
        setting.pull(COMMITS)
    with pytest.raises(BadStore):
        setting.push(COMMITS[0], b"x", now=1e9)


def policy(bucket: Setting) -> None:
    """Everybody may list and read."""
    import boto3

    name = bucket.target.removeprefix("s3://").partition("/")[0]
    statement = {"Effect": "Allow", "Principal": "*", "Resource": "*"}
    allowed = [{**statement, "Action": ["s3:GetObject", "s3:ListBucket"]}]
    boto3.client(
        "s3",
        endpoint_url=bucket.environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    ).put_bucket_policy(
        Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": allowed})
    )


def test_s3_is_pulled_without_credentials(bucket: Setting) -> None:
    bucket.push(COMMITS[3], b"content", now=1e9)
    policy(bucket)
    anonymous = {"AWS_ENDPOINT_URL": bucket.environment["AWS_ENDPOINT_URL"]}
    pulled = pull(bucket.root / "x", bucket.target, COMMITS, environment=anonymous)
    assert pulled.distance == 3


def test_s3_that_is_not_there_is_said(bucket: Setting) -> None:
    with pytest.raises(BadStore, match="cannot be reached"):
        pull(bucket.root, "s3://no-such-bucket/x", COMMITS, environment=bucket.environment)


class Forbidding(http.server.BaseHTTPRequestHandler):
    """An object store that lets nobody write."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(403, "AccessDenied")

    def log_message(self, *_: object) -> None:
        pass


def test_s3_that_refuses_is_said_politely(tmp_path: Path) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Forbidding)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        there = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        with pytest.raises(ReadOnlyTarget, match="pulling works"):
            Setting("s3://bucket/x", tmp_path, there).push(COMMITS[0], b"x", now=1e9)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
