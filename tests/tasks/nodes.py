#!/usr/bin/env python3
"""Nodes with real OpenSSH servers, on one machine and on no one's network.

Each node is a `systemd-nspawn` container, with systemd inside, on an overlay of one Debian tree, which mmdebstrap makes once into the
user's cache. All live in mount, network and process namespaces of the caller's own: whatever happens to the caller,
the kernel removes nodes, mounts and wires with it.

`private()` puts a script into those namespaces. As a program, `nodes.py COUNT` makes nodes, prints where they are as
one line of JSON, and keeps them until its standard input ends.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stackwright"
# What the peers need on a node is in it, too (python3, its apt binding), so that all start from the same.
PACKAGES = """apt ca-certificates cron dbus iproute2 kmod libnss-systemd libpam-systemd locales netbase openssh-server
procps python3 python3-apt sudo systemd systemd-sysv udev""".split()
SUITE = "bookworm"
# Raised whenever `tree` would make something else from the same.
VERSION = 1
# Who may become root with sudo.
OPERATOR = "deployer"
# What the busiest machine needs for a boot; nothing here takes long by itself.
PATIENCE = 300
PORT = 22
PROXY = "http://127.0.0.1:3142"


class Fault(Exception):
    """A node could not be made."""


def missing():
    """What this machine lacks, as a reason to skip; None if nothing."""
    if os.geteuid() != 0:
        return "namespaces and containers need root"
    for program in ("systemd-nspawn", "mmdebstrap", "unshare", "ssh-keygen"):
        if not shutil.which(program):
            return f"`{program}` is missing"
    return None


def private():
    """Runs this script again in namespaces of its own; returns in there. Before it, this is the machine's own world."""
    if os.environ.get("WRIGHT_NODES_PRIVATE"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    # Where packages come from is reached from the machine's own network, by the one process that keeps this open.
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    os.set_inheritable(outside, True)
    environment = dict(os.environ, WRIGHT_NODES_PRIVATE="1", WRIGHT_NODES_OUTSIDE=str(outside))
    namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    os.execvpe("unshare", ["unshare", *namespaces, sys.executable, *sys.argv], environment)


def tree():
    """The Debian tree that all nodes lie on, made once."""
    recipe = hashlib.sha256(repr((SUITE, PACKAGES, VERSION)).encode()).hexdigest()[:16]
    folder = CACHE / f"node-tree-{recipe}"
    if folder.exists():
        return folder
    say(f"making the nodes' Debian tree in {folder}")
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(unfinished)]
    made = outside(command)
    if made.returncode != 0:
        raise Fault(f"mmdebstrap failed: {made.stderr[-2000:]}")
    # Nothing of its own accord takes apt's lock or the processor.
    for timer in (unfinished / "etc/systemd/system/timers.target.wants").iterdir():
        timer.unlink()
    for key in (unfinished / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (unfinished / "etc/apt/apt.conf.d/90proxy").write_text(f'Acquire::http::Proxy "{PROXY}";\n')
    run(["chroot", str(unfinished), "useradd", "--create-home", "--shell", "/bin/bash", OPERATOR])
    (unfinished / f"etc/sudoers.d/{OPERATOR}").write_text(f"{OPERATOR} ALL=(ALL) NOPASSWD: ALL\n")
    unfinished.rename(folder)
    return folder


def outside(command):
    """A command on the machine's own network."""
    handle = os.environ.get("WRIGHT_NODES_OUTSIDE")
    prefix = ["nsenter", f"--net=/proc/self/fd/{handle}", "--"] if handle else []
    keep = [int(handle)] if handle else []
    return subprocess.run([*prefix, *command], capture_output=True, text=True, pass_fds=keep, stdin=subprocess.DEVNULL)


class Node:
    """One container: its address on loopback, its processes, its changes to the tree."""

    def __init__(self, nodes, name, address):
        self.nodes, self.name, self.address = nodes, name, address
        self.folder = nodes.folder / name
        self.root = self.folder / "root"
        self.process = None

    def start(self):
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self.nodes.tree},upperdir={self.folder}/upper,workdir={self.folder}/work"
        if not self.root.is_mount():
            run(["mount", "-t", "overlay", f"wright-{self.name}", "-o", layers, str(self.root)])
        self.settle()
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off"]
        command += ["--timezone=off", "--machine", self.name, "--directory", str(self.root)]
        # With a network namespace by name it may do in there what a machine may.
        command += ["--network-namespace-path=/proc/self/ns/net", "--boot"]
        log = open(self.folder / "console", "ab")
        groups = [group / self.name for group in self.nodes.groups]
        for group in groups:
            group.mkdir(exist_ok=True)

        def enter():
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=enter
        )

    def settle(self):
        """What a freshly installed node has: a name, a host key, who may come in."""
        etc = self.root / "etc"
        (etc / "hostname").write_text(self.name + "\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        (etc / "ssh/ssh_host_ed25519_key").write_text((self.nodes.folder / "host").read_text())
        (etc / "ssh/ssh_host_ed25519_key").chmod(0o600)
        (etc / "ssh/sshd_config.d/test.conf").write_text(
            f"ListenAddress {self.address}:{PORT}\nHostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nUseDNS no\nMaxStartups 200\nMaxSessions 100\n"
        )
        # A manager of units for each user watches files, of which the kernel allows root 128 on all nodes together.
        manager = etc / "systemd/system/user@.service"
        if not manager.is_symlink():
            manager.symlink_to("/dev/null")
        for home in ("root", f"home/{OPERATOR}"):
            ssh = self.root / home / ".ssh"
            ssh.mkdir(mode=0o700, exist_ok=True)
            (ssh / "authorized_keys").write_text((self.nodes.folder / "client.pub").read_text())
        run(["chroot", str(self.root), "chown", "-R", f"{OPERATOR}:", f"/home/{OPERATOR}/.ssh"])

    def wait(self):
        """Until its SSH server answers."""
        since = time.monotonic()
        while True:
            try:
                with socket.create_connection((self.address, PORT), timeout=PATIENCE) as stream:
                    if stream.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() - since > PATIENCE:
                raise Fault(f"{self.name} does not answer: {(self.folder / 'console').read_text()[-2000:]}")
            time.sleep(0.05)

    def pid(self):
        """The container's first process, as seen here."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def kill(self):
        """As if its power were cut."""
        first = self.pid()
        if first:
            os.kill(first, 9)
        self.process.kill()
        self.process.wait()

    def command(self, *command):
        """A command inside, as root; its output, whatever it ended with."""
        first = self.pid()
        enter = ["nsenter", "-t", str(first), "--mount", "--uts", "--ipc", "--pid", f"--root=/proc/{first}/root", "--"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr

    def files(self):
        """All files that differ from the tree that the node was made from, with what they hold and when they last changed."""
        upper = self.folder / "upper"
        found = {}
        for path in sorted(upper.rglob("*")):
            kind = path.lstat()
            content = b""
            if path.is_symlink():
                content = os.readlink(path).encode()
            elif path.is_file():
                content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found[str(path.relative_to(upper))] = (oct(kind.st_mode), kind.st_uid, kind.st_gid, kind.st_ctime_ns, digest)
        return found


class Nodes:
    """Some nodes in a folder in memory, with one key that opens them all."""

    def __init__(self, count):
        self.tree = tree()
        self.folder = Path("/run/wright-nodes")
        self.folder.mkdir(exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", "size=4g", "wright-nodes", str(self.folder)])
        for key in ("host", "client"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(self.folder / key)])
        self.groups = groups()
        self.cpu = next((group for group in self.groups if (group / "cpuacct.usage").exists()), None)
        self.all = [Node(self, f"node-{n}", f"127.0.1.{n}") for n in range(1, count + 1)]
        host_key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        self.host_key = host_key
        (self.folder / "known_hosts").write_text("".join(f"{node.address} {host_key}\n" for node in self.all))

    def start(self):
        for node in self.all:
            node.start()
        for node in self.all:
            node.wait()
        return self

    def inventory(self, extra=""):
        """The nodes as an inventory of Ansible's, pinned to their host keys."""
        lines = ["[all]"]
        lines += [f"{node.name} ansible_host={node.address}" for node in self.all]
        lines += ["", "[all:vars]", "ansible_user=root", "ansible_python_interpreter=/usr/bin/python3"]
        lines += [f"ansible_ssh_private_key_file={self.folder}/client"]
        lines += [f"ansible_ssh_common_args=-o UserKnownHostsFile={self.folder}/known_hosts", extra]
        path = self.folder / "inventory.ini"
        path.write_text("\n".join(lines) + "\n")
        return path

    def seconds_of_cpu(self):
        """What all processes of all nodes have used so far."""
        used = sum(int((self.cpu / node.name / "cpuacct.usage").read_text()) for node in self.all)
        return used / 1e9

    def stop(self):
        for node in self.all:
            if node.process and node.process.poll() is None:
                node.kill()
        for group in self.groups:
            forget(group)


def groups():
    """Control groups for nodes to have theirs in. Without, all nodes had the same, and each systemd removed the others'. One accounts
    for their CPU time, where the kernel does that by group."""
    hierarchies = [Path("/sys/fs/cgroup") / name for name in ("cpuacct", "systemd", "unified", ".")]
    name = f"wright-nodes-{os.stat('/proc/self/ns/pid').st_ino}"
    made = [hierarchy / name for hierarchy in hierarchies if (hierarchy / "cgroup.procs").exists()]
    for group in made:
        group.mkdir(exist_ok=True)
    return made


def forget(group):
    """Removes a control group and those below; one that still is in use stays, the kernel has no more of it than a name."""
    for folder, _, _ in os.walk(group, topdown=False):
        for _ in range(50):
            try:
                os.rmdir(folder)
                break
            except OSError:
                time.sleep(0.1)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Fault(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    reason = missing()
    if reason:
        sys.exit(f"skipped: {reason}")
    private()
    nodes = Nodes(int(sys.argv[1]))
    try:
        nodes.start()
        about = {
            "folder": str(nodes.folder),
            "inventory": str(nodes.inventory()),
            "key": f"{nodes.folder}/client",
            "known_hosts": f"{nodes.folder}/known_hosts",
            "nodes": [{"name": node.name, "address": node.address} for node in nodes.all],
            "cpu": str(nodes.cpu) if nodes.cpu else None,
        }
        print(json.dumps(about), flush=True)
        sys.stdin.read()
    finally:
        nodes.stop()


if __name__ == "__main__":
    main()
