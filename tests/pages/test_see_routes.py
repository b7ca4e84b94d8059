"""All routes in one list, for those who see their projects."""

from django.test import Client

from agenthub_site.accounts.models import Project, User
from nodes.models import Node, Route
from tests.factories import make_root

from .test_see_pages import SignIn


def test_routes_are_listed_with_their_project_for_those_who_see_it(
    web: Client, sign_in: SignIn, project: Project, oslo: Node, charlie: User
) -> None:
    route = Route.objects.create(
        project=project, node=oslo, entries=["api"], note="For the nightly.", created_by="root"
    )
    page = web.get("/routes/").content.decode()
    assert "harbour may use" in page and "oslo" in page and "by api" in page and "For the nightly." in page
    assert f"/admin/nodes/route/{route.pk}/" not in page, "the registry is not hers"
    assert f"/admin/nodes/route/{route.pk}/" in sign_in(make_root()).get("/routes/").content.decode()
    assert "No routes" in sign_in(charlie).get("/routes/").content.decode()
