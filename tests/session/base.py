"""What every session with the official clients needs: commands that are printed with what they took, and words for
what should hold. It knows no cloud: a `Session` gets the environment that `openrc` would set."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = Path(os.environ.get("OPENSTACK_CLIENTS") or sys.exit("OPENSTACK_CLIENTS names no folder"))
# What the busiest machine needs for one command; nothing here takes long by itself.
PATIENCE = 300


class Fault(Exception):
    """A command did not do what it should."""


def say(text):
    print(text, flush=True)


def tail(path, lines=40):
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


def openrc(path):
    """The variables that an `openrc` exports."""
    return dict(
        part.split("=", 1)
        for line in Path(path).read_text().splitlines()
        if line.startswith("export ")
        for part in shlex.split(line)[1:]
    )


def expect(condition, message):
    if not condition:
        raise Fault(message)


def has(text, *parts):
    for part in parts:
        expect(part in text, f"`{part}` is missing in:\n{text}")


class Session:
    """Commands as the user whom `environment` names; files go to `folder`."""

    def __init__(self, environment, folder):
        self.environment = environment
        self.folder = folder

    def run(self, line, stdin=None, fails=False, **variables):
        """Runs one command line; its standard output. `fails` wants it to fail, and gives the message."""
        words = shlex.split(line)
        environment = {
            "PATH": f"{CLIENTS}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "ignore",
            **self.environment,
            **variables,
        }
        began = time.monotonic()
        with open(stdin, "rb") if stdin else open(os.devnull, "rb") as source:
            done = subprocess.run(
                words, stdin=source, capture_output=True, text=True, env=environment, timeout=PATIENCE, cwd=ROOT
            )
        say(f"$ {line}  ({time.monotonic() - began:.1f} s)")
        if (done.returncode != 0) != fails:
            raise Fault(f"`{line}` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr if fails else done.stdout

    def json(self, line, **variables):
        return json.loads(self.run(f"{line} -f json", **variables) or "null")

    def until(self, what, wanted):
        """Asks until the answer is `wanted`."""
        began = time.monotonic()
        while (seen := what()) != wanted:
            if time.monotonic() - began > PATIENCE or seen == "ERROR":
                raise Fault(f"{seen!r} instead of {wanted!r}")
            time.sleep(0.2)
