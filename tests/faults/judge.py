"""Judges what a cloud says after a fault against what it answered before."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from lab import CONTROLLERS, DATABASES, Failed

# Seconds until what was accepted is to be done.
SETTLED_WITHIN = 90
# And until no table differs from its copies: heartbeats are written all the time.
SAME_WITHIN = 30
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


def list_all(cloud, kind):
    """Every server or stack of the load, by name: a list of (id, status)."""
    found = {}
    if kind == "server":
        url, key = cloud.catalogue["compute"] + "/servers/detail?limit=1000&all_tenants=1", "servers"
    else:
        url, key = cloud.catalogue["orchestration"] + "/stacks?limit=1000", "stacks"
    while url:
        # Calls of the last seconds are still being carried out.
        for _ in range(5):
            status, answer, _ = cloud.call("judge", "GET", url)
            if status == 200:
                break
            time.sleep(2)
        else:
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
    # Heartbeats go on while the nodes are asked: what differs every time differs.
    differing = differences(lab)
    since = time.monotonic()
    while differing and time.monotonic() - since < SAME_WITHIN:
        time.sleep(0.3)
        found = differences(lab, list(differing))
        differing = {table: found[table] for table in differing if table in found}
    wrong += [f"table {table} differs: {values}" for table, values in differing.items()]
    return wrong


def differences(lab, tables=None):
    """The tables that are not the same on all controllers, with their checksums; of all, or of those named."""
    names = ",".join(repr(name) for name in DATABASES)

    def sums(node):
        asked = tables or lab.sql(
            node, "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables "
            f"WHERE table_schema IN ({names}) AND table_type = 'BASE TABLE' ORDER BY 1").split()
        return dict(line.split("\t") for line in lab.sql(node, f"CHECKSUM TABLE {','.join(asked)}").splitlines())

    with ThreadPoolExecutor(len(CONTROLLERS)) as all_at_once:
        found = dict(zip(CONTROLLERS, all_at_once.map(sums, CONTROLLERS)))
    every = sorted(set().union(*found.values()))
    values = {table: {node: found[node].get(table) for node in CONTROLLERS} for table in every}
    return {table: sums for table, sums in values.items() if len(set(sums.values())) > 1}
