#!/usr/bin/env python3
"""Callers of a server that is being restarted: callers.py URL FILE [AUTHORITY].

Four threads ask without a pause until FILE is there: two with a new connection for every request, two keep theirs as
long as the server lets them. Whatever is refused, broken off, or answered with anything but 200 is a failure. A server may
close a kept connection just when a request sets out on it: where not a byte of an answer came, the request is sent once
more on a new connection, as clients do (RFC 9112, 9.3.1; Go's http.Transport). Prints one line: requests, failures, the
longest wait in seconds, and how many requests were sent once more.
"""

import http.client
import os
import ssl
import sys
import threading
import time
from urllib.parse import urlsplit

url, done = urlsplit(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None
lock = threading.Lock()
requests, failures, longest, again = 0, [], 0.0, 0


def connection():
    if context:
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=60, context=context)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=60)


def ask(kept):
    kept.request("GET", url.path)
    return kept.getresponse()


def caller(keeps):
    global requests, longest, again
    kept = None
    while not os.path.exists(done):
        began = time.monotonic()
        try:
            try:
                used = kept is not None
                kept = kept or connection()
                answer = ask(kept)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if not used:
                    raise
                with lock:
                    again += 1
                kept = connection()
                answer = ask(kept)
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}")
            if answer.will_close or not keeps:
                kept.close()
                kept = None
            failed = None
        except Exception as error:  # whatever it is, a client saw it
            failed = f"{'kept' if keeps else 'new'}: {type(error).__name__}: {error}"
            kept = None
        with lock:
            requests += 1
            longest = max(longest, time.monotonic() - began)
            if failed:
                failures.append(failed)
        time.sleep(0.01)


threads = [threading.Thread(target=caller, args=(number % 2 == 1,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"requests={requests} failures={len(failures)} longest={longest:.1f} again={again}")
for failure in failures[:10]:
    print(failure)
