import subprocess
import sys

CODE = """
import resource
from agenthub_site.file_limit import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4000))
print(raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_file_limit())
"""


def test_a_hub_takes_as_many_files_as_it_may_have() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines() == ["4000 4000 4000", "4000"]
