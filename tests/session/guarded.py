"""A small service of somebody else's, guarded by `keystonemiddleware`: `guarded.py SETTINGS`, run by the Python of the official clients.

SETTINGS is JSON: what goes into the middleware's section of a configuration file. It prints its port, and answers each request that the
middleware lets through with what the middleware told of the caller. It knows no cloud."""

import json
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from keystonemiddleware import auth_token

TOLD = (
    "HTTP_X_IDENTITY_STATUS", "HTTP_X_USER_ID", "HTTP_X_USER_NAME", "HTTP_X_USER_DOMAIN_ID", "HTTP_X_PROJECT_ID", "HTTP_X_PROJECT_NAME",
    "HTTP_X_PROJECT_DOMAIN_ID", "HTTP_X_ROLES", "HTTP_X_SERVICE_CATALOG", "HTTP_X_SERVICE_IDENTITY_STATUS",
)


def tell(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({name.removeprefix("HTTP_X_").lower(): environ.get(name) for name in TOLD}).encode()]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


server = make_server("127.0.0.1", 0, auth_token.AuthProtocol(tell, json.loads(sys.argv[1])), handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
