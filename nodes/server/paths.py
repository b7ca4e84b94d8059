"""Which directories a run may work in: resolved first, checked after, at every use again."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
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

    ``fence`` is what isolated agents are kept from, within the roots and elsewhere.
    """

    roots: tuple[Path, ...]
    worktree_root: Path
    fence: Fence = field(default_factory=Fence)

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

    def project_root(self, project_slug: str) -> Path:
        """Where the project's worktrees are made. ``OutsideSafePaths`` for a slug that is no plain name."""
        if not project_slug or project_slug in (".", "..") or "/" in project_slug or "\0" in project_slug:
            raise OutsideSafePaths(f"{project_slug!r} cannot be a project's directory.")
        return self.worktree_root / project_slug

    def resolve(self, path: str | Path, project_slug: str) -> Path:
        """The real path, if it is allowed to the project. Raises ``OutsideSafePaths``; it need not exist."""
        wanted = os.path.expanduser(path)
        if not wanted.startswith("/") or "\0" in wanted:
            raise OutsideSafePaths(f"{str(path)!r} is not an absolute path on the node.", path=str(path))
        try:
            real = Path(wanted).resolve()
        except (OSError, RuntimeError) as error:  # a loop of links
            raise OutsideSafePaths(f"{str(path)!r} cannot be resolved.", path=str(path)) from error
        own = self.project_root(project_slug).resolve()
        worktrees = self.worktree_root.resolve()
        if _is_under(real, worktrees):
            allowed: Sequence[Path] = (own,)  # whatever else is configured: not another project's
        else:
            allowed = [root.resolve() for root in self.roots]
        if not any(_is_under(real, root) for root in allowed):
            raise OutsideSafePaths(
                f"{str(path)!r} lies outside the node's safe paths. Add its root to safe_paths in the node's "
                "config.toml, or choose another directory.",
                path=str(path),
            )
        return real


def _is_under(path: Path, root: Path) -> bool:
    return path == root or root in path.parents
