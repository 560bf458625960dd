"""Programs from the Python package index that tests call: a virtual environment each, in the user's cache, at the versions that a
file of requirements pins. It does not know what is called."""

import os
import subprocess
import sys
from pathlib import Path


def install(name, requirements):
    """The folder of the programs of the environment `name`; made when it is not there, or of other versions than wanted."""
    wanted = Path(requirements).read_text()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "stackwright" / name
    installed = folder / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        print(f"installing {requirements} into {folder}", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", requirements], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"{requirements} cannot be installed: {error}")
        # Last: what was cut off before is made anew.
        installed.write_text(wanted)
    return folder / "bin"
