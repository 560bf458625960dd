"""A callback for make_play.py: one line a task and host, with what `debug` said."""
import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = "name: say\ntype: stdout\nshort_description: one line a result\ndescription: [for make_play.py]\n"


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "say"

    def say(self, result, status):
        data = result._result
        items = data.get("results")
        task = result._task.get_name()
        host = result._host.get_name()
        for part in items if isinstance(items, list) else [data]:
            word = "skipped" if part.get("skipped") else "failed" if part.get("failed") else status
            msg = part.get("msg", "") if result._task.action.endswith("debug") and word in ("ok", "changed") else ""
            print("SAID " + json.dumps({"host": host, "task": task, "status": word, "msg": str(msg)}))

    def v2_runner_on_ok(self, result):
        self.say(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_skipped(self, result):
        self.say(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.say(result, "ignored" if ignore_errors else "failed")
