"""Calls of `wright play`, and what it says of each host."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nodes

WRIGHT = os.environ.get("WRIGHT") or sys.exit("WRIGHT names no program")


class Fault(Exception):
    """A run did not do what it should."""


class Play:
    """`wright play` with the arguments that all runs share; output and time of the last run are kept for messages."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.said = ""

    def command(self, playbook, *more, inventory=None):
        folder = self.cluster.folder
        return [
            WRIGHT, "play", str(playbook), "-i", str(inventory or self.cluster.inventory()),
            "--private-key", f"{folder}/client", "--known-hosts", f"{folder}/known_hosts", "--output", "json", *more,
        ]  # fmt: skip

    def __call__(self, step, playbook, *more, expect=0, inventory=None):
        began = time.monotonic()
        command = self.command(playbook, *more, inventory=inventory)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.said = done.stdout + done.stderr
        say(f"{step}: {time.monotonic() - began:.1f} s")
        if done.returncode != expect:
            raise Fault(f"ended with {done.returncode}, not {expect}")
        return recap(done.stdout)


def recap(text):
    """What each host is said to have had, from the last JSON document of the output."""
    decoder = json.JSONDecoder()
    found, at = None, 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        if isinstance(value, dict) and isinstance(value.get("nodes"), dict):
            found = value["nodes"]
    return found


def expect(truth, text):
    if not truth:
        raise Fault(text)


def own_state():
    """State of the runs is the test's own; in namespaces of its own only."""
    state = Path("/var/lib/wright")
    state.mkdir(exist_ok=True)
    nodes.run(["mount", "-t", "tmpfs", "wright-state", str(state)])


def say(text):
    print(text, flush=True)
