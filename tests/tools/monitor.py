"""A monitor that answers what a test tells it to, on a Unix socket."""
import json
import os
import socket
import tempfile
import threading

PARAMETERS = {"max-bandwidth": 134217728, "downtime-limit": 300, "max-cpu-throttle": 99,
              "xbzrle-cache-size": 67108864, "tls-creds": "", "x-flag": False}
CAPABILITIES = [{"capability": "auto-converge", "state": False},
                {"capability": "events", "state": True}]


class Monitor:
    """commands holds what was asked; answers maps a command to its "return" value, to an Exception
    (an error answer) or to a list (one for each time it is asked, the last one for ever)."""

    def __init__(self, **answers):
        self.answers = {"query-migrate-parameters": PARAMETERS,
                        "query-migrate-capabilities": CAPABILITIES,
                        **{k if k == "migrate_cancel" else k.replace("_", "-"): v
                           for k, v in answers.items()}}
        self.greeting = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
        self.silent = False
        self.commands = []
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "qmp")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    @property
    def address(self):
        return "unix:" + self.path

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.socket.close()
        self.directory.cleanup()

    def serve(self):
        try:
            connection, _ = self.socket.accept()
            connection.sendall(self.greeting)
            for line in connection.makefile():
                connection.sendall(self.answer(json.loads(line)))
        except OSError:
            pass

    def answer(self, request):
        name = request["execute"]
        if name != "qmp_capabilities":
            self.commands.append((name, request.get("arguments")))
        if self.silent:
            return b""
        value = self.answers.get(name, {})
        if isinstance(value, list) and name in ("query-migrate", "query-status"):
            value = value.pop(0) if len(value) > 1 else value[0]
        # An event in front, and the answer in two pieces of an odd length, over several lines.
        event = json.dumps({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}})
        kind = {"error": {"class": "GenericError", "desc": str(value)}} if isinstance(
            value, Exception) else {"return": value}
        text = json.dumps({**kind, "id": request["id"]}, indent=1)
        return (event + "\r\n" + text + "\r\n").encode()
