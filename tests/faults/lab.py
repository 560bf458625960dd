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
# Services with a database, by its name.
DATABASES = ["identity", "image", "placement", "compute", "network", "orchestration"]
# Seconds after which what is waited for is told.
TOLD_AFTER = 10
# What each of OVN's databases says of its cluster, and whether it could be read again at its next start.
OVN = """
for one in nb:OVN_Northbound sb:OVN_Southbound; do
    ovsdb-tool check-cluster /var/lib/ovn/ovn${one%:*}_db.db >/dev/null 2>&1 && echo readable || echo broken
    ovs-appctl --timeout=5 -t /var/run/ovn/ovn${one%:*}_db.ctl cluster/status ${one#*:} 2>/dev/null | awk '
        /^Status: cluster member/ { member = "member" }
        /^Leader: / && $2 != "unknown" { leader = "led" }
        /^Servers:/ { servers = 1; next }
        servers && / at / { count++ }
        END { print (member ? member : "alone"), (leader ? leader : "leaderless"), count + 0 }'
done"""
OVN_WHOLE = ["readable", "member", "led", "3"] * 2
# The virtual addresses (inventories/lab-ha/networks.yml).
INTERNAL, PUBLIC = "10.21.1.2", "10.21.4.2"


class Failed(Exception):
    """A command that had to work did not."""


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Lab:
    def __init__(self, wright, folder):
        self.folder = Path(folder)
        self.state = self.folder / "state"
        self.base = [wright, "--env", ENVIRONMENT, "--inventory", "inventories/lab-ha", "--state-dir", str(self.state), "--yes"]
        self.run_folder = Path("/run/wright-lab") / ENVIRONMENT
        # What was not whole when that was asked last.
        self.lacks = None

    def wright(self, *words, quiet=True, check=True):
        done = subprocess.run([*self.base, *words], stdin=subprocess.DEVNULL, capture_output=quiet, text=True)
        if check and done.returncode != 0:
            raise Failed(f"wright {' '.join(words)}: {(done.stdout or '')[-3000:]}\n{(done.stderr or '')[-1500:]}")
        return done.stdout or ""

    def up(self):
        self.wright("lab", "up", "--containers", quiet=False)

    def down(self):
        for node in CONTROLLERS:
            if os.path.ismount(self.machine(node)) and self.is_on(node):
                self.power(node, "off")
            self.unmount(node)
        self.wright("lab", "down", "--purge", check=False)

    def machine(self, node):
        """Where the lab keeps what a machine has changed."""
        return self.state / "machines" / node

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
            if self.is_on(node) and INTERNAL + "/" in self.inside(node, "ip", "-brief", "address", "show", "eth1", check=False):
                return node
        return None

    # Power.

    def is_on(self, node):
        try:
            return self.first_process(node) is not None
        except (OSError, ValueError):
            return False

    def power(self, node, what):
        self.wright("lab", "power", node, what)

    # Disks. A container has the host's; one that shall be filled gets a file system of its own, in a file.

    def give_small_disk(self, node, room):
        """What is on `node` moves to a disk that has `room` MiB left. It is turned off and on for that."""
        if os.path.ismount(self.machine(node)):
            return
        self.power(node, "off")
        self.unmount(node)
        machine, disk = self.machine(node), self.folder / f"{node}.disk"
        used = int(run("du", "--summarize", "--block-size=1M", str(machine)).split()[0])
        run("truncate", "--size", f"{int(used * 1.1) + room}M", str(disk))
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(disk))
        new = self.folder / f"{node}.new"
        new.mkdir(exist_ok=True)
        run("mount", "-o", "loop", str(disk), str(new))
        run("cp", "--archive", "--no-target-directory", str(machine), str(new))
        run("umount", str(new))
        run("mount", "-o", "loop", str(disk), str(machine))
        self.power(node, "on")

    def unmount(self, node):
        """The root of a machine that is off, and then its small disk."""
        for point in (self.run_folder / node, self.machine(node)):
            if os.path.ismount(point) and not self.is_on(node):
                self.wait_for(f"unmount {point}", 20, lambda: run("umount", str(point)) == "")

    def fill_disk(self, node):
        # Until nothing more goes in, in pieces that get smaller.
        pieces = " ".join(f"dd if=/dev/zero of=/var/full bs={size} oflag=append conv=notrunc status=none;" for size in ("1M", "4k"))
        self.inside(node, "sh", "-c", f"touch /var/full; {pieces}", check=False)

    def empty_disk(self, node):
        self.inside(node, "rm", "/var/full")

    # From outside.

    def memory(self, node):
        """MiB that the bundled services of a node take, each shared page counted once: the sum of PSS."""
        total = 0
        for pid in self.processes(node):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"/wright") and words[1:2] == [b"serve"]:
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                    total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            except OSError:
                pass
        return total / 1024

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
        since, lacked = time.monotonic(), None
        while time.monotonic() - since < seconds:
            if self.lacks != lacked and time.monotonic() - since > TOLD_AFTER:
                lacked = self.lacks
                print(f"  after {time.monotonic() - since:.0f} s still: {lacked}", flush=True)
            try:
                if condition():
                    return time.monotonic() - since
            except (Failed, subprocess.TimeoutExpired, OSError, ValueError) as error:
                self.lacks = str(error)
            time.sleep(0.5)
        raise Failed(f"{what}: not within {seconds} s; {self.lacks}")

    def is_whole(self):
        self.lacks = self.lack()
        return self.lacks is None

    def lack(self):
        """What is not as it was before: of the members of every cluster, and the services on every controller."""
        for node in CONTROLLERS:
            status = dict(line.split("\t") for line in self.sql(node, "SHOW GLOBAL STATUS LIKE 'wsrep_%'").splitlines() if "\t" in line)
            if (status.get("wsrep_cluster_size"), status.get("wsrep_local_state"), status.get("wsrep_ready")) != ("3", "4", "ON"):
                return f"{node}: database {status.get('wsrep_local_state_comment')} among {status.get('wsrep_cluster_size')}"
            if not self.inside(node, "ss", "-Hltn", "sport = :5671").strip():
                return f"{node}: broker"
            said = self.inside(node, "sh", "-c", OVN, check=False).split()
            if said != OVN_WHOLE:
                return f"{node}: OVN's databases: {' '.join(said)}"
            for port in (5000, 9292, 8778, 8774, 9696, 8004):
                address = f"10.21.1.{10 + int(node[-1])}"
                code = self.in_wires(
                    "curl", "--silent", "--max-time", "3", "--output", "/dev/null", "--write-out", "%{http_code}",
                    "--cacert", str(self.state / "ca.pem"), f"https://{address}:{port}/healthz", check=False)
                if code != "200":
                    return f"{node}: port {port} says {code}"
        return None
