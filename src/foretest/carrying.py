"""What was learned travels: pushed under its commit, pulled by the nearest ancestor."""

from __future__ import annotations

from foretest import bundle as bundles
from foretest.changes.git import Repository
from foretest.config import Config, object_store_environment
from foretest.engine import REMEMBERED, ensure_state
from foretest.history import carry


def push_state(config: Config, target: str) -> list[str]:
    """Store this machine's bundle at `target`; sentences on what was done."""
    repo = Repository.open(config.root)
    with bundles.opened(config.bundle_path) as bundle:
        commit = str(bundle.manifest["commit"])
    pushed = carry.push(
        config.state, target, commit, root=repo.root, environment=object_store_environment()
    )
    told = f"Pushed the state of {pushed.commit[:12]} to {target} ({pushed.size / 1e6:.1f} MB)."
    return [*pushed.notices, told]


def pull_state(config: Config, target: str) -> list[str]:
    """Fetch the bundle of HEAD's nearest ancestor from `target`; sentences on what was done."""
    repo = Repository.open(config.root)
    ensure_state(config)
    past = repo.ancestors(repo.head(), REMEMBERED)
    pulled = carry.pull(
        config.state, target, past, root=repo.root, environment=object_store_environment()
    )
    age = pulled.distance
    old = "this very commit" if age == 0 else f"{age:,} commit{'' if age == 1 else 's'} back"
    told = [*pulled.notices, f"Pulled the state of {pulled.commit[:12]}, {old}."]
    if age > config.max_coverage_age:
        told.append("It is too old to select by: all tests run until `foretest learn` has run.")
    return told
