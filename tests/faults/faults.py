"""The faults: each does what its name says to the lab, and gives what it did in words and what undoes it, or None. What is
measured and judged meanwhile is not known here."""

import itertools
import time
from dataclasses import dataclass
from typing import Callable, Optional

from lab import CONTROLLERS, DATABASES

# The one that all services write to while it lives (roles/load-balancer).
WRITER = "node-1"
# How many bytes a node's disk has left before the fault that fills it, MiB.
ROOM = 400


@dataclass
class Fault:
    # Gets the lab and a source of random choices.
    do: Callable
    # Done before, without load; what it gives is the third argument of `do`.
    prepare: Optional[Callable] = None
    # Seconds of load before it is undone.
    lasts: float = 8


def kills(program, choose=lambda lab, rng: rng.choice(CONTROLLERS)):
    def fault(lab, rng):
        node = choose(lab, rng)
        lab.inside(node, "pkill", "-KILL", "-x", program)
        return f"kill -9 {program} on {node}", None

    return Fault(fault)


def kills_service(service):
    def fault(lab, rng):
        node = rng.choice(CONTROLLERS)
        lab.inside(node, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", f"wright-{service}.service")
        return f"kill -9 {service} on {node}", None

    return Fault(fault)


def power_of(choose):
    def fault(lab, rng):
        node = choose(lab, rng)
        lab.power(node, "off")
        return f"power of {node}", lambda: lab.power(node, "on")

    return Fault(fault)


def power_of_all(order=None):
    """Back one after the other in `order`, with pauses; without one, in any."""

    def fault(lab, rng):
        back = list(order or rng.sample(CONTROLLERS, len(CONTROLLERS)))
        for node in rng.sample(CONTROLLERS, len(CONTROLLERS)):
            lab.power(node, "off")

        def undo():
            for node in back:
                lab.power(node, "on")
                time.sleep(rng.choice([0, 0, 5]))

        return f"power of all controllers, back as {', '.join(back)}", undo

    return Fault(fault)


def freezes(lab, rng):
    node = rng.choice(CONTROLLERS)
    lab.freeze(node)
    return f"{node} frozen for 30 s", lambda: lab.freeze(node, False)


def cuts(network, direction="both"):
    """One network of one controller: what comes from it, what goes to it, or both."""
    # The card that carries it (inventories/lab-ha/group_vars/all.yml).
    card = {"pxe": "eth0", "mgmt": "eth1", "storage": "eth2", "private": "eth3", "app": "eth4"}[network]

    def fault(lab, rng):
        node = rng.choice(CONTROLLERS)
        end = lab.far_end(node, card)
        if direction == "both":
            lab.in_wires("ip", "link", "set", end, "down")
            return f"{network} of {node} cut", lambda: lab.in_wires("ip", "link", "set", end, "up")
        # What comes from the node is the lab's ingress of that port, what goes to it the egress.
        hook = "ingress" if direction == "out" else "egress"
        table = f"cut-{node}"
        lab.in_wires("nft", f"add table netdev {table}; add chain netdev {table} every {{ type filter hook {hook} device {end} priority 0; policy drop; }}")
        return f"{network} of {node} cut {direction}ward only", lambda: lab.in_wires("nft", f"delete table netdev {table}")

    return Fault(fault)


def fills_disk(choose):
    def prepare(lab, rng):
        node = choose(lab, rng)
        lab.give_small_disk(node, ROOM)
        return node

    def fault(lab, rng, node):
        lab.fill_disk(node)
        return f"disk of {node} full", lambda: lab.empty_disk(node)

    return Fault(fault, prepare, lasts=30)


def by_order(order):
    return "all-" + "".join(node.removeprefix("node-") for node in order)


def holder(lab, rng):
    return lab.holder()


ORDERS = {by_order(order): power_of_all(order) for order in itertools.permutations(CONTROLLERS)}
FAULTS = {
    "writer": kills("mariadbd", lambda lab, rng: WRITER),
    "database": kills("mariadbd"),
    "broker": kills("beam.smp"),
    "balancer": kills("haproxy"),
    "addresses": kills("keepalived", holder),
    "northd": kills("ovn-northd"),
    "ovn-databases": kills("ovsdb-server"),
    **{service: kills_service(service) for service in DATABASES},
    "holder": power_of(holder),
    "controller": power_of(lambda lab, rng: rng.choice(CONTROLLERS)),
    "all": power_of_all(),
    "freeze": Fault(freezes, lasts=30),
    "cut": cuts("mgmt"),
    "cut-in": cuts("mgmt", "in"),
    "cut-out": cuts("mgmt", "out"),
    "cut-app": cuts("app"),
    "disk": fills_disk(lambda lab, rng: rng.choice([node for node in CONTROLLERS if node != WRITER])),
    "disk-writer": fills_disk(lambda lab, rng: WRITER),
    **ORDERS,
}
# Names for several. What `short` names CI has minutes for.
GROUPS = {
    "short": ["writer", "holder", "all"],
    "services": DATABASES,
    "cuts": ["cut", "cut-in", "cut-out", "cut-app"],
    "orders": list(ORDERS),
}
