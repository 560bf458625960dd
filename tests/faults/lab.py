"""The lab that faults are done to: three controllers and two compute nodes, as containers. What `wright` offers is done
by `wright`; what no product should offer (a frozen machine, half a cable) is done to the containers from outside."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

ENVIRONMENT = "faults"
CONTROLLERS = ["node-1", "node-2", "node-3"]


class Failed(Exception):
    """A command that had to work did not."""


class Lab:
    def __init__(self, wright, folder):
        self.folder = Path(folder)
        self.state = self.folder / "state"
        self.base = [wright, "--env", ENVIRONMENT, "--inventory", "inventories/lab-ha", "--state-dir", str(self.state), "--yes"]
        self.run_folder = Path("/run/wright-lab") / ENVIRONMENT

    def wright(self, *words, quiet=True, check=True):
        done = subprocess.run([*self.base, *words], stdin=subprocess.DEVNULL, capture_output=quiet, text=True)
        if check and done.returncode != 0:
            raise Failed(f"wright {' '.join(words)}: {(done.stdout or '')[-3000:]}\n{(done.stderr or '')[-1500:]}")
        return done.stdout or ""

    def up(self):
        self.wright("lab", "up", "--containers", quiet=False)

    def down(self):
        self.wright("lab", "down", "--purge", check=False)

    # Inside a node.

    def first_process(self, node):
        holder = json.loads((self.run_folder / f"{node}.json").read_text())["pid"]
        children = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
        return int(children[0]) if children else None

    def inside(self, node, *command, check=True, timeout=60):
        first = self.first_process(node)
        words = ["nsenter", "-t", str(first), "-m", "-u", "-i", "-n", "-p", f"--root=/proc/{first}/root", "--wd=/", "--", *command]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise Failed(f"{node}: {' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def sql(self, node, statement):
        return self.inside(node, "mariadb", "--batch", "--skip-column-names", "--execute", statement)

    def holder(self):
        """The controller that has the internal virtual address."""
        for node in CONTROLLERS:
            if self.is_on(node) and self.vip() in self.inside(node, "ip", "-brief", "address", "show", "eth1", check=False):
                return node
        return None

    def vip(self):
        return "10.21.1.2/"

    # Power.

    def is_on(self, node):
        try:
            return self.first_process(node) is not None
        except (OSError, ValueError):
            return False

    def power(self, node, what):
        self.wright("lab", "power", node, what)

    # From outside.

    def in_wires(self, *command, check=True):
        done = subprocess.run(["nsenter", f"--net=/run/netns/wl-{ENVIRONMENT}-net", "--", *command], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def far_end(self, node, card):
        """The lab's end of a node's card."""
        number = self.inside(node, "cat", f"/sys/class/net/{card}/iflink").strip()
        for link in json.loads(self.in_wires("ip", "-json", "link", "show")):
            if str(link["ifindex"]) == number:
                return link["ifname"]
        raise Failed(f"no far end of {card} of {node}")

    def processes(self, node):
        """Everything that runs in a node, as seen from here."""
        first = self.first_process(node)
        space = os.readlink(f"/proc/{first}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.readlink(entry / "ns/pid") == space:
                        found.append(int(entry.name))
                except OSError:
                    pass
        return found

    def freeze(self, node, frozen=True):
        word = signal.SIGSTOP if frozen else signal.SIGCONT
        # Twice: one that was being started is met by the second.
        for _ in range(2):
            for pid in self.processes(node):
                try:
                    os.kill(pid, word)
                except ProcessLookupError:
                    pass

    def wait_for(self, what, seconds, condition):
        since = time.monotonic()
        while time.monotonic() - since < seconds:
            try:
                if condition():
                    return time.monotonic() - since
            except (Failed, subprocess.TimeoutExpired, OSError, ValueError):
                pass
            time.sleep(0.5)
        raise Failed(f"{what}: not within {seconds} s")

    def is_whole(self):
        """Every member of every cluster is back, and every service answers on every controller."""
        for node in CONTROLLERS:
            status = dict(line.split("\t") for line in self.sql(node, "SHOW GLOBAL STATUS LIKE 'wsrep_%'").splitlines() if "\t" in line)
            if (status.get("wsrep_cluster_size"), status.get("wsrep_local_state"), status.get("wsrep_ready")) != ("3", "4", "ON"):
                return False
            for port in (5000, 9292, 8778, 8774, 9696, 8004):
                address = f"10.21.1.{10 + int(node[-1])}"
                code = self.in_wires(
                    "curl", "--silent", "--max-time", "3", "--output", "/dev/null", "--write-out", "%{http_code}",
                    "--cacert", str(self.state / "ca.pem"), f"https://{address}:{port}/healthz", check=False)
                if code != "200":
                    return False
            listening = self.inside(node, "ss", "-Hltn", "sport = :5671")
            if not listening.strip():
                return False
        return True
