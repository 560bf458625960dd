"""A workspace of Tempest: its configuration, its runs, and what came out of them. It knows no lists of tests."""

import configparser
import csv
import io
import subprocess

from base import Fault, tail

# What the busiest machine needs for all tests; each has deadlines of its own.
PATIENCE = 3600
# Tempest's default lies in the internet; here nobody answers.
NOWHERE = "http://127.0.0.1:9/image"


class Workspace:
    """In `folder`, which is made; for the cloud that the variables of `openrc` name. `before` are words that bring a command
    to where that cloud's addresses answer."""

    def __init__(self, programs, folder, openrc, before):
        self.programs = programs
        self.before = before
        self.folder = folder
        self.openrc = openrc
        folder.mkdir()
        self.tempest("init", "workspace")
        self.folder = folder / "workspace"
        with open(self.folder / "etc/tempest.conf", "w") as file:
            self.configuration().write(file)

    def configuration(self):
        of = self.openrc
        # No interpolation: a password may have a `%`.
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict({
            "DEFAULT": {"log_file": "tempest.log", "debug": "true"},
            "oslo_concurrency": {"lock_path": self.folder / "locks"},
            "auth": {
                "use_dynamic_credentials": "true",
                "admin_username": of["OS_USERNAME"],
                "admin_password": of["OS_PASSWORD"],
                "admin_project_name": of["OS_PROJECT_NAME"],
                "admin_domain_name": of.get("OS_USER_DOMAIN_NAME", "Default"),
                # Identity and image need none.
                "create_isolated_networks": "false",
            },
            "identity": {
                "uri_v3": of["OS_AUTH_URL"],
                "region": of.get("OS_REGION_NAME", "RegionOne"),
                **({"ca_certificates_file": of["OS_CACERT"]} if "OS_CACERT" in of else {}),
            },
            "image": {
                "http_image": NOWHERE,
                "http_qcow2_image": NOWHERE,
                # Nothing takes long here; without this, one fault may cost many times five minutes.
                "build_timeout": "60",
                # Tests upload random bytes. Image refuses them where a format has a signature, so these are formats without.
                "disk_formats": "raw,ami,ari,aki,vhd,iso",
            },
            "image-feature-enabled": {"image_format_enforcement": "false"},
            # Services that this cloud does not have.
            "service_available": {"cinder": "false", "swift": "false", "horizon": "false"},
        })
        return parser

    def tempest(self, *arguments):
        """Runs the program; its output."""
        done = self.call("tempest", *arguments)
        if done.returncode != 0:
            raise Fault(f"`tempest {arguments[0]}` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def call(self, program, *arguments, output=subprocess.PIPE):
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"}
        return subprocess.run(
            [*self.before, self.programs / program, *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            text=True, cwd=self.folder, env=environment, timeout=PATIENCE,
        )

    def names(self, regex):
        """All tests whose names match."""
        lines = self.tempest("run", "--list-tests", "--regex", regex).splitlines()
        return [line for line in lines if line.startswith("tempest.")]

    def run(self, names, workers):
        """Runs the tests; for each the word for how it ended: `success`, `failure`, `skip`."""
        (self.folder / "list.txt").write_text("".join(f"{name}\n" for name in names))
        chosen = ("--load-list", "list.txt")
        output = self.folder / "run.out"
        with open(output, "w") as out:
            done = self.call("tempest", "run", "--concurrency", str(workers), *chosen, output=out)
        # In words of its own the program tells only what failed; this is all that it has kept.
        kept = subprocess.run(
            [self.programs / "stestr", "last", "--subunit"],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE,
        )
        table = subprocess.run(
            [self.programs / "subunit2csv", "--no-passthrough"],
            input=kept.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE,
        )
        rows = csv.DictReader(io.StringIO(table.stdout.decode()))
        ended = {row["test"]: row["status"] for row in rows}
        if not ended:
            raise Fault(f"tempest ran nothing, and ended with {done.returncode}: {tail(output)}")
        results = {name: ended.get(name) or of_class(name, ended) for name in names}
        # What a class of tests made could not be cleared away: that is a fault of its own.
        left = {name: word for name, word in ended.items() if name.startswith("tearDownClass") and word != "success"}
        return results | left

    def failures(self):
        """The last run in Tempest's words, without the tests that did well."""
        return self.call("stestr", "last").stdout


def of_class(name, ended):
    """A test that did not run because of its class's preparations ended as they did."""
    test_class = name.partition("[")[0].rpartition(".")[0]
    return ended.get(f"setUpClass ({test_class})", "did not run")
