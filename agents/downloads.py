"""Bytes that an agent wrote, handed out to be saved and never to be shown: they are data, whatever they claim to be."""

import re
from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.renderers import JSONRenderer

_NAME_CHARS: Final = 150
_NOT_IN_NAMES: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Bytes(JSONRenderer):
    """For callers that accept something else than JSON. A refusal is JSON all the same."""

    media_type = "*/*"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if renderer_context and (response := renderer_context.get("response")):
            response["Content-Type"] = JSONRenderer.media_type
        rendered: bytes = super().render(data, JSONRenderer.media_type, renderer_context)
        return rendered


def as_download(name: str, data: bytes) -> HttpResponse:
    """An answer that browsers save under the last part of ``name``, and neither sniff nor run."""
    last = _NOT_IN_NAMES.sub("_", re.split(r"[/\\]", name)[-1]).strip(". ")[-_NAME_CHARS:] or "artifact"
    response = HttpResponse(data, content_type="application/octet-stream")
    response["Content-Disposition"] = content_disposition_header(True, last)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, no-store"
    return response
