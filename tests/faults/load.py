#!/usr/bin/env python3
"""A steady load of API calls, each written down: `load.py URL OPENRC LOG`, until its standard input ends.

It runs on the lab's wires. One line of JSON a call: when it began and ended (seconds, monotonic), what it was, on which
object, and its status; 0 is no answer. It judges nothing: run.py does, afterwards.
"""

import http.client
import json
import re
import ssl
import sys
import threading
import time
import urllib.parse
import uuid

# How many workers a job has, and how often each begins a new round, seconds. Together some thirty calls a second. There are
# many slow workers, not a few fast ones: one whose call hangs with the machine that had it says nothing of new calls.
WORKERS = {"token": (3, 0.9), "read": (4, 0.2), "server": (10, 4.0), "stack": (6, 4.0)}
TIMEOUT = 20
STOP = threading.Event()
# The token that workers share, with its project and catalogue, and who may ask for a new one.
LOGIN, SHARED = threading.Lock(), {}


class Cloud:
    """The APIs, by an administrator's password. Each worker has its own."""

    def __init__(self, openrc, log):
        settings = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", open(openrc).read(), re.M))
        self.auth = settings["OS_AUTH_URL"]
        self.trust = ssl.create_default_context(cafile=settings["OS_CACERT"])
        self.user, self.password = settings["OS_USERNAME"], settings["OS_PASSWORD"]
        self.log = log
        self.token, self.project, self.catalogue = None, None, {}

    def call(self, kind, method, url, body=None, key="", headers=None):
        """One call; status and JSON of the answer. No connection is kept: each call meets the cloud as it is."""
        parts = urllib.parse.urlsplit(url)
        began = time.monotonic()
        status, answer, found = 0, None, {}
        try:
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT, context=self.trust)
            connection.request(
                method,
                parts.path + ("?" + parts.query if parts.query else ""),
                json.dumps(body) if body is not None else None,
                {"Content-Type": "application/json", "X-Auth-Token": self.token or "", **(headers or {})},
            )
            response = connection.getresponse()
            text = response.read()
            status, found = response.status, dict(response.getheaders())
            answer = json.loads(text) if text else None
            connection.close()
        except (OSError, http.client.HTTPException, ValueError):
            status = 0
        self.log(kind, method, key, status, began)
        return status, answer, found

    def login(self, kind="token"):
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": self.user, "domain": {"id": "default"}, "password": self.password}},
        }
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        status, answer, headers = self.call(
            kind, "POST", self.auth + "/auth/tokens", {"auth": {"identity": identity, "scope": scope}}, "", {"X-Auth-Token": ""}
        )
        if status != 201:
            return False
        self.token = next(value for name, value in headers.items() if name.lower() == "x-subject-token")
        self.project = answer["token"]["project"]["id"]
        for service in answer["token"]["catalog"]:
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "internal":
                    self.catalogue[service["type"]] = endpoint["url"]
        return True

    def ready(self):
        """A token, however long it takes; a call that was refused for its token asks for a new one. One worker asks for
        all: a password costs a controller more than all else that is called here."""
        with LOGIN:
            while not SHARED.get("token") and not STOP.is_set():
                if self.login():
                    SHARED["token"] = (self.token, self.project, self.catalogue)
                else:
                    time.sleep(0.2)
            if not STOP.is_set():
                self.token, self.project, self.catalogue = SHARED["token"]
        return not STOP.is_set()

    def refused(self):
        """The token is of no use any more."""
        with LOGIN:
            if SHARED.get("token") and SHARED["token"][0] == self.token:
                del SHARED["token"]


def tokens(cloud):
    cloud.login()


def reads(cloud):
    # The smallest call that goes through balancer, service and database.
    status, _, _ = cloud.call("read", "GET", cloud.catalogue["compute"] + "/flavors?limit=1")
    if status == 401:
        cloud.refused()


def servers(cloud):
    name = f"load-{uuid.uuid4()}"
    server = {"name": name, "flavorRef": FLAVOR, "imageRef": IMAGE, "networks": "none"}
    version = {"X-OpenStack-Nova-API-Version": "2.37"}
    status, answer, _ = cloud.call(
        "server", "POST", cloud.catalogue["compute"] + "/servers", {"server": server}, name, version
    )
    if status == 401:
        cloud.refused()
    if status != 202:
        return
    made = answer["server"]["id"]
    # Half of them stay, so that there is something to be lost.
    if int(made[0], 16) % 2:
        STOP.wait(3)
        cloud.call("server", "DELETE", f"{cloud.catalogue['compute']}/servers/{made}", None, name)


def stacks(cloud):
    name = f"load-{uuid.uuid4()}"
    template = {
        "heat_template_version": "2021-04-16",
        "resources": {"word": {"type": "OS::Heat::RandomString"}, "same": {"type": "OS::Heat::Value", "properties": {"value": {"get_attr": ["word", "value"]}}}},
    }
    url = cloud.catalogue["orchestration"]
    status, answer, _ = cloud.call("stack", "POST", url + "/stacks", {"stack_name": name, "template": template}, name)
    if status == 401:
        cloud.refused()
    if status != 201:
        return
    made = answer["stack"]["id"]
    if int(made[0], 16) % 2:
        STOP.wait(3)
        cloud.call("stack", "DELETE", f"{url}/stacks/{name}/{made}", None, name)


def work(job, first, pace, cloud):
    STOP.wait(first)
    while cloud.ready():
        began = time.monotonic()
        job(cloud)
        STOP.wait(max(0, pace - (time.monotonic() - began)))


def main():
    global FLAVOR, IMAGE
    openrc, FLAVOR, IMAGE, path = sys.argv[1:5]
    out = open(path, "a", buffering=1)
    lock = threading.Lock()

    def log(kind, method, key, status, began):
        line = {"began": began, "ended": time.monotonic(), "kind": kind, "method": method, "key": key, "status": status}
        with lock:
            out.write(json.dumps(line) + "\n")

    threads = [
        threading.Thread(target=work, args=(job, pace * number / count, pace, Cloud(openrc, log)))
        for (kind, (count, pace)), job in zip(WORKERS.items(), (tokens, reads, servers, stacks))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    STOP.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
