"""What is open from outside a node: every port on which something listens is tried on every address of every controller and
compute node, from the deployment host and from a compute node. Open may be what docs/ports.md says, and no more."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NODES = ["node-1", "node-2", "node-3", "node-4", "node-5"]
# As in inventories/lab-ha.
CARDS = {"eth0": "pxe", "eth1": "mgmt", "eth2": "storage", "eth3": "private", "eth4": "app"}
STRANGER = "node-4"
# Seconds for one connection; what is dropped takes all of it.
PATIENCE = 1.0


def openings():
    """Rows of the table: ports, networks, whether it is for the virtual address, from whom."""
    text = (Path(__file__).parents[2] / "docs/ports.md").read_text().split("## Who listens elsewhere")[0]
    rows = []
    for line in re.findall(r"^\| ([^|]*) \| ([\d, ]+) \| ([^|]*) \| ([^|]*) \| `[^|]*` \|$", text, re.M):
        _, ports, networks, who = line
        places = [word.strip() for word in networks.split(",")]
        rows.append(({int(port) for port in ports.split(",")}, set(places), "virtual address" in places, {word.strip() for word in who.split(",")}))
    return rows


def targets(lab):
    """Node, network, address, whether that is a virtual one, port: wherever something listens."""
    found = []
    for node in NODES:
        ports = {int(line.split()[3].rsplit(":", 1)[1]) for line in lab.inside(node, "ss", "-Hltn").splitlines()}
        for link in json.loads(lab.inside(node, "ip", "-json", "-4", "address", "show")):
            network = CARDS.get(link["ifname"])
            for address in link["addr_info"] if network else []:
                # The plan gives nodes .11 and up, virtual addresses below.
                virtual = int(address["local"].rsplit(".", 1)[1]) < 10
                found += [(node, network, address["local"], virtual, port) for port in sorted(ports)]
    return found


def from_here(target):
    try:
        socket.create_connection((target[2], target[4]), PATIENCE).close()
        return True
    except OSError:
        return False


def from_stranger(lab, found):
    """Which of them a compute node reaches."""
    tries = "\n".join(f"t {address} {port} &" for _, _, address, _, port in found)
    script = "t() { timeout %s bash -c \"exec 3<>/dev/tcp/$1/$2\" 2>/dev/null && echo $1 $2; }\n%s\nwait\n" % (PATIENCE, tries)
    said = lab.inside(STRANGER, "bash", "-c", script, check=False, timeout=300)
    return {tuple(line.split()) for line in said.splitlines()}


def look(lab):
    """Everything that is open and should not be; and that something is open at all."""
    rows = openings()
    found = targets(lab)
    with ThreadPoolExecutor(64) as pool:
        reached = [target for target, is_open in zip(found, pool.map(from_here, found)) if is_open]
    wrong = []

    def allowed(target, who):
        _, network, _, virtual, port = target
        return any(port in ports and network in networks and virtual == vip and who & sources for ports, networks, vip, sources in rows)

    for target in reached:
        who = {"anyone", "network"} | ({"deployment"} if target[1] == "pxe" else set())
        if not allowed(target, who):
            wrong.append("the deployment host reaches port {4} of {0} at {2} ({1})".format(*target))
    others = [target for target in found if target[0] != STRANGER and target[1] in ("pxe", "mgmt", "storage", "private")]
    opened = from_stranger(lab, others)
    for target in others:
        if (target[2], str(target[4])) in opened and not allowed(target, {"anyone", "network", "nodes", "compute"}):
            wrong.append("a compute node reaches port {4} of {0} at {2} ({1})".format(*target))
    expected = [target for target in found if target[1] == "app" and target[3] and target[4] == 5000]
    if not expected or not all(target in reached for target in expected):
        wrong.append("the public address does not answer: nothing can be told by this")
    print(f"walls: {len(found)} ports tried, {len(reached)} open for the deployment host, {len(opened)} for a compute node; {len(wrong)} wrong", flush=True)
    return wrong
