#!/usr/bin/env python3
"""Faults under load: `run.py [--seed N] [--list] [FAULT ...]`; without a fault, all. WRIGHT names the program, WRIGHT_AGENT
the static agent (`cargo xtask faults` sets both).

For each: the load runs, the fault is done, undone, and everything is to become whole by itself. Then is judged what was
answered: nothing that was accepted may be lost, nothing be there twice, no database differ from another. How long calls
failed is told; it is no reason to fail.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import load
import walls
from lab import CONTROLLERS, Failed, Lab

# Seconds: of load before the fault, until everything is to be whole again, and until what was accepted is to be done.
BEFORE = 4
WHOLE_WITHIN = 240
SETTLED_WITHIN = 90
DATABASES = ["identity", "image", "placement", "compute", "network", "orchestration"]


# Each does its fault, and gives what it did in words and what undoes it, or None.


def kills(program):
    def fault(lab, rng):
        node = rng.choice(CONTROLLERS) if program != "keepalived" else lab.holder()
        lab.inside(node, "pkill", "-KILL", "-x", program)
        return f"kill -9 {program} on {node}", None

    return fault


def kills_service(service):
    def fault(lab, rng):
        node = rng.choice(CONTROLLERS)
        lab.inside(node, "systemctl", "kill", "--signal=KILL", f"wright-{service}.service")
        return f"kill -9 {service} on {node}", None

    return fault


def kills_writer(lab, rng):
    lab.inside("node-1", "pkill", "-KILL", "-x", "mariadbd")
    return "kill -9 mariadbd on node-1, which is written to", None


def power_of_holder(lab, rng):
    node = lab.holder()
    lab.power(node, "off")
    return f"power of {node}, which holds the address", lambda: lab.power(node, "on")


def power_of_one(lab, rng):
    node = rng.choice(CONTROLLERS)
    lab.power(node, "off")
    return f"power of {node}", lambda: lab.power(node, "on")


def power_of_all(lab, rng):
    order = CONTROLLERS[:]
    for node in rng.sample(CONTROLLERS, 3):
        lab.power(node, "off")
    rng.shuffle(order)

    def undo():
        for node in order:
            lab.power(node, "on")
            time.sleep(rng.choice([0, 0, 5]))

    return f"power of all controllers, back as {', '.join(order)}", undo


def freezes(lab, rng):
    node = rng.choice(CONTROLLERS)
    lab.freeze(node)
    return f"{node} frozen for 30 s", lambda: (time.sleep(22), lab.freeze(node, False))


def cuts(direction):
    def fault(lab, rng):
        node, card = rng.choice(CONTROLLERS), "eth1"
        end = lab.far_end(node, card)
        if direction == "both":
            lab.in_wires("ip", "link", "set", end, "down")
            return f"mgmt of {node} cut", lambda: lab.in_wires("ip", "link", "set", end, "up")
        # What comes from the node is the lab's ingress of that port, what goes to it the egress.
        hook = "ingress" if direction == "out" else "egress"
        table = f"cut-{node}"
        lab.in_wires("nft", f"add table netdev {table}; add chain netdev {table} all {{ type filter hook {hook} device {end} priority 0; policy drop; }}")
        return f"mgmt of {node} cut {direction}ward only", lambda: lab.in_wires("nft", f"delete table netdev {table}")

    return fault


FAULTS = {
    "writer": kills_writer,
    "database": kills("mariadbd"),
    "broker": kills("beam.smp"),
    "balancer": kills("haproxy"),
    "addresses": kills("keepalived"),
    "northd": kills("ovn-northd"),
    "ovn-databases": kills("ovsdb-server"),
    **{service: kills_service(service) for service in DATABASES},
    "holder": power_of_holder,
    "controller": power_of_one,
    "all": power_of_all,
    "freeze": freezes,
    "cut": cuts("both"),
    "cut-in": cuts("in"),
    "cut-out": cuts("out"),
}
# What CI has minutes for.
SHORT = ["writer", "holder", "all"]
LASTS = 8
# Seconds that a call may take in the middle of a fault without being told.
SLOW = 5


class Calls:
    def __init__(self, path):
        self.all = [json.loads(line) for line in path.read_text().splitlines()]

    def outage(self, kinds, since):
        """From the fault to the first call that began after it and succeeded, and what failed: the worst gap between two
        successes counts, whenever it was."""
        good = sorted(call["ended"] for call in self.all if call["kind"] in kinds and 200 <= call["status"] < 300 and call["ended"] >= since - 1)
        gaps = [later - earlier for earlier, later in zip(good, good[1:])]
        return max(gaps, default=float("inf"))

    def slow(self, since):
        """Those that began after the fault and took longer than anybody is to wait."""
        return [call for call in self.all if call["began"] > since and call["ended"] - call["began"] > SLOW]

    def failed(self):
        return [call for call in self.all if not 200 <= call["status"] < 300 and call["status"] != 404]


def prepare(lab, cloud):
    """A flavor and an image for the servers; their ids. No quota is in the way of the load."""
    compute, image = cloud.catalogue["compute"], cloud.catalogue["image"]
    unbounded = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    status, answer, _ = cloud.call("prepare", "PUT", f"{compute}/os-quota-sets/{cloud.project}", unbounded)
    if status != 200:
        raise Failed(f"no quota: {status} {answer}")
    body = {"flavor": {"name": f"load-{time.time_ns()}", "ram": 64, "vcpus": 1, "disk": 0}}
    status, answer, _ = cloud.call("prepare", "POST", compute + "/flavors", body)
    if status not in (200, 201):
        raise Failed(f"no flavor: {status} {answer}")
    flavor = answer["flavor"]["id"]
    status, answer, _ = cloud.call("prepare", "POST", image + "/v2/images", {"name": "load", "disk_format": "raw", "container_format": "bare"})
    if status != 201:
        raise Failed(f"no image: {status} {answer}")
    made = answer["id"]
    status, _, _ = cloud.call("prepare", "PUT", f"{image}/v2/images/{made}/file", {"some": "bytes"}, "", {"Content-Type": "application/octet-stream"})
    if status != 204:
        raise Failed(f"no data of the image: {status}")
    return flavor, made


def list_all(cloud, kind):
    """Every server or stack of the load, by name: a list of (id, status)."""
    found = {}
    if kind == "server":
        url, key = cloud.catalogue["compute"] + "/servers/detail?limit=1000&all_tenants=1", "servers"
    else:
        url, key = cloud.catalogue["orchestration"] + "/stacks?limit=1000", "stacks"
    while url:
        status, answer, _ = cloud.call("judge", "GET", url)
        if status != 200:
            raise Failed(f"GET {url}: {status}")
        for item in answer[key]:
            name = item.get("name") or item["stack_name"]
            found.setdefault(name, []).append((item["id"], item.get("status") or item["stack_status"]))
        url = next((link["href"] for link in answer.get(f"{key}_links", []) if link["rel"] == "next"), None)
    return found


def judge(lab, cloud, calls):
    """Everything that is wrong with what the cloud now says, against what it answered before."""
    wrong = []
    for kind, good in (("server", "ACTIVE"), ("stack", "CREATE_COMPLETE")):
        mine = [call for call in calls.all if call["kind"] == kind]
        accepted = {call["key"] for call in mine if call["method"] == "POST" and 200 <= call["status"] < 300}
        # A call without an answer may have been carried out, or not.
        unsure = {call["key"] for call in mine if call["method"] == "POST" and (call["status"] == 0 or call["status"] >= 500)}
        deleted = {call["key"] for call in mine if call["method"] == "DELETE" and (call["status"] in (204, 404))}
        maybe_deleted = {call["key"] for call in mine if call["method"] == "DELETE"} - deleted
        since = time.monotonic()
        while True:
            found = list_all(cloud, kind)
            late = [f"{name}: {state}" for name, items in found.items() for _, state in items if name in accepted - deleted - maybe_deleted and state != good]
            still = sorted(name for name in deleted if name in found)
            if not late and not still:
                break
            if time.monotonic() - since > SETTLED_WITHIN:
                wrong += [f"{kind} {text}" for text in late] + [f"{kind} {name} was deleted and is there" for name in still]
                break
            time.sleep(1)
        wrong += [f"{kind} {name} was accepted and is lost" for name in accepted - deleted - maybe_deleted if name not in found]
        wrong += [f"{kind} {name} is there {len(items)} times" for name, items in found.items() if len(items) > 1]
        known = {call["key"] for call in mine}
        wrong += [f"{kind} {name} is there and was refused" for name in found if name in known and name not in accepted | unsure]
    # Heartbeats go on while the nodes are asked one after the other: what differs every time differs.
    differing = None
    for _ in range(10):
        found = differences(lab)
        differing = found if differing is None else {table: found[table] for table in differing if table in found}
        if not differing:
            break
        time.sleep(0.3)
    wrong += [f"table {table} differs: {values}" for table, values in differing.items()]
    return wrong


def differences(lab):
    """The tables that are not the same on all controllers, with their checksums."""
    sums = {}
    names = ",".join(repr(name) for name in DATABASES)
    for node in CONTROLLERS:
        tables = lab.sql(
            node, "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables "
            f"WHERE table_schema IN ({names}) AND table_type = 'BASE TABLE' ORDER BY 1").split()
        sums[node] = dict(line.split("\t") for line in lab.sql(node, f"CHECKSUM TABLE {','.join(tables)}").splitlines())
    every = sorted(set().union(*sums.values()))
    values = {table: {node: sums[node].get(table) for node in CONTROLLERS} for table in every}
    return {table: found for table, found in values.items() if len(set(found.values())) > 1}


def run_one(lab, name, rng, flavor, image, cloud):
    log = lab.folder / f"calls-{name}.jsonl"
    log.unlink(missing_ok=True)
    command = ["nsenter", f"--net=/run/netns/wl-faults-net", "--", sys.executable, str(Path(__file__).parent / "load.py")]
    worker = subprocess.Popen([*command, str(lab.state / "openrc"), flavor, image, str(log)], stdin=subprocess.PIPE)
    try:
        time.sleep(BEFORE)
        began = time.monotonic()
        what, undo = FAULTS[name](lab, rng)
        print(f"{name}: {what}", flush=True)
        time.sleep(LASTS)
        if undo:
            undo()
        undone = time.monotonic()
        whole = lab.wait_for("whole again", WHOLE_WITHIN, lab.is_whole)
        time.sleep(2)
    finally:
        worker.stdin.close()
        worker.wait(timeout=60)
    calls = Calls(log)
    wrong = judge(lab, cloud, calls)
    result = {
        "fault": name,
        "what": what,
        "calls": len(calls.all),
        "failed": len(calls.failed()),
        "slow": len(calls.slow(began)),
        "answers_after_s": round(calls.outage({"read", "token"}, began), 2),
        "writes_after_s": round(calls.outage({"server", "stack"}, began), 2),
        # From the moment at which nothing is in its way any more: with the fault's end, or at once.
        "whole_after_s": round(whole + (0 if undo else undone - began), 1),
        "wrong": wrong,
    }
    print(
        f"  {result['calls']} calls, {result['failed']} failed, {result['slow']} slow; longest without an answer {result['answers_after_s']} s, without a "
        f"write {result['writes_after_s']} s; whole after {result['whole_after_s']} s; {len(wrong)} wrong", flush=True)
    for text in wrong[:20]:
        print(f"  WRONG: {text}", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--short", action="store_true", help="what CI has minutes for")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--state", help="folder of a lab that is up from a run with --keep")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("fault", nargs="*")
    args = parser.parse_args()
    if args.list:
        return print("\n".join(FAULTS))
    names = args.fault or (SHORT if args.short else list(FAULTS))
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        sys.exit(f"error: no fault is called {', '.join(unknown)}; `--list` tells them")
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    folder = args.state or tempfile.mkdtemp(prefix="wright-faults.")
    lab = Lab(os.environ.get("WRIGHT", "wright"), folder)
    results = []
    try:
        lab.up()
        results = in_wires(lab, names, rng)
    except Failed as error:
        print(f"error: {error}", flush=True)
        results.append({"fault": "", "wrong": [str(error)]})
    finally:
        bad = any(result["wrong"] for result in results)
        if bad:
            kept = Path(folder) / "failure"
            kept.mkdir(exist_ok=True)
            for node in CONTROLLERS + ["node-4", "node-5"]:
                if lab.is_on(node):
                    (kept / f"{node}.journal").write_text(lab.inside(node, "journalctl", "--no-pager", "--boot", check=False))
            print(f"journals: {kept}")
        if args.keep:
            print(f"the lab is up: {folder}")
        else:
            lab.down()
            if not bad:
                shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        Path(args.json).write_text(json.dumps({"seed": args.seed, "faults": results}, indent=1))
    sys.exit(1 if bad or not results else 0)


def in_wires(lab, names, rng):
    """The judge's own calls go by the lab's wires, too: this thread enters them; what it starts enters by itself."""
    import ctypes

    with open("/run/netns/wl-faults-net") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0) != 0:
            raise Failed("cannot enter the lab's wires")
    cloud = load.Cloud(str(lab.state / "openrc"), lambda *_: None)
    lab.wait_for("a token", 60, cloud.login)
    flavor, image = prepare(lab, cloud)
    results = [{"fault": "walls", "wrong": walls.look(lab)}]
    for text in results[0]["wrong"]:
        print(f"  WRONG: {text}", flush=True)
    for name in names:
        lab.wait_for("whole before the next fault", WHOLE_WITHIN, lab.is_whole)
        cloud.token = None
        lab.wait_for("a token", 60, cloud.login)
        results.append(run_one(lab, name, rng, flavor, image, cloud))
    return results


if __name__ == "__main__":
    main()
