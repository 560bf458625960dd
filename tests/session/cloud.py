"""A cloud for a session to run against: `wright up`, on ports and state of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from base import PATIENCE, ROOT, Fault, openrc, say, tail

WRIGHT = os.environ.get("WRIGHT") or sys.exit("WRIGHT names no program")


class Cloud:
    """`wright up` of the environment `name`, with its state in `folder`, which is made."""

    # Its addresses answer everywhere on this machine.
    before = ()

    def __init__(self, folder, *arguments, name="one-machine"):
        self.name = name
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o700)
        self.out = self.folder.with_suffix(".out")
        self.log = self.folder / "logs/services.log"
        self.arguments = arguments
        self.offset = free_offset()
        self.process = None
        self.environment = {}

    def wright(self, *arguments):
        """A command line for this environment."""
        return [WRIGHT, "--env", self.name, "--state-dir", str(self.folder), *arguments]

    def start(self):
        began = time.monotonic()
        # Written when all services answer.
        file = self.folder / "openrc"
        file.unlink(missing_ok=True)
        with open(self.out, "ab") as out:
            self.process = subprocess.Popen(
                self.wright("up", *self.arguments, "--port-offset", str(self.offset)),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT,
            )
        while not file.exists():
            if self.process.poll() is not None:
                raise Fault(f"wright up ended with {self.process.returncode}: {tail(self.out)}")
            if time.monotonic() - began > PATIENCE:
                raise Fault("wright up did not start")
            time.sleep(0.05)
        self.environment = openrc(file)
        say(f"wright up {' '.join(self.arguments)}: {time.monotonic() - began:.1f} s")

    def stop(self):
        """A clean stop: status 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=PATIENCE)
        if status != 0:
            raise Fault(f"wright up ended with {status}: {tail(self.out)}")

    def down(self):
        """`wright down`: nothing of it is left."""
        down = subprocess.run(self.wright("down"), capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
        if self.process and self.process.poll() is None:
            self.process.wait(timeout=PATIENCE)
        if down.returncode != 0:
            raise Fault(f"wright down ended with {down.returncode}: {down.stderr}{tail(self.out)}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def free_offset():
    """By how much to move the ports, so that every one of docs/ports.md is free."""
    ports = [5000, 8004, 8774, 8778, 9292, 9696]
    for offset in range(20000, 50000, 137):
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return offset
    raise Fault("no ports are free")
