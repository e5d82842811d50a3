"""What a change is compared with, as CI sees it, and what a run in CI is called."""

from __future__ import annotations

from foretest.changes.git import Repository
from foretest.ci.context import CiContext
from foretest.ci.detection import detect
from foretest.config import environment
from foretest.errors import MissingBase, ShallowClone


def context_of(repo: Repository, commit: str) -> CiContext | None:
    """What CI says of the checkout at `commit`; None outside CI.

    None too where it speaks of another repository or an older state, as in a job that tests
    projects of its own making: a commit that it names is then not in this one's past.
    """
    context = detect(environment())
    if context is None:
        return None
    named = [head for head in (context.commit, *context.other_heads) if head]
    if named and not any(repo.is_ancestor(head, commit) for head in named):
        return None
    return context


def base_by_ci(repo: Repository, context: CiContext, commit: str) -> tuple[str, str] | None:
    """The commit that a request is compared with and a sentence on it; None where it is no request.

    Raises MissingBase or ShallowClone with what mends it in that very system: a base that is
    guessed because the right one is missing could leave out tests that the change breaks.
    """
    told = f"the base that {context.system} names"
    if context.target:
        request = f"request {context.request} to " if context.request else ""
        told = f"{told} ({request}{context.target})"
    parents = _parents(repo, commit)
    if context.merged and commit == context.commit and len(parents) > 1:
        return parents[0], f"Compared with {parents[0][:10]}, {told}."
    for name in context.bases:
        try:
            base = repo.merge_base(repo.resolve(name), commit)
        except MissingBase:
            continue
        except ShallowClone as error:
            raise ShallowClone(error.message, context.deepen) from error
        return base, f"Compared with {base[:10]}, {told}."
    if not context.bases:
        return None
    raise MissingBase(
        f"{told[0].upper()}{told[1:]} is not in this clone: {', '.join(context.bases)}.",
        context.deepen,
    )


def before_push(repo: Repository, context: CiContext | None, commit: str) -> str | None:
    """The tip before this push, where it lies in the past of `commit`; else None."""
    if context is None or not context.previous or not repo.is_ancestor(context.previous, commit):
        return None
    previous = repo.resolve(context.previous)
    return previous if previous != commit else None


def _parents(repo: Repository, commit: str) -> list[str]:
    return repo.run("rev-list", "--parents", "--max-count=1", commit).decode().split()[1:]
