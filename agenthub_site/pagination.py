"""Lists are pages ``{results, next, previous}``, by cursor on the UUIDv7 id, newest first."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from agenthub_site.accounts.newest import Parts, newest
from nodes.contract.errors import Invalid


class IdCursor(CursorPagination):
    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        parts = view.parts() if hasattr(view, "parts") else None
        if parts is not None and (size := self.get_page_size(request)):
            queryset = self._shortened(queryset, self.decode_cursor(request), size + 1, parts)
        return super().paginate_queryset(queryset, request, view)

    def _shortened(self, rows: QuerySet[Any], cursor: Any, most: int, parts: Parts) -> QuerySet[Any]:
        is_back = bool(cursor and cursor.reverse)
        if cursor is not None:
            most += cursor.offset
            if cursor.position is not None:
                rows = rows.filter(**{"pk__gt" if is_back else "pk__lt": cursor.position})
        return newest(rows, parts, most, from_oldest=is_back)

    def decode_cursor(self, request: Request) -> Any:
        """A cursor that we did not make is bad input, neither a missing thing nor a fault."""
        try:
            cursor = super().decode_cursor(request)
            if cursor is not None and cursor.position is not None:
                UUID(str(cursor.position))
        except (NotFound, ValueError) as error:
            raise Invalid(
                "This cursor is not one of ours.", fields={"cursor": ["Follow next and previous."]}
            ) from error
        return cursor
