"""What the REST doors of all apps share: who asks, and inputs that refuse what they do not know."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

from rest_framework import serializers
from rest_framework.viewsets import GenericViewSet

from .actors import Actor
from .authentication import request_actor
from .newest import Parts, projects_apart


class In(serializers.Serializer[Any]):
    """What comes in. A field that does not exist is refused: a typing error must not pass for a wish granted."""

    known: ClassVar[Collection[str]] = ()
    """What may come in besides, and counts for nothing: fields of what goes out, so that it can be sent back."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(str(name) for name in data.keys() - self.fields.keys() - set(self.known))
            if unknown:
                raise serializers.ValidationError({name: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


_INDEXED: Final = frozenset({"agent", "node", "project", "run"})
"""Filters of lists whose things have an index."""


class HubViewSet(GenericViewSet[Any]):
    """A door: it finds things among those that ``actor`` may see, and calls one service."""

    lists_by_project: ClassVar[bool] = False
    """Whether what it lists has a project, and an index of that and the id."""

    @property
    def actor(self) -> Actor:
        return request_actor(self.request)

    def parts(self) -> Parts | None:
        """What its lists are put together of, where the actor sees several projects and asks for no part of them that
        has an index of its own.
        """
        if not self.lists_by_project or self.actor.sees_all or _INDEXED & self.request.query_params.keys():
            return None
        return projects_apart(self.actor.project_ids)

    def read(self, shape: type[In], *, partial: bool = False) -> dict[str, Any]:
        """The body, as ``shape`` has it. ``Invalid`` otherwise, with the fields that do not fit."""
        given = shape(data=self.request.data, partial=partial)
        given.is_valid(raise_exception=True)
        values: dict[str, Any] = given.validated_data
        return values
