"""What administrators keep in identity beside users and projects, by the official client: credentials, tags, roles that imply
others, limits, groups of endpoints, access rules. Knows the project `demo` and the user `jane` of the session."""

import json
from pathlib import Path

from base import expect, has

JANE = {"OS_USERNAME": "jane", "OS_PASSWORD": "secret-of-jane", "OS_PROJECT_NAME": "demo"}


def directory(s):
    credentials(s)
    tags(s)
    roles(s)
    limits(s)
    endpoint_groups(s)
    access_rules(s)
    passwords(s)


def credentials(s):
    made = s.json("openstack credential create --type totp jane GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    has(s.run("openstack credential list --type totp"), made["id"])
    s.run(f"openstack credential delete {made['id']}")
    keys = s.json("openstack ec2 credentials create", **JANE)
    expect(s.json("openstack ec2 credentials list", **JANE)[0]["Access"] == keys["access"], "jane's keys are listed")
    expect(s.json(f"openstack ec2 credentials show {keys['access']}", **JANE)["secret"] == keys["secret"], "they are shown")
    s.run(f"openstack ec2 credentials delete {keys['access']}", **JANE)
    expect(s.json("openstack ec2 credentials list", **JANE) == [], "they are gone")


def tags(s):
    s.run("openstack project set --tag blue --tag test demo")
    expect(s.json("openstack project show demo")["tags"] == ["blue", "test"], "the project has its tags")
    names = lambda options: {row["Name"] for row in s.json(f"openstack project list {options}")}
    expect(names("--tags blue,test") == {"demo"}, "it is found by them")
    expect("demo" not in names("--not-tags blue"), "and left out by one")
    s.run("openstack project set --remove-tag blue demo")
    expect(s.json("openstack project show demo")["tags"] == ["test"], "one is gone")


def roles(s):
    s.run("openstack role create boss")
    s.run("openstack implied role create --implied-role member boss")
    has(s.run("openstack implied role list"), "boss", "member")
    s.run("openstack user create --password secret-of-jim jim")
    s.run("openstack role add --project demo --user jim boss")
    effective = s.json("openstack role assignment list --user jim --effective --names")
    expect({row["Role"].split("@")[0] for row in effective} >= {"boss", "member", "reader"}, f"what it implies: {effective}")
    jim = {"OS_USERNAME": "jim", "OS_PASSWORD": "secret-of-jim", "OS_PROJECT_NAME": "demo"}
    s.run("openstack server list", **jim)
    s.run("openstack implied role delete --implied-role member boss")
    s.run("openstack user delete jim")
    s.run("openstack role delete boss")
    s.run("openstack role add --domain default --user jane --inherited reader")
    has(s.run("openstack role assignment list --user jane --inherited --names"), "reader")
    s.run("openstack role remove --domain default --user jane --inherited reader")


def limits(s):
    region = s.environment["OS_REGION_NAME"]
    known = s.json(f"openstack registered limit create --service nova --region {region} --default-limit 10 cores")
    own = s.json(f"openstack limit create --project demo --service nova --region {region} --resource-limit 5 cores")
    has(s.run("openstack limit list"), own["id"], "cores")
    has(s.run(f"openstack registered limit delete {known['id']}", fails=True), "registered limit")
    s.run(f"openstack limit set --resource-limit 7 {own['id']}")
    expect(s.json(f"openstack limit show {own['id']}")["resource_limit"] == 7, "the limit is another one")
    s.run(f"openstack limit delete {own['id']}")
    s.run(f"openstack registered limit delete {known['id']}")


def endpoint_groups(s):
    filters = Path(s.folder, "filters.json")
    filters.write_text(json.dumps({"interface": "public"}))
    s.run(f"openstack endpoint group create public-ones {filters}")
    s.run("openstack endpoint group add project public-ones demo")
    has(s.run("openstack endpoint group list"), "public-ones")
    seen = s.json("openstack catalog list", **JANE)
    expect(seen and all(end["interface"] == "public" for row in seen for end in row["Endpoints"]), f"demo's catalogue: {seen}")
    s.run("openstack endpoint group remove project public-ones demo")
    s.run("openstack endpoint group delete public-ones")


def access_rules(s):
    rules = json.dumps([{"service": "compute", "method": "GET", "path": "/v2.1/servers/detail"}])
    made = s.json(f"openstack application credential create --secret for-the-watcher --access-rules '{rules}' watcher", **JANE)
    has(s.run("openstack access rule list", **JANE), "/v2.1/servers/detail")
    watcher = {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_APPLICATION_CREDENTIAL_ID": made.get("id") or made["ID"],
        "OS_APPLICATION_CREDENTIAL_SECRET": "for-the-watcher",
        **{f"OS_{name}": "" for name in ("USERNAME", "PASSWORD", "PROJECT_NAME", "PROJECT_DOMAIN_NAME", "USER_DOMAIN_NAME")},
    }
    s.run("openstack server list --no-name-lookup", **watcher)
    has(s.run("openstack network list", fails=True, **watcher), "401")
    s.run("openstack application credential delete watcher", **JANE)


def passwords(s):
    s.run("openstack user password set --original-password secret-of-jane --password another-of-jane", **JANE)
    has(s.run("openstack token issue", fails=True, **JANE), "401")
    s.run("openstack user set --password secret-of-jane jane")
    s.run("openstack token issue", **JANE)
