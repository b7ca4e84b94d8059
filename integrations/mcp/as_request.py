"""A message of the protocol that came by another way, as the HTTP request that it would have been.

So there is one server with one way in, whichever era a message is of.
"""

import json
from typing import Any, Final

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
)
from mcp_types import PROTOCOL_VERSION_META_KEY

_JSON: Final = "application/json"


def as_request(message: dict[str, Any], agreed: str) -> tuple[dict[str, Any], bytes]:
    """(scope, body). ``agreed`` is the version of the handshake, which newer messages name by themselves."""
    method, params = message.get("method"), message.get("params")
    params = params if isinstance(params, dict) else {}
    meta = params.get("_meta")
    said = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None
    headers = {"content-type": _JSON, "accept": f"{_JSON}, text/event-stream"}
    if isinstance(said, str):
        headers |= {MCP_PROTOCOL_VERSION_HEADER: said, MCP_METHOD_HEADER: str(method)}
        name = params.get(NAME_BEARING_METHODS.get(str(method), ""))
        headers |= {MCP_NAME_HEADER: name} if isinstance(name, str) else {}
    elif agreed and method != "initialize":
        headers[MCP_PROTOCOL_VERSION_HEADER] = agreed
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": "POST", "path": "/mcp", "raw_path": b"/mcp",
        "root_path": "", "query_string": b"", "client": None, "server": None,
        "headers": [(name.encode(), encode_header_value(value).encode()) for name, value in headers.items()],
    }  # fmt: skip
    return scope, json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
