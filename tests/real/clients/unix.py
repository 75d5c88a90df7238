"""http.client over a unix socket: `unix.py SOCKET PATH`; prints the status."""

import http.client
import socket
import sys


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


connection = Connection(sys.argv[1])
connection.request("GET", sys.argv[2])
print(connection.getresponse().status)
