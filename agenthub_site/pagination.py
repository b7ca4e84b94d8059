"""Lists are pages ``{results, next, previous}``, by cursor on the UUIDv7 id, newest first."""

from typing import Any
from uuid import UUID

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from nodes.contract.errors import Invalid


class IdCursor(CursorPagination):
    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = 200

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
