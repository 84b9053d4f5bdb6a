#!/usr/bin/env python3
"""A slow line to a server: slow_line.py SERVER-PORT SWITCH SECONDS

Prints the port it listens on, one the kernel chose: any fixed one may be in use as the near end of a connection.
Passes connections on; while the file SWITCH exists, a request that starts with `POST /v1/serial` waits first.
"""
import os
import socket
import sys
import threading
import time


def pass_on(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end, how in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
        try:
            end.shutdown(how)
        except OSError:
            pass


def requests(client, server, switch, seconds):
    try:
        while data := client.recv(65536):
            if data.startswith(b"POST /v1/serial") and os.path.exists(switch):
                time.sleep(seconds)
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main(port, switch, seconds):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", int(port)))
            except OSError:
                client.close()
                continue
            for target, args in ((requests, (client, server, switch, float(seconds))), (pass_on, (server, client))):
                threading.Thread(target=target, args=args, daemon=True).start()


main(*sys.argv[1:])
