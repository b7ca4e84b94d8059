"""What makes a strict content policy possible, and what keeps script and contract in step."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from agenthub_site.pages import words
from agents.models import Run
from agents.states import State
from nodes.contract.events import PAYLOADS
from nodes.contract.reasons import Reason

ROOT = Path(settings.BASE_DIR)
STATIC = ROOT / "agenthub_site" / "static"
SCRIPTS = sorted((STATIC / "agenthub").rglob("*.js"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


@pytest.mark.parametrize("address", ["/login/", "/runs/", "/nothing/here/"])
def test_every_answer_has_the_strict_policy(web: Client, address: str) -> None:
    policy = web.get(address)["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("address", ["/api/docs/", "/api/schema/", "/api/v1/runs/"])
def test_no_door_of_the_api_lets_a_page_run_inline_scripts(web: Client, address: str) -> None:
    scripts = web.get(address)["Content-Security-Policy"].partition("script-src ")[2].partition(";")[0]
    assert scripts == "'self'"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_inline_code(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text), "an inline script"
    assert not re.search(r"<style|\sstyle=", text), "an inline style"
    assert not re.search(r"\son[a-z]+=", text), "an inline handler"
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), "another origin"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_call_no_other_origin_and_evaluate_nothing(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not re.search(r"\beval\(|new Function|insertAdjacentHTML|document\.write|outerHTML", text)


def test_markup_is_made_from_text_in_one_place_and_cleaned_there() -> None:
    users = {path.name for path in SCRIPTS if "innerHTML" in path.read_text("utf-8")}
    assert users == {"diff.js"}, "highlighted code in an inert template; everything else goes through the cleaner"


def test_every_vendored_library_has_its_licence_beside_it() -> None:
    libraries = [path for path in (STATIC / "vendor").iterdir() if path.is_dir()]
    assert len(libraries) == 8
    assert [path.name for path in libraries if not list(path.glob("LICENSE*"))] == []


def test_every_icon_that_is_used_is_in_the_sprite() -> None:
    sprite = (STATIC / "vendor/tabler-icons/sprite.svg").read_text("utf-8")
    known = set(re.findall(r'<symbol id="([a-z0-9-]+)"', sprite))
    used = {name for path in TEMPLATES for name in re.findall(r'{% icon "([a-z0-9-]+)"', path.read_text("utf-8"))}
    used |= {name for path in SCRIPTS for name in re.findall(r'icon\("([a-z0-9-]+)"', path.read_text("utf-8"))}
    assert len(used) > 30 and used <= known


def test_the_run_page_knows_every_type_of_event() -> None:
    model = (STATIC / "agenthub/model.js").read_text("utf-8")
    assert set(re.findall(r'^  "([a-z_.]+)"[:(]', model, re.MULTILINE)) == set(PAYLOADS)


def test_every_state_has_a_colour_and_every_reason_its_words() -> None:
    assert set(words.COLOURS) == set(State)
    assert set(words.REASONS) == set(Reason) - {Reason.NONE}
    assert all(said.means.endswith(".") for said in words.REASONS.values())


def test_the_run_page_carries_the_reasons_as_data(web: Client, run: Run) -> None:
    page = web.get(reverse("run", args=[run.pk])).content.decode()
    assert '<script id="reasons" type="application/json">{"queued"' in page
