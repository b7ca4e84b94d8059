"""Refusals and faults in a browser look like the product, and say what to do."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from agenthub_site.accounts.models import User
from agents.models import Agent, Run

LOOK = "agenthub/app.css"


def test_what_is_not_there_is_a_page_with_a_way_out(web: Client) -> None:
    answer = web.get("/nothing/here/")
    page = answer.content.decode()
    assert answer.status_code == 404 and LOOK in page and "<h1" in page and 'href="/"' in page


def test_what_a_role_does_not_allow_is_a_page(sign_in: Callable[[User], Client], bob: User, agent: Agent) -> None:
    answer = sign_in(bob).post(reverse("archive_agent", args=[agent.pk]))
    page = answer.content.decode()
    assert answer.status_code == 403 and LOOK in page and "Not allowed" in page


def test_a_form_that_was_open_for_too_long_says_to_reload(alice: User, run: Run) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    answer = client.post(reverse("cancel_run", args=[run.pk]))
    page = answer.content.decode()
    assert answer.status_code == 403 and LOOK in page and "reload the page" in page


def test_a_fault_of_ours_tells_no_details(web: Client) -> None:
    web.raise_request_exception = False
    with patch("agenthub_site.pages.nodes.visible_nodes", side_effect=RuntimeError("secret of ours")):
        answer = web.get("/nodes/")
    page = answer.content.decode()
    assert answer.status_code == 500 and LOOK in page and "secret" not in page and "log has the details" in page


@pytest.mark.parametrize("error", [OperationalError("locked")])
def test_a_database_that_is_away_is_a_page_too(web: Client, error: Exception) -> None:
    with patch("agenthub_site.pages.nodes.visible_nodes", side_effect=error):
        answer = web.get("/nodes/")
    page = answer.content.decode()
    assert answer.status_code == 503 and LOOK in page and "try again" in page and "locked" not in page


def test_signing_in_says_where_the_first_password_is(client: Client, db: None) -> None:
    page = client.get("/login/").content.decode()
    assert "printed at its first start" in page and "changepassword root" in page
