"""Faults to the chassis that carries a router's gateway (OVN): its address on the network `app` is pinged from the lab's wires.
No API is called meanwhile."""

import re
import subprocess
import time

from lab import CONTROLLERS, Failed

ROUTER = "faults-gateway"
EVERY = 0.05
# Seconds: of pings after the fault, and after it is undone.
LASTS = 12
AFTER = 20


def router(cloud):
    """The outside address of the router, which is made unless it is there."""
    url = cloud.catalogue["network"] + "/v2.0"

    def call(method, path, body=None):
        status, answer, _ = cloud.call("prepare", method, f"{url}/{path}", body)
        if status not in (200, 201):
            raise Failed(f"{method} {path}: {status} {answer}")
        return answer

    found = call("GET", f"routers?name={ROUTER}")["routers"]
    if not found:
        outside = {"name": ROUTER, "router:external": True, "provider:network_type": "flat", "provider:physical_network": "physnet-app"}
        network = call("POST", "networks", {"network": outside})["network"]["id"]
        pool = {"start": "10.21.4.100", "end": "10.21.4.199"}
        subnet = {"network_id": network, "cidr": "10.21.4.0/24", "ip_version": 4, "gateway_ip": "10.21.4.1", "enable_dhcp": False, "allocation_pools": [pool]}
        call("POST", "subnets", {"subnet": subnet})
        found = [call("POST", "routers", {"router": {"name": ROUTER, "external_gateway_info": {"network_id": network}}})["router"]]
    return found[0]["external_gateway_info"]["external_fixed_ips"][0]["ip_address"]


def carrier(lab):
    """The node that carries the gateway, as the southbound database has it."""
    def ask(*words):
        return lab.inside(CONTROLLERS[0], "ovn-sbctl", "--no-leader-only", "--bare", *words).strip()

    chassis = ask("--columns=chassis", "find", "Port_Binding", "type=chassisredirect").split()
    if not chassis:
        raise Failed("no chassis carries the gateway")
    return ask("--columns=name", "list", "Chassis", chassis[0]).split(".")[0]


class Ping:
    """Pings an address until it is asked what it saw."""

    def __init__(self, lab, address):
        self.log = (lab.folder / "ping.log").open("w+")
        command = ["nsenter", "--net=/run/netns/wl-faults-net", "--", "ping", "-D", "-n", "-i", str(EVERY), address]
        self.worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def answers(self):
        self.log.seek(0)
        return [float(at) for at in re.findall(r"^\[([\d.]+)\] \d+ bytes", self.log.read(), re.M)]

    def stop(self):
        self.worker.terminate()
        self.worker.wait()
        return self.answers()


def power(lab, node):
    lab.power(node, "off")
    return lambda: lab.power(node, "on")


def kills_switch(lab, node):
    lab.inside(node, "pkill", "-KILL", "-x", "ovs-vswitchd")
    return lambda: None


def hangs_switch(lab, node):
    lab.inside(node, "pkill", "-STOP", "-x", "ovs-vswitchd")
    return lambda: lab.inside(node, "pkill", "-CONT", "-x", "ovs-vswitchd")


def power_and_central(lab, node):
    """At one moment, as when the machine that has both dies. A chassis whose connection to the database ended before that
    changes nothing any more (OVN 23.03: what it wanted to write is pending, and nothing is worked out meanwhile). Nor is anybody
    found whose MAC address changes meanwhile: what a router learns it learns through the database."""
    def databases(word):
        for controller in CONTROLLERS:
            lab.inside(controller, "sh", "-c", f"kill -{word} $(cat /var/run/ovn/ovnnb_db.pid /var/run/ovn/ovnsb_db.pid)")

    databases("STOP")
    lab.power(node, "off")

    def undo():
        databases("CONT")
        lab.power(node, "on")

    return undo


FAULTS = {
    "gateway": ("power of {}, which carries the gateway", power),
    "gateway-central": ("OVN's databases, and power of {}, which carries the gateway, at once", power_and_central),
    "gateway-switch": ("kill -9 ovs-vswitchd on {}, which carries the gateway", kills_switch),
    "gateway-hang": ("ovs-vswitchd hangs on {}, which carries the gateway", hangs_switch),
}


def run_one(lab, name, cloud):
    text, fault = FAULTS[name]
    ping = Ping(lab, router(cloud))
    try:
        lab.wait_for("an answer of the gateway", 60, lambda: ping.answers() and ping.answers()[-1] > time.time() - 1)
        carriers = []
        # For a moment after its claim it is nobody's.
        lab.wait_for("a chassis that carries the gateway", 30, lambda: carriers.append(carrier(lab)) is None)
        node = carriers[-1]
        print(f"{name}: {text.format(node)}", flush=True)
        began = time.time()
        undo = fault(lab, node)
        time.sleep(LASTS)
        # Not the end: pings must have been answered again before the fault was undone.
        missed = not any(at > time.time() - 2 for at in ping.answers())
        undone = time.time()
        undo()
        time.sleep(AFTER)
    finally:
        answers = ping.stop()
    def gap(since, until):
        inside = [at for at in answers if since - 1 < at < until]
        return round(max((later - earlier for earlier, later in zip(inside, [*inside[1:], until])), default=until - since), 2)

    result = {
        "fault": name,
        "what": text.format(node),
        "moved_after_s": gap(began, undone),
        "moved_back_after_s": gap(undone, time.time() - 1),
        "wrong": ["the gateway did not answer again before the fault was undone"] if missed else [],
    }
    print(f"  longest without an answer {result['moved_after_s']} s; after it was undone {result['moved_back_after_s']} s", flush=True)
    for text in result["wrong"]:
        print(f"  WRONG: {text}", flush=True)
    return result
