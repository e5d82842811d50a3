"""What was learned travels: pushed under its commit, pulled by the nearest ancestor."""

from __future__ import annotations

from foretest import bundle as bundles
from foretest.changes.git import Repository
from foretest.config import Config, object_store_environment
from foretest.durable import lock
from foretest.engine import REMEMBERED, ensure_state
from foretest.errors import BadStore
from foretest.history import carry
from foretest.history import state as states
from foretest.recollection import SNAPSHOT


def push_state(config: Config, target: str) -> list[str]:
    """Store this machine's bundle and history at `target`; sentences on what was done.

    Raises NoBundle where nothing was learnt or recorded here yet.
    """
    repo = Repository.open(config.root)
    notices: list[str] = []
    history = _history(config, notices)
    pushed = carry.push(
        config.state,
        target,
        _commit(config, repo, history),
        root=repo.root,
        environment=object_store_environment(),
        history=history,
    )
    told = f"Pushed the state of {pushed.commit[:12]} to {target} ({pushed.size / 1e6:.1f} MB)."
    return [*notices, *pushed.notices, told]


def pull_state(config: Config, target: str) -> list[str]:
    """Fetch bundle and history of HEAD's nearest ancestor from `target`; what was done."""
    repo = Repository.open(config.root)
    ensure_state(config)
    past = repo.ancestors(repo.head(), REMEMBERED)
    with lock(config.state / "record.lock"):
        pulled = carry.pull(
            config.state, target, past, root=repo.root, environment=object_store_environment()
        )
    age = pulled.distance
    old = "this very commit" if age == 0 else f"{age:,} commit{'' if age == 1 else 's'} back"
    told = [*pulled.notices, f"Pulled the state of {pulled.commit[:12]}, {old}."]
    if age > config.max_coverage_age:
        told.append("It is too old to select by: all tests run until `foretest learn` has run.")
    return told


def _commit(config: Config, repo: Repository, history: bytes) -> str:
    """What the state is of: the bundle's commit; HEAD where there is history alone."""
    if history and not config.bundle_path.exists():
        return repo.head()
    with bundles.opened(config.bundle_path) as bundle:
        return str(bundle.manifest["commit"])


def _history(config: Config, notices: list[str]) -> bytes:
    """The folded runs as they travel; empty where there are none."""
    try:
        state = states.read(config.state / SNAPSHOT)
    except BadStore as error:
        notices.append(f"Past results stay here: {error}")
        return b""
    return states.portable(state) if state is not None and state.units else b""
