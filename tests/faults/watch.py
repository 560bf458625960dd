"""Watches an address: a new connection every 20 ms, from the lab's wires. Which machine answers it does not know."""

import selectors
import socket
import threading
import time

EVERY = 0.02
# A connection that has no answer yet is given up: the kernel would ask again after a second only.
PATIENCE = 0.3


class Watch(threading.Thread):
    """From its start to `stop`, which gives the longest time without an answer, seconds. A thread starts in the network
    namespace of the one that starts it."""

    def __init__(self, address, port):
        super().__init__(daemon=True)
        self.target = (address, port)
        self.ended = threading.Event()
        self.longest, self.last = 0, None

    def stop(self):
        self.ended.set()
        self.join()
        return self.longest

    def answered(self, now):
        self.longest = max(self.longest, now - self.last)
        self.last = now

    def run(self):
        self.last = time.monotonic()
        asked, following = selectors.DefaultSelector(), self.last
        while not self.ended.is_set():
            now = time.monotonic()
            if now >= following:
                following = now + EVERY
                one = socket.socket()
                one.setblocking(False)
                if one.connect_ex(self.target) == 0:
                    self.answered(now)
                    one.close()
                else:
                    asked.register(one, selectors.EVENT_WRITE, now)
            for key, _ in asked.select(max(0, following - time.monotonic())):
                if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    self.answered(time.monotonic())
                asked.unregister(key.fileobj)
                key.fileobj.close()
            for key in [key for key in asked.get_map().values() if now - key.data > PATIENCE]:
                asked.unregister(key.fileobj)
                key.fileobj.close()
        # An address that did not answer any more was gone until now.
        self.longest = max(self.longest, time.monotonic() - self.last)
