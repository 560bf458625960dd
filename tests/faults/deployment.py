"""A deployment that is killed again and again, and goes on each time; at the end the cloud is whole, and one more run changes
nothing. It makes the lab that the other faults are done to."""

import os
import signal
import sqlite3
import subprocess
import time

from lab import Failed

SEVERAL, EVERY = "deployment", "deployment-every"
NAMES = (SEVERAL, EVERY)
# How often the first is killed, and how many tasks it has, roughly: a kill that would come later does not come.
KILLS = 10
TASKS = 500
# Nothing may take longer between two tasks, seconds.
PATIENCE = 600


def begun(lab):
    """Tasks that were begun so far; one that goes on after a kill counts once, as it is the same run."""
    try:
        with sqlite3.connect(f"file:{lab.state}/state.db?mode=ro", uri=True, timeout=5) as journal:
            return journal.execute("SELECT COUNT(*) FROM journal").fetchone()[0]
    except sqlite3.Error:
        return 0


def points(name, rng, done):
    """The tasks at which it is killed. With `EVERY` that is whenever a task begins that had not begun before: those of other
    nodes that begin with it are under way, too."""
    if name == SEVERAL:
        yield from sorted(rng.sample(range(1, TASKS), KILLS))
    while name == EVERY:
        yield (done[-1] if done else 0) + 1


def killed(lab, name, rng):
    """The lab, up after its deployment was killed. What is wrong with it."""
    if (lab.state / "state.db").exists():
        raise Failed(f"the lab in {lab.folder} is deployed already: `{name}` wants a new one")
    lab.folder.mkdir(parents=True, exist_ok=True)
    log = (lab.folder / "deployment.log").open("w")
    done = []
    for point in points(name, rng, done):
        worker = subprocess.Popen([*lab.base, "lab", "up", "--containers"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        since, last = time.monotonic(), 0
        while worker.poll() is None:
            count = begun(lab)
            if count != last:
                since, last = time.monotonic(), count
            if count >= point:
                time.sleep(rng.random() * 0.3)
                break
            if time.monotonic() - since > PATIENCE:
                os.killpg(worker.pid, signal.SIGKILL)
                raise Failed(f"the deployment stands still after {count} tasks; killed before at {done}")
            time.sleep(0.02)
        if worker.poll() is not None:
            if worker.returncode != 0:
                raise Failed(f"the deployment ended with {worker.returncode} after kills at {done}: {lab.folder}/deployment.log")
            break
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        done.append(last)
        print(f"{name}: killed at task {last}", flush=True)
    lab.wright("lab", "up", "--containers", quiet=False)
    again = lab.wright("lab", "up", "--containers")
    wrong = [] if "nothing was changed" in again else ["one more run of the deployment changes something: " + again[-2000:]]
    print(f"  killed {len(done)} times, whole; {len(wrong)} wrong", flush=True)
    for text in wrong:
        print(f"  WRONG: {text}", flush=True)
    return {"fault": name, "what": f"kill -9 of the deployment at tasks {', '.join(map(str, done))}", "wrong": wrong}
