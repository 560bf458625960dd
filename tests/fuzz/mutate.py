"""Requests that nobody should send: JSON bodies, paths and queries made wrong in one or a few places.

All chance comes from the `random.Random` that is given. It knows no service."""

import json
from urllib.parse import quote

# Stands in a body for text that `json` would not print.
RAW = "@@raw:{}@@"
DEEP = 90

TEXTS = [
    "", " ", "\0", "a\0b", "null", "true", "0", "-1", "1e400", "NaN", "%00", "%s%n", "../../etc/passwd", "a/b", ".", "..", "*", "$", "{}", "[]",
    "' OR 1=1 --", "\"", "\\", "\n\r\t", "\x7f\x1b[2J", "é", "ß" * 64, "💥", "\u202e", "\ufeff", "\ud800", "İ", "a" * 64, "a" * 255, "a" * 256,
    "💥" * 300, "A" * 70000, "x" * (1 << 20), "00000000-0000-0000-0000-000000000000", "f" * 32, "2026-02-30T25:61:61Z",
    "9999-12-31T23:59:59.999999Z", "-9999-01-01", "0000-00-00T00:00:00Z", "+262143-12-31T00:00:00Z", "255.255.255.255", "0.0.0.0/0", "10.0.0.0/33", "::/0",
    "::ffff:1.2.3.4", "1.2.3", "ff:ff:ff:ff:ff:ff", "http://[::1", "$(project_id)s", "%(nothing)s", "%(tenant_id", "(" * 5000,
]
NUMBERS = [
    0, 1, -1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64,
    10**30, -(10**30), 10**400, 0.5, -0.0, 1e308, -1e308, 5e-324, 1.7976931348623157e308, 4.0, RAW.format("1e999"), RAW.format("-1e999"),
    RAW.format("1E+2"), RAW.format("0e0"), RAW.format("1" * 5000),
]
PATHS = [
    "%00", "a%00b", "%FF", "%C3%28", "%2e%2e", "..%2f..", "%2F", "%25", "%", "%zz", "null", "0", "-1", "x" * 300, "y" * 9000, "%F0%9F%92%A5", "%20", "%0A", "*", "'",
    "%22", "%5C", "00000000-0000-0000-0000-000000000000", "f" * 32, "%7B%7D", ";", "a;b=c", "99999999999999999999", "%E2%80%AE", "detail", "defaults",
]
QUERIES = [
    "limit", "marker", "sort_key", "sort_keys", "sort_dir", "sort", "page_size", "page_reverse", "fields", "name", "id", "status", "enabled", "tags", "tags-any",
    "not-tags", "project_id", "tenant_id", "user_id", "domain_id", "group.id", "role.id", "scope.project.id", "scope.system", "effective", "include_names",
    "name__contains", "name__icontains", "parent_id", "subtree_as_ids", "parents_as_list", "is_domain", "nocatalog", "all_tenants", "all_projects", "changes-since",
    "changes-before", "deleted", "flavor", "image", "host", "ip", "created_at", "size_min", "size_max", "visibility", "member_status", "os_hidden", "protected",
    "resources", "required", "member_of", "in_tree", "group_policy", "same_subtree", "root_required", "fixed_ips", "device_id", "mac_address", "start", "end", "detailed",
    "minRam", "is_public", "with_servers", "hypervisor_hostname_pattern", "global_tenant", "show_nested", "nested_depth", "with_detail", "type", "template_type",
    "resolve_outputs", "blob", "interface", "service_id", "region_id", "password_expires_at", "since", "wait",
]
HEADERS = [
    ("OpenStack-API-Version", ["compute latest", "compute 2.1", "compute 2.90", "compute 9.9", "compute -1", "placement 1.39", "placement", "", "compute 2.99999999999", "a b c"]),
    ("X-OpenStack-Nova-API-Version", ["2.53", "latest", "x", "2.0"]),
    ("X-Subject-Token", ["", "x", "gAAAAA", "a" * 5000]),
    ("Accept", ["application/json", "text/html", "*/*;q=x", ""]),
    ("Content-Type", ["text/plain", "", "application/json; charset=latin-1", "multipart/form-data", "application/openstack-images-v2.1-json-patch"]),
    ("Range", ["bytes=0-", "bytes=5-1", "bytes=-99999999999999999999", "x"]),
    ("Content-Range", ["bytes 0-5/3", "x"]),
    ("X-Forwarded-Host", ["a b", "x" * 2000, "\xff"]),
    ("OpenStack-Identity-Access-Rules", ["1.0", "x"]),
    ("X-Openstack-Image-Size", ["-1", "99999999999999999999"]),
]


def places(value, at=()):
    """The ways to all values inside of a value, itself first."""
    found = [at]
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*at, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            found += places(value[index], (*at, index))
    return found


def strange(chance, value, known):
    """Something else than `value`; `known` are texts that mean something to the service."""
    kind = chance.randrange(14)
    if kind < 4:
        return chance.choice(TEXTS)
    if kind < 7:
        return chance.choice(NUMBERS)
    if kind == 7:
        return chance.choice([None, True, False, [], {}, [[]], [None], {"": None}])
    if kind == 8:
        return [value] * chance.choice([1, 2, 3000])
    if kind == 9:
        return {chance.choice(["", "a", "id", "\0", "x" * 300, "💥"]): value}
    if kind == 10:
        deep = value
        for _ in range(chance.choice([2, DEEP, 300])):
            deep = [deep] if chance.random() < 0.5 else {"a": deep}
        return deep
    if kind == 11 and isinstance(value, (int, float)) and not isinstance(value, bool):
        return chance.choice([str(value), -value, value + 1, [value]])
    if kind == 12 and isinstance(value, str):
        return chance.choice([value + "\0", value * 2, value[:-1], value.upper(), value + "\n", " " + value, value + "é" * 100])
    return chance.choice(known) if known else None


def mutated(chance, body, known):
    """A copy of a body that is wrong in one to three places."""
    body = json.loads(json.dumps(body))
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        way = chance.choice(places(body))
        if not way:
            if chance.random() < 0.1:
                body = strange(chance, body, known)
            continue
        inside = body
        for step in way[:-1]:
            inside = inside[step]
        last, deed = way[-1], chance.random()
        if deed < 0.15:
            del inside[last]
        elif deed < 0.25 and isinstance(inside, dict):
            inside[chance.choice([*QUERIES, *TEXTS[:40], "extra"])] = strange(chance, inside[last], known)
        elif deed < 0.30 and isinstance(inside, dict):
            inside[last + "x"] = inside.pop(last)
        elif deed < 0.35 and isinstance(inside, list):
            inside.append(strange(chance, inside[last], known))
        else:
            inside[last] = strange(chance, inside[last], known)
    return body


def printed(chance, body):
    """The bytes of a body; now and then such as are no JSON."""
    text = json.dumps(body)
    head, tail = (f'"{part}' if part.startswith("@@") else f'{part}"' for part in RAW.split("{}"))
    while head in text:
        before, _, rest = text.partition(head)
        inner, _, after = rest.partition(tail)
        text = before + inner + after
    data = text.encode()
    deed = chance.random()
    if deed < 0.01:
        return data[: chance.randrange(len(data) + 1)]
    if deed < 0.02:
        at = chance.randrange(len(data) + 1)
        return data[:at] + chance.choice([b"\xff", b"\0", b"\xed\xa0\x80", b"\\u0000", b"\xef\xbb\xbf", b"}"]) + data[at:]
    if deed < 0.025:
        return chance.choice([b"", b" ", b"null", b"[]", b"{}", b"1", b'"x"', b"[" * 100000, b'{"a":' * 5000, b"\xff\xfe"])
    return data


def query(chance, known):
    """A query of one to three parts, with its `?`, or nothing."""
    parts = []
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        value = chance.choice([*TEXTS[:44], *map(str, NUMBERS[:25]), *known]) if chance.random() < 0.9 else None
        name = chance.choice(QUERIES) if chance.random() < 0.95 else quote(chance.choice(TEXTS[:40]).encode("utf-8", "replace")[:3000])
        if value is None:
            parts.append(name + chance.choice(["", "=%FF", "=%", "=%00", "&&="]))
        else:
            parts.append(f"{name}={quote(value.encode('utf-8', 'replace')[:3000])}")
    return "?" + "&".join(parts) if parts else ""


def headers(chance):
    """Now and then a header that is strange."""
    if chance.random() < 0.85:
        return {}
    name, values = chance.choice(HEADERS)
    return {name: chance.choice(values)}
