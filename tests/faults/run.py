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
import deployment
import gateway
import load
import walls
from faults import FAULTS, GROUPS
from judge import Calls, judge
from lab import CONTROLLERS, INTERNAL, PUBLIC, Failed, Lab
from watch import Watch

# Seconds: of load before the fault, and until everything is to be whole again.
BEFORE = 4
WHOLE_WITHIN = 240


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


def run_one(lab, name, rng, flavor, image, cloud):
    fault = FAULTS[name]
    prepared = [fault.prepare(lab, rng)] if fault.prepare else []
    if prepared:
        lab.wait_for("whole before the fault", WHOLE_WITHIN, lab.is_whole)
    log = lab.folder / f"calls-{name}.jsonl"
    log.unlink(missing_ok=True)
    command = ["nsenter", "--net=/run/netns/wl-faults-net", "--", sys.executable, str(Path(__file__).parent / "load.py")]
    worker = subprocess.Popen([*command, str(lab.state / "openrc"), flavor, image, str(log)], stdin=subprocess.PIPE)
    watches = [Watch(address, 5000) for address in (INTERNAL, PUBLIC)]
    try:
        time.sleep(BEFORE)
        for watch in watches:
            watch.start()
        began = time.monotonic()
        what, undo = fault.do(lab, rng, *prepared)
        print(f"{name}: {what}", flush=True)
        time.sleep(fault.lasts)
        if undo:
            undo()
        undone = time.monotonic()
        whole = lab.wait_for("whole again", WHOLE_WITHIN, lab.is_whole)
        time.sleep(2)
    finally:
        gaps = [watch.stop() for watch in watches if watch.is_alive()]
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
        "address_s": round(gaps[0], 2),
        "public_address_s": round(gaps[1], 2),
        "answers_after_s": round(calls.outage({"read", "token"}, began), 2),
        "writes_after_s": round(calls.outage({"server", "stack"}, began), 2),
        # From the moment at which nothing is in its way any more: with the fault's end, or at once.
        "whole_after_s": round(whole + (0 if undo else undone - began), 1),
        "memory_mib": {node: round(lab.memory(node)) for node in CONTROLLERS},
        "wrong": wrong,
    }
    print(
        f"  {result['calls']} calls, {result['failed']} failed, {result['slow']} slow; longest without the virtual address {result['address_s']} s (public "
        f"{result['public_address_s']} s), without an answer {result['answers_after_s']} s, without a write {result['writes_after_s']} s; whole after "
        f"{result['whole_after_s']} s; services take {max(result['memory_mib'].values())} MiB; {len(wrong)} wrong", flush=True)
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
    every = [*deployment.NAMES, *FAULTS, *gateway.FAULTS]
    groups = {**GROUPS, "gateways": list(gateway.FAULTS)}
    if args.list:
        return print("\n".join([*every, *(f"{name} = {' '.join(group)}" for name, group in groups.items())]))
    chosen = args.fault or (["short"] if args.short else every)
    names = [fault for name in chosen for fault in groups.get(name, [name])]
    unknown = [name for name in names if name not in every]
    if unknown:
        sys.exit(f"error: no fault is called {', '.join(unknown)}; `--list` tells them")
    print(f"seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    folder = args.state or tempfile.mkdtemp(prefix="wright-faults.")
    lab = Lab(os.environ.get("WRIGHT", "wright"), folder)
    results = []
    try:
        first = next((name for name in names if name in deployment.NAMES), None)
        if first:
            # There is one first deployment.
            names = [name for name in names if name not in deployment.NAMES]
            results.append(deployment.killed(lab, first, rng))
        else:
            lab.up()
        results += in_wires(lab, names, rng)
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
        try:
            results.append(gateway.run_one(lab, name, cloud) if name in gateway.FAULTS else run_one(lab, name, rng, flavor, image, cloud))
        except Failed as error:
            print(f"  WRONG: {error}", flush=True)
            results.append({"fault": name, "wrong": [str(error)]})
    return results


if __name__ == "__main__":
    main()
