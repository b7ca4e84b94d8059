"""Which directories a run may work in: resolved first, checked after, at every use again."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from nodes.contract.config import Config, expand
from nodes.contract.errors import HubError
from nodes.contract.reasons import Reason

from .fence import Fence


class OutsideSafePaths(HubError):
    """The path, once resolved, lies under no allowed root. The message does not say where it led."""

    code, http, grpc = "outside_safe_paths", 403, "PERMISSION_DENIED"
    message = "This path lies outside the node's safe paths."
    reason = Reason.OUTSIDE_SAFE_PATHS


@dataclass(frozen=True, slots=True)
class SafePaths:
    """The allowed roots of a node. Worktrees lie in ``worktree_root/<project>``, and are that project's alone.

    ``other_worktrees`` are roots of the same kind, where none are made any more. ``fence`` is what isolated agents are
    kept from, within the roots and elsewhere.
    """

    roots: tuple[Path, ...]
    worktree_root: Path
    fence: Fence = field(default_factory=Fence)
    other_worktrees: tuple[Path, ...] = ()

    @classmethod
    def from_config(cls, config: Config) -> Self:
        return cls(tuple(expand(path) for path in config.safe_paths), config.worktree_root, Fence.from_config(config))

    @classmethod
    def from_json(cls, held: dict[str, Any]) -> Self:
        fence = Fence.from_json(held.get("fence", {}))
        return cls(tuple(Path(root) for root in held["roots"]), Path(held["worktree_root"]), fence)

    def as_json(self) -> dict[str, Any]:
        roots = [str(root) for root in self.roots]
        return {"roots": roots, "worktree_root": str(self.worktree_root), "fence": self.fence.as_json()}

    def with_worktrees_in(self, registered: str) -> Self:
        """The same, with worktrees made in the root that the hub's registry has for this node; empty: the node's own.

        ``OutsideSafePaths`` unless it lies under a root that this node allows.
        """
        if not registered:
            return self
        root = _real(registered)
        if root == self.worktree_root.resolve():
            return self
        if not any(_is_under(root, allowed.resolve()) for allowed in (*self.roots, self.worktree_root)):
            raise OutsideSafePaths(
                f"The hub's registry has {registered!r} as this node's default worktree root, and it lies outside the "
                "node's safe paths. Add it to safe_paths in the node's config.toml; or change or empty "
                "default_worktree_root in the registry.",
                path=registered,
            )
        return replace(self, worktree_root=root, other_worktrees=(self.worktree_root, *self.other_worktrees))

    def project_root(self, project_slug: str) -> Path:
        """Where the project's worktrees are made. ``OutsideSafePaths`` for a slug that is no plain name."""
        if not project_slug or project_slug in (".", "..") or "/" in project_slug or "\0" in project_slug:
            raise OutsideSafePaths(f"{project_slug!r} cannot be a project's directory.")
        return self.worktree_root / project_slug

    def resolve(self, path: str | Path, project_slug: str) -> Path:
        """The real path, if it is allowed to the project. Raises ``OutsideSafePaths``; it need not exist."""
        real = _real(path)
        slug = self.project_root(project_slug).name
        worktrees = [root.resolve() for root in (self.worktree_root, *self.other_worktrees)]
        if within := [root for root in worktrees if _is_under(real, root)]:
            innermost = max(within, key=lambda root: len(root.parts))
            own = innermost / slug
            if not _is_under(real, own.resolve()):  # whatever else is configured: not another's
                raise OutsideSafePaths(
                    f"{str(path)!r} lies among the worktrees of all projects, and those of {slug} are in {str(own)!r}. "
                    "Choose a directory there, or one under the node's safe_paths.",
                    path=str(path),
                )
        elif not any(_is_under(real, root.resolve()) for root in self.roots):
            raise OutsideSafePaths(
                f"{str(path)!r} lies outside the node's safe paths. Add its root to safe_paths in the node's "
                "config.toml, or choose another directory.",
                path=str(path),
            )
        return real


def _real(path: str | Path) -> Path:
    wanted = os.path.expanduser(path)
    if not wanted.startswith("/") or "\0" in wanted:
        raise OutsideSafePaths(f"{str(path)!r} is not an absolute path on the node.", path=str(path))
    try:
        return Path(wanted).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise OutsideSafePaths(f"{str(path)!r} cannot be resolved.", path=str(path)) from error


def _is_under(path: Path, root: Path) -> bool:
    return path == root or root in path.parents
