"""Texts that are not understood: made readable, and searched for what a rule might deny."""

import re
import unicodedata

SCANNED_CHARS = 20_000
_ALIKE = str.maketrans("аеорсухіјѕԁһɡɩʏ", "aeopcyxijsdhgiy")  # noqa: RUF001 - that they look alike is the point
_CODED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4}))")
_QUOTING = re.compile(r"""["'`\\]|\$@|\$\*|\$\(\)|\$\{?[A-Za-z_]\w*\}?|[{}]""")
_NOISE = r"[^A-Za-z0-9\n;|&]{1,12}"
_LATER = r"(?:[^\n;|&]{0,200}?\W)?"
PUBLISHING = re.compile(
    rf"\bgit\b{_NOISE}{_LATER}(?:push|send-pack|http-push|send-email|dcommit)\b"
    rf"|\b(?:npm|pnpm|yarn|cargo|poetry|uv|hatch|flit|lerna|dotnet|bun|deno|rye|pdm){_NOISE}{_LATER}publish\b"
    rf"|\btwine{_NOISE}upload\b"
    rf"|\b(?:docker|podman|nerdctl|helm|gem|skopeo){_NOISE}{_LATER}(?:push|copy)\b"
    rf"|\b(?:gh|glab|hub){_NOISE}(?:pr|mr|release|issue|gist|repo|workflow){_NOISE}"
    r"(?:create|merge|comment|edit|close|run)\b"
    rf"|\b(?:kubectl|terraform|tofu|pulumi){_NOISE}(?:apply|delete|destroy|up|rollout)\b"
    rf"|\b(?:vercel|netlify|fly|flyctl|wrangler|firebase|serverless|cdk|sam|eb){_NOISE}(?:deploy|publish|--prod)\b"
    r"|\b(?:semantic-release|gh-pages|ansible-playbook|sendmail)\b",
    re.IGNORECASE,
)
"""What publishing looks like in a text that is not understood, whatever stands between the words."""
REACHING = re.compile(
    r"\b(?:curl|wget|nc|ncat|netcat|socat|ssh|scp|sftp|rsync|telnet|ftp|tftp|nslookup|dig|aria2c|urlopen|urllib|httpx?|"
    r"requests\.(?:get|post|put)|fetch|XMLHttpRequest|create_connection|socket|LWP)\b|/dev/(?:tcp|udp)/|://",
    re.IGNORECASE,
)


def squeezed(text: str) -> str:
    """``text`` as it might be read: without quotes, joined lines, invisible characters, codes and look-alikes."""
    text = text[:SCANNED_CHARS].replace("\\\n", "")
    text = _CODED.sub(lambda m: chr(int(m[1] or m[3] or "0", 16) if m[1] or m[3] else int(m[2], 8)), text)
    text = unicodedata.normalize("NFKC", text).translate(_ALIKE)
    kept = [" " if c.isspace() and c != "\n" else c for c in text if c.isprintable() or c.isspace()]
    return re.sub(r" {2,}", " ", _QUOTING.sub("", "".join(kept))).strip()
