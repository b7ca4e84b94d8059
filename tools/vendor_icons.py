"""Make one SVG sprite of the icons that pages use: ``vendor_icons.py ICONS_DIR NAMES_FILE``.

A name is ``robot`` (outline) or ``filled/circle-check``; its symbol's id is the name with ``-`` for ``/``.
"""

import re
import sys
from pathlib import Path


def symbol(icons: Path, name: str) -> str:
    """The icon's drawing as a ``<symbol>`` that takes its colour from the text around it."""
    style, _, plain = name.rpartition("/")
    svg = (icons / (style or "outline") / f"{plain}.svg").read_text("utf-8")
    body = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    match = re.search(r"<svg[^>]*>(.*)</svg>", body, flags=re.DOTALL)
    if match is None:
        raise SystemExit(f"{name} is not an SVG")
    drawing = "".join(line.strip() for line in match[1].splitlines() if 'd="M0 0h24v24H0z"' not in line)
    return f'<symbol id="{name.replace("/", "-")}" viewBox="0 0 24 24">{drawing}</symbol>'


def main() -> None:
    icons, names = Path(sys.argv[1]), Path(sys.argv[2]).read_text("utf-8").split()
    drawings = "\n".join(symbol(icons, name) for name in sorted(set(names)))
    sys.stdout.write(f'<svg xmlns="http://www.w3.org/2000/svg">\n{drawings}\n</svg>\n')


if __name__ == "__main__":
    main()
