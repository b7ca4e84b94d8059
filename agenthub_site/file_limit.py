"""A hub holds a socket for each link and each reader, and many systems give a process 1,024 files to begin with."""

import resource
from typing import Final

MOST: Final = 65_536


def raise_file_limit() -> int:
    """As many open files as the system lets this process have, up to ``MOST``; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
