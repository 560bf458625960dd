#!/usr/bin/env python3
"""Writes templates.json from templates.txt, by ansible-core itself: template -> what it gives, or its error.

Only for those who change templates.txt: `pip install ansible-core passlib` into an environment of its own, then run
this there. The tests read the result and need no Ansible.
"""
import json
import pathlib

import ansible
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

HERE = pathlib.Path(__file__).parent


def trusted(value):
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, list):
        return [trusted(item) for item in value]
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return value


def plain(value):
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value]


variables = json.loads((HERE / "variables.json").read_text())
variables["omit"] = "__omit__"
variables["ansible_managed"] = "Ansible managed"
templar = Templar(loader=DataLoader(), variables=trusted(variables))
out = []
for line in (HERE / "templates.txt").read_text().splitlines():
    if not line or line.startswith("# "):
        continue
    # Each expression of a line on its own too: one that fails must not hide the others.
    template = line.replace("\\n", "\n")
    pieces = [template]
    if "{%" not in template and template.count("{{") > 1:
        pieces = ["{{" + piece.split("}}")[0] + "}}" for piece in template.split("{{")[1:]]
        if any(piece.count("}}") != 1 or "{{ '" == piece for piece in pieces):
            pieces = [template]
    for piece in pieces:
        entry = {"template": piece}
        try:
            entry["value"] = plain(templar.template(trust_as_template(piece)))
        except Exception as error:
            entry["error"] = type(error).__name__
        out.append(entry)
text = {"ansible-core": ansible.release.__version__, "cases": out}
(HERE / "templates.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
