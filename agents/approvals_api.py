"""REST: approvals over all runs and projects, and many answers at once."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from agenthub_site.accounts.rest import HubViewSet
from nodes.contract.errors import HubError

from .filters import ApprovalFilter
from .models import Approval
from .queries import shown_approvals
from .serializers import ApprovalOut, ApprovalRowOut, DecidedManyOut, DecideManyIn
from .services.approvals import decide_approvals

MULTI_STATUS = 207


class ApprovalViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, HubViewSet):
    """Questions before an action: ``?state=open&mine=true`` is what waits for you.

    One is answered at ``runs/{run}/approvals/{id}/decide/``, many at ``approvals/decide/``.
    """

    queryset = Approval.objects.none()
    filterset_class = ApprovalFilter
    lists_by_project = True

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return ApprovalRowOut if self.action == "list" else ApprovalOut

    def get_queryset(self) -> QuerySet[Approval]:
        return shown_approvals(self.actor)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().filter_queryset(queryset) if self.action == "list" else queryset

    @extend_schema(request=DecideManyIn, responses={MULTI_STATUS: DecidedManyOut})
    @action(detail=False, methods=["post"], filterset_class=None, pagination_class=None)
    def decide(self, request: Request) -> Response:
        """Answer up to 200 at once, each with its own option of that kind; a refusal stops none behind it.

        Sending it again is harmless: your own answers are told as given.
        """
        given = self.read(DecideManyIn)
        results = decide_approvals(given["approvals"], given["answer"], by=self.actor)
        told = [_told(pk, result) for pk, result in zip(given["approvals"], results, strict=True)]
        refused = sum(isinstance(result, HubError) for result in results)
        body = {"results": told, "decided": len(told) - refused, "refused": refused}
        return Response(DecidedManyOut(body).data, status=MULTI_STATUS)


def _told(approval_id: UUID, result: Approval | HubError) -> dict[str, Any]:
    if isinstance(result, HubError):
        error = result.as_json()["error"]
        return {"approval": approval_id, "status": result.http, "state": None, "option_id": None, "error": error}
    return {
        "approval": approval_id, "status": 200, "state": result.state, "option_id": result.option_id, "error": None,
    }  # fmt: skip
