"""An administrator who calls the services: over one connection each, with users and projects of its own, so that no call can take
away what `admin` has. It judges nothing but dropped connections."""

import http.client
import json
import random
import time
import urllib.parse
import uuid

from base import PATIENCE, Fault

TIMEOUT = 70
LONG = 1 << 16
VERSIONS = {"compute": "compute 2.79", "placement": "placement 1.39"}


class Answer:
    def __init__(self, status, headers, data):
        self.status, self.headers, self.data = status, headers, data

    def json(self):
        try:
            return json.loads(self.data or b"null")
        except ValueError:
            return None

    def at(self, path):
        """`network.id` of the answer, or nothing."""
        value = self.json()
        for step in path.split("."):
            if isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            elif isinstance(value, dict):
                value = value.get(step)
            else:
                return None
        return value


class Caller:
    def __init__(self, environment, seed):
        self.environment = environment
        self.chance = random.Random(f"{seed} names")
        self.connections = {}
        self.token = None
        self.catalogue = {}
        # What `$NAME` in bodies and paths is.
        self.names = {}
        self.user = {}

    # -- connections

    def send(self, service, method, path, data=None, headers=None):
        """One request to a service; what it answers. A connection that is closed before the answer is a fault."""
        parts = urllib.parse.urlsplit(self.catalogue[service])
        sent = {"X-Auth-Token": self.token or "", "OpenStack-API-Version": VERSIONS.get(service, "")}
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        for attempt in (1, 2):
            fresh = service not in self.connections
            if fresh:
                self.connections[service] = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
            connection = self.connections[service]
            try:
                connection.request(method, path, body=data, headers=sent)
                response = connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
                if response.will_close:
                    self.drop(service)
                return answer
            except (OSError, http.client.HTTPException) as error:
                self.drop(service)
                # Who does not want a body answers without reading it, and closes if it is long.
                if isinstance(error, (BrokenPipeError, ConnectionResetError)) and len(data or b"") > LONG:
                    return Answer(413, {}, b"")
                # One that was kept may have been closed before this request: then a new one works.
                if fresh or attempt == 2:
                    raise Fault(f"no answer: {type(error).__name__}: {error}") from error

    def drop(self, service):
        connection = self.connections.pop(service, None)
        if connection:
            connection.close()

    def call(self, service, method, path, body=None, expected=(200, 201, 202, 203, 204), **headers):
        """A request that must be answered well."""
        data = None if body is None else json.dumps(body).encode()
        until = time.monotonic() + PATIENCE
        # 503 is a machine that has too much to do.
        while (answer := self.send(service, method, path, data, headers)).status == 503 and time.monotonic() < until:
            time.sleep(1)
        if answer.status not in expected:
            raise Fault(f"{method} {path}: {answer.status} {answer.data[:500]!r}")
        return answer

    # -- who calls

    def login(self, name, password, project):
        self.catalogue.setdefault("identity", self.environment["OS_AUTH_URL"].removesuffix("/v3"))
        domain = {"id": "default"}
        user = {"name": name, "domain": domain, "password": password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        self.token = None
        answer = self.call("identity", "POST", "/v3/auth/tokens", body)
        self.token = answer.headers["X-Subject-Token"]
        for service in answer.at("token.catalog"):
            for end in service["endpoints"]:
                if end["interface"] == "public":
                    # The first time is before strange services and endpoints were made.
                    url = urllib.parse.urlsplit(end["url"])
                    self.catalogue.setdefault(service["type"], f"{url.scheme}://{url.netloc}")
        self.names["token"] = self.token
        return answer

    def prepare(self):
        """A user and project of our own, with what the services need besides."""
        self.login("admin", self.environment["OS_PASSWORD"], "admin")
        mark = uuid.UUID(int=self.chance.getrandbits(128)).hex[:8]
        user = {"name": f"fuzz-{mark}", "password": f"pw-{mark}", "project": f"fuzz-{mark}"}
        project = self.call("identity", "POST", "/v3/projects", {"project": {"name": user["project"]}}).at("project.id")
        made = self.call("identity", "POST", "/v3/users", {"user": {"name": user["name"], "password": user["password"]}}).at("user.id")
        roles = {role["name"]: role["id"] for role in self.call("identity", "GET", "/v3/roles").at("roles")}
        for role in ("admin", "member"):
            self.call("identity", "PUT", f"/v3/projects/{project}/users/{made}/roles/{roles[role]}")
        self.user = user
        self.login(**user)
        self.names |= {"own": made, "own_project": project}
        self.call("network", "PUT", f"/v2.0/quotas/{project}", {"quota": {name: -1 for name in QUOTAS}})
        unlimited = {name: -1 for name in ("instances", "cores", "ram", "key_pairs", "server_groups")}
        self.call("compute", "PUT", f"/v2.1/os-quota-sets/{project}", {"quota_set": unlimited})
        network = self.call("network", "POST", "/v2.0/networks", {"network": {"name": "servers"}}).at("network.id")
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/16"}
        self.call("network", "POST", "/v2.0/subnets", {"subnet": subnet})
        image = {"name": "tiny", "disk_format": "raw", "container_format": "bare"}
        image = self.call("image", "POST", "/v2/images", image).at("id")
        self.send("image", "PUT", f"/v2/images/{image}/file", b"x" * 512, {"Content-Type": "application/octet-stream"})
        services = self.call("compute", "GET", "/v2.1/os-services").at("services")
        compute = next((row["id"] for row in services if row["binary"] == "nova-compute"), "x")
        self.names |= {"server_network": network, "boot_image": image, "compute_service": str(compute)}

    def again(self):
        """A new token, if a call has ended the one that there was."""
        if self.send("identity", "GET", "/v3/auth/projects").status == 200:
            return
        try:
            self.login(**self.user)
        except Fault:
            self.prepare()

    # -- names in bodies

    def another(self):
        """Other names for the objects to come."""
        unique = uuid.UUID(int=self.chance.getrandbits(128))
        mac = ":".join(f"{byte:02x}" for byte in (0xFA, 0x16, 0x3E, *unique.bytes[:3]))
        self.names |= {"unique": unique.hex[:10], "UNIQUE": unique.hex[:10].upper(), "uuid": str(unique), "mac": mac}

    def filled(self, value):
        """A body or path with all `$NAME` replaced."""
        if isinstance(value, dict):
            return {self.filled(key): self.filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        if isinstance(value, str) and "$" in value:
            # Longer names first: `$own_project` is not `$own`.
            for name in sorted(self.names, key=len, reverse=True):
                value = value.replace(f"${name}", self.names[name])
        return value


QUOTAS = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
