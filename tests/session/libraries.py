"""What services and programs of others are built on, unchanged, against identity: `keystoneauth1`, `python-keystoneclient`, and a
service with `keystonemiddleware` (guarded.py). Run by the Python of the official clients; the environment is that of `openrc`."""

import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import requests
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3
from keystoneclient.v3 import client

URL = os.environ["OS_AUTH_URL"]
HERE = Path(__file__).resolve().parent
# How long a token may go on to be taken after it has ended: services ask identity anew at least so often.
PATIENCE = 60


def expect(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def said(text):
    print(f"  {text}", flush=True)


def password(name, secret, **scope):
    domains = {"user_domain_id": "default"} | ({"project_domain_id": "default"} if "project_name" in scope else {})
    return session.Session(v3.Password(auth_url=URL, username=name, password=secret, **domains, **scope))


def refused(call, *kinds):
    try:
        call()
    except kinds:
        return True
    return False


def catalogue(admin):
    """keystoneauth1 finds every service, by version, too."""
    for service, path in (
        ("identity", "/v3"), ("image", ""), ("placement", ""), ("compute", "/v2.1"), ("network", ""), ("orchestration", "/v1/"),
    ):
        for interface in ("public", "internal", "admin"):
            found = admin.get_endpoint(service_type=service, interface=interface, region_name="RegionOne")
            expect(found and path in found, f"{interface} endpoint of {service}: {found}")
    data = admin.get_endpoint_data(service_type="compute", min_version="2.1", max_version="2.latest", interface="public")
    expect(data and data.max_microversion, f"microversions of compute: {data}")
    expect(admin.get_endpoint_data(service_type="network", version="2", interface="public"), "network has version 2")
    nowhere = lambda: admin.get_endpoint(service_type="no-such-service")
    expect(refused(nowhere, exceptions.EndpointNotFound), "what is not there is not found")
    answer = admin.get("/servers", endpoint_filter={"service_type": "compute"}, headers={"OpenStack-API-Version": "compute 2.53"})
    expect("servers" in answer.json(), "an answer of compute")
    expect(refused(lambda: password("admin", "wrong", project_name="admin").get_token(), exceptions.Unauthorized), "a wrong password")
    said("keystoneauth1: catalogue, versions, a call, a wrong password")


def directory(admin):
    """python-keystoneclient's objects: made, found, changed, taken away. What later parts need is given back."""
    keystone = client.Client(session=admin)
    project = keystone.projects.create("guarded", "default", description="x")
    user = keystone.users.create("guest", domain="default", password="secret-of-guest", default_project=project)
    watch = keystone.users.create("guard", domain="default", password="secret-of-guard")
    roles = {role.name: role for role in keystone.roles.list()}
    keystone.roles.grant(roles["member"], user=user, project=project)
    keystone.roles.grant(roles["service"], user=watch, project=keystone.projects.find(name="service"))
    expect(keystone.users.update(user, email="guest@example.org").email == "guest@example.org", "a user is changed")
    expect(keystone.users.find(name="guest").id == user.id, "and found")
    expect({role.name for role in keystone.roles.list(user=user, project=project)} == {"member"}, "roles in a project")
    expect(refused(lambda: keystone.projects.create("guarded", "default"), exceptions.Conflict), "a name twice")
    expect(refused(lambda: keystone.users.get("x"), exceptions.NotFound), "nobody's id")
    expect(keystone.services.list(type="compute"), "services by type")
    group = keystone.groups.create("guests", domain="default")
    keystone.users.add_to_group(user, group)
    expect([found.id for found in keystone.users.list(group=group)] == [user.id], "who is in a group")
    keystone.groups.delete(group)
    said("python-keystoneclient: projects, users, roles, groups, services")
    return user, project


class Guarded:
    """guarded.py, running."""

    def __init__(self, **settings):
        settings = {
            "auth_type": "password", "auth_url": URL, "www_authenticate_uri": URL, "username": "guard", "password": "secret-of-guard",
            "user_domain_id": "default", "project_name": "service", "project_domain_id": "default", "region_name": "RegionOne",
            "interface": "internal", "token_cache_time": "-1", **settings,
        }
        # Its remarks on what is not configured would fill the screen.
        self.errors = open(os.devnull, "w")
        self.process = subprocess.Popen(
            [sys.executable, HERE / "guarded.py", json.dumps(settings)], stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        port = self.process.stdout.readline().strip()
        expect(port, "the guarded service did not start")
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, token, method="GET", path="/", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            headers["X-Auth-Token"] = token
        return requests.request(method, self.url + path, headers=headers, timeout=60)

    def refuses_soon(self, token):
        until = time.monotonic() + PATIENCE
        while (status := self.ask(token).status_code) != 401:
            expect(time.monotonic() < until, f"still {status} after {PATIENCE} s")
            time.sleep(0.2)
        return True

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def middleware(admin, user, project):
    """keystonemiddleware believes valid tokens, and no others."""
    guarded = Guarded()
    try:
        guest = password("guest", "secret-of-guest", project_name="guarded")
        token = guest.get_token()
        answer = guarded.ask(token)
        expect(answer.status_code == 200, f"a valid token: {answer.status_code} {answer.text}")
        told = answer.json()
        expect(told["identity_status"] == "Confirmed" and told["user_id"] == user.id and told["user_name"] == "guest", f"the user: {told}")
        expect(told["project_id"] == project.id and told["project_name"] == "guarded", f"the project: {told}")
        expect({"member", "reader"} <= set(told["roles"].split(",")), f"the roles: {told}")
        services = {service["type"] for service in json.loads(told["service_catalog"])}
        expect({"identity", "compute", "network"} <= services, f"the catalogue: {services}")
        unscoped = password("guest", "secret-of-guest", unscoped=True).get_token()
        told = guarded.ask(unscoped).json()
        expect(told["user_id"] == user.id and not told["project_id"] and not told["roles"], f"a token without a scope: {told}")
        for wrong in (None, "x", "gAAAAABn" + "A" * 150, token[:-4] + "AAAA"):
            answer = guarded.ask(wrong)
            expect(answer.status_code == 401, f"{wrong!r}: {answer.status_code}")
            expect(URL.removesuffix("/v3") in answer.headers["WWW-Authenticate"], f"where to log in: {answer.headers}")
        # A service passes on a user's token with its own beside it.
        own = password("guard", "secret-of-guard", project_name="service").get_token()
        answer = guarded.ask(token, X_Service_Token=own)
        expect(answer.status_code == 200 and answer.json()["service_identity_status"] == "Confirmed", f"two tokens: {answer.text}")
        said("keystonemiddleware: valid, invalid and missing tokens, a service's token")

        keystone = client.Client(session=admin)
        expect(keystone.tokens.validate(token)["user"]["id"] == user.id, "python-keystoneclient validates a token")
        keystone.tokens.revoke_token(token)
        expect(guarded.refuses_soon(token), "a revoked token")
        expect(refused(lambda: keystone.tokens.validate(token), exceptions.NotFound), "a revoked token is not found")
        token = password("guest", "secret-of-guest", project_name="guarded").get_token()
        expect(guarded.ask(token).status_code == 200, "the next token is valid")
        keystone.users.update(user, enabled=False)
        expect(guarded.refuses_soon(token), "the token of a user who was disabled")
        keystone.users.update(user, enabled=True)
        said("keystonemiddleware: revoked tokens, disabled users")
    finally:
        guarded.stop()


def application(credential, secret):
    return session.Session(
        v3.ApplicationCredential(auth_url=URL, application_credential_id=credential.id, application_credential_secret=secret)
    )


def passing_away(create, guarded):
    """A credential that ends soon, with its secret, a token by it that a service believed, and when it ends."""
    for life in (4, 16, 64, 256):
        ends = time.monotonic() + life
        until = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(seconds=life)
        credential = create(f"short-{life}", expires_at=until)
        short = (credential, f"secret-of-short-{life}")
        try:
            token = application(*short).get_token()
        except exceptions.Unauthorized:
            # A busy machine took longer than that.
            continue
        if guarded.ask(token).status_code == 200:
            return short, token, ends
    sys.exit("FAILED: no token by a credential that ends soon")


def credentials():
    """Application credentials: whole, limited by rules, and such that end."""
    guest = password("guest", "secret-of-guest", project_name="guarded")
    keystone = client.Client(session=guest)
    user = guest.get_user_id()
    create = lambda name, **more: keystone.application_credentials.create(name, user=user, secret=f"secret-of-{name}", **more)
    whole = create("whole")
    rules = [
        {"service": "compute", "method": "GET", "path": "/v2.1/servers/*"},
        {"service": "compute", "method": "POST", "path": "/v2.1/servers"},
    ]
    limited = create("limited", access_rules=rules)
    expect({rule.path for rule in keystone.access_rules.list(user=user)} == {rule["path"] for rule in rules}, "the rules are listed")
    guarded, other = Guarded(service_type="compute"), Guarded(service_type="image")
    try:
        short, passing, ends = passing_away(create, guarded)
        token = application(whole, "secret-of-whole").get_token()
        expect(guarded.ask(token).status_code == 200 and other.ask(token).status_code == 200, "one without rules")
        token = application(limited, "secret-of-limited").get_token()
        for service, method, path, status in (
            (guarded, "GET", "/v2.1/servers/detail", 200),
            (guarded, "POST", "/v2.1/servers", 200),
            (guarded, "DELETE", "/v2.1/servers/detail", 401),
            (guarded, "GET", "/v2.1/servers/1/ips", 401),
            (other, "GET", "/v2.1/servers/detail", 401),
        ):
            found = service.ask(token, method, path).status_code
            expect(found == status, f"access rules: {method} {path}: {found} instead of {status}")
        compute = guest.get_endpoint(service_type="compute")
        found = [requests.get(f"{compute}/{path}", headers={"X-Auth-Token": token}, timeout=60).status_code for path in ("servers/detail", "flavors")]
        expect(found == [200, 401], f"our compute by the same rules: {found}")
        wrong = lambda: application(whole, "wrong").get_token()
        expect(refused(wrong, exceptions.Unauthorized), "a wrong secret")
        # It may not make others like itself.
        more = client.Client(session=application(whole, "secret-of-whole"))
        make = lambda: more.application_credentials.create("more", user=user)
        expect(refused(make, exceptions.Forbidden), "a restricted credential makes no others")
        time.sleep(max(0, ends - time.monotonic()) + 0.5)
        expect(guarded.refuses_soon(passing), "the token of a credential that has ended")
        expect(refused(application(*short).get_token, exceptions.Unauthorized), "a credential that has ended")
        keystone.application_credentials.delete(whole.id, user=user)
        expect(refused(application(whole, "secret-of-whole").get_token, exceptions.Unauthorized), "a credential that is gone")
    finally:
        guarded.stop()
        other.stop()
    said("application credentials: whole, with access rules, ended, deleted")


def main():
    admin = password("admin", os.environ["OS_PASSWORD"], project_name="admin")
    catalogue(admin)
    user, project = directory(admin)
    middleware(admin, user, project)
    credentials()
    keystone = client.Client(session=admin)
    keystone.users.delete(user)
    keystone.users.delete(keystone.users.find(name="guard"))
    keystone.projects.delete(project)


main()
