#!/usr/bin/env python3
"""Writes play.json: what each task of play/site.yml said on each host, under ansible-playbook.

Only for those who change the playbook: run it where ansible-core is installed. The tests need no Ansible.
"""
import json
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
env = dict(os.environ, ANSIBLE_LOCALHOST_WARNING="false")
env["ANSIBLE_CALLBACK_PLUGINS"] = str(HERE / "callback")
env["ANSIBLE_STDOUT_CALLBACK"] = "say"
run = subprocess.run(
    ["ansible-playbook", "-i", "hosts", "site.yml"], cwd=HERE / "play", env=env, capture_output=True, text=True
)
lines = [json.loads(line[5:]) for line in run.stdout.splitlines() if line.startswith("SAID ")]
if not lines:
    raise SystemExit(run.stdout + run.stderr)
hosts = {}
for line in lines:
    hosts.setdefault(line["host"], []).append([line["task"], line["status"], line["msg"]])
(HERE / "play.json").write_text(json.dumps(hosts, indent=1) + "\n")
