"""Build the JupyterLab extension: ``python labextension/build.py`` (needs npm and the package jupyter-builder).

With ``--check`` it only says whether what is built is up to date.

What is built is committed, in ``built``, so that nobody who installs wfkernel needs node. ``built/sources.sha256`` says from
which sources it was built; the tests compare it with the sources that are there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
BUILT: Final = HERE / "built"
DIGEST: Final = BUILT / "sources.sha256"
SOURCES: Final = ("package.json", "package-lock.json", "tsconfig.json", "schema/*", "src/*", "style/*")


def sources_digest() -> str:
    """SHA-256 over names and contents of everything the build depends on."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in SOURCES for file in HERE.glob(pattern)):
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{file.relative_to(HERE).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def build() -> None:
    """Compile and bundle the sources."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    if not (HERE / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=HERE, check=True)
    shutil.rmtree(BUILT, ignore_errors=True)
    subprocess.run(["npm", "run", "build"], cwd=HERE, check=True, env={**os.environ, "PATH": path})
    DIGEST.write_text(sources_digest() + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        build()
    elif DIGEST.read_text().strip() != sources_digest():
        sys.exit("labextension/built is older than its sources: run `make labextension`")
