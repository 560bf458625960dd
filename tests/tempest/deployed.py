"""A deployed cloud for Tempest: the small lab as containers, so with MariaDB, RabbitMQ, haproxy and TLS."""

import os
import subprocess
import sys
import time
from pathlib import Path

from base import ROOT, Fault, openrc, say
from cloud import WRIGHT

# What the busiest machine needs, images from nothing included.
PATIENCE = 2400


class Deployed:
    """An environment of its own, with its state in `folder`, which is made. The same words as of `Cloud`."""

    def __init__(self, folder):
        if not os.environ.get("WRIGHT_AGENT"):
            sys.exit("WRIGHT_AGENT names no program")
        self.folder = Path(folder)
        self.wright = [WRIGHT, "--env", "tempest", "--inventory", str(ROOT / "inventories/lab"), "--state-dir", str(folder), "--yes"]
        # What brings a command to where the cloud's addresses answer.
        self.before = [*self.wright, "lab", "exec", "--"]
        self.log = Path(f"{folder}.out")
        self.environment = {}

    def start(self):
        began = time.monotonic()
        self.run("lab", "up", "--containers")
        self.environment = openrc(self.folder / "openrc")
        say(f"lab of containers: {time.monotonic() - began:.1f} s")

    def kill(self):
        self.run("lab", "down", "--purge")

    def run(self, *words):
        with open(self.log, "ab") as out:
            done = subprocess.run(
                [*self.wright, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, timeout=PATIENCE
            )
        if done.returncode != 0:
            raise Fault(f"`wright {' '.join(words)}` ended with {done.returncode}")
