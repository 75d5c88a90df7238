"""A steady stream of requests in the background, with everything that came of it."""

import http.client
import json
import threading


class Load:
    """Four applications that ask for /v1/echo over and over until the block is left."""

    def __init__(self, port):
        self._port = port
        self._enough = threading.Event()
        self._news = threading.Condition()
        self.echoes = []
        self.failures = []

    def __enter__(self):
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, wanted, seconds=20):
        """Waits for an echo that is wanted, among those still to come."""
        with self._news:
            start = len(self.echoes)
            return self._news.wait_for(
                lambda: any(map(wanted, self.echoes[start:])), timeout=seconds
            )

    def _ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._enough.is_set():
            try:
                connection.request("GET", "/v1/echo")
                answer = connection.getresponse()
                body = answer.read()
                echo = headers_of(json.loads(body)) if answer.status == 200 else None
                failure = None if echo else f"{answer.status}: {body.decode()}"
            except (OSError, ValueError, http.client.HTTPException) as error:
                connection.close()
                echo, failure = None, repr(error)
            with self._news:
                if echo:
                    self.echoes.append(echo)
                else:
                    self.failures.append(failure)
                self._news.notify_all()


def headers_of(echo):
    return {name.lower(): value for name, value in echo["headers"]}
