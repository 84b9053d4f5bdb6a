"""Clocks that jump by a day, forth and back, under a running server: clock.py

libfaketime moves what the server takes for the time; how long things last (CLOCK_MONOTONIC) stays true, as on a real machine
whose clock is set. Devices register all the time, some hold a request-id or a session across the jump.
"""

import json
import os
import subprocess
import sys
import time

from line import Book, Load, Station, header
from vault import BRAND, MODEL, Fault, Vault, keys, must, say, wait

DAY = 24 * 3600
# Where the clock goes, from the right time; the last but one is before the keys were made.
JUMPS = [0, DAY, 0, -DAY, 0, DAY, -DAY, -4 * DAY, 0]
# What a device may be told while the clock is wrong (docs/devices.md); 401 of a session makes it fetch a new one.
REFUSALS = ["200", "400 invalid-nonce", "503"]


def library():
    listed = subprocess.run(["dpkg-query", "--listfiles", "libfaketime"], capture_output=True, text=True, check=True)
    return next(line for line in listed.stdout.splitlines() if line.endswith("/libfaketimeMT.so.1"))


class Clock:
    def __init__(self, work):
        self.path = os.path.join(work, "clock")
        self.set(0)
        self.settings = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": self.path,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, seconds):
        part = self.path + ".part"
        with open(part, "w") as file:
            file.write(f"{seconds:+d}\n")
        os.rename(part, self.path)


def pending(station, key, serial):
    """A serial-request with an id of now, to be sent later."""
    status, body = station.ask("POST", "/v1/request-id")
    must(status == 200, f"no request-id: {status} {body[:200]!r}")
    headers = {"brand-id": BRAND, "model": MODEL, "serial": serial, "device-key": key.encoded}
    return key.signed("serial-request", headers | {"request-id": json.loads(body)["request-id"]})


class Shopper:
    """A device with a session in the store."""

    def __init__(self, vault, key, serial, now):
        self.vault, self.key, self.serial, self.macaroon = vault, key, serial, ""
        headers = {"type": "model", "authority-id": BRAND, "series": "16", "brand-id": BRAND, "model": MODEL, "store": BRAND}
        headers |= {"architecture": "amd64", "classic": "true", "timestamp": stamp(now)}
        self.model = vault.run("model", "sign", vault.written("model.json", json.dumps(headers))).stdout

    def post(self, path, body, headers=None):
        station = Station(self.vault.address, self.vault.api_key)
        return station.ask("POST", path, json.dumps(body).encode(), "application/json", headers)

    def open(self, now):
        """A new session: the status of the answer."""
        nonce = json.loads(self.post("/api/v1/snaps/auth/nonces", {})[1])["nonce"]
        headers = {"brand-id": BRAND, "model": MODEL, "serial": header(self.serial, "serial"), "nonce": nonce}
        request = self.key.signed("device-session-request", headers | {"timestamp": stamp(now)})
        documents = {"device-session-request": request.decode(), "serial-assertion": self.serial.decode()}
        status, body = self.post("/api/v1/snaps/auth/sessions", documents | {"model-assertion": self.model})
        if status == 200:
            self.macaroon = json.loads(body)["macaroon"]
        return status

    def refresh(self):
        """A refresh with the session there is: the status of the answer."""
        session = {"snap-device-authorization": f'Macaroon root="{self.macaroon}"', "snap-device-architecture": "amd64"}
        return self.post("/v2/snaps/refresh", {"context": [], "actions": [], "fields": []}, session)[0]


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def main():
    say("clocks that jump")
    work = os.environ["FAULTS_WORK"]
    vault, book, device_keys, clock = Vault(work, os.path.join(work, "data")), Book(), keys(), Clock(work)
    # Made three days ago, so that yesterday is a time when its keys are valid.
    clock.set(-3 * DAY)
    own, vault.environment = vault.environment, vault.environment | clock.settings
    vault.make()
    vault.environment, vault.clock = own, clock.settings
    must(vault.stop() == 0, "the server does not stop in order")
    vault.serve()
    station = Station(vault.address, vault.api_key)
    must(station.register(device_keys[0], BRAND, MODEL, "first", book), f"no registration: {book.told()}")

    shopper = Shopper(vault, device_keys[0], book.serials[0][2], time.time() - 3 * DAY)
    must(shopper.open(time.time() - 3 * DAY) == 200, "no session")
    for number, offset in enumerate(JUMPS):
        held = pending(station, device_keys[1], f"held-{number}")
        load = Load(vault, book, device_keys, devices=4)
        time.sleep(1)
        book.told(), book.told("request-id")
        clock.set(offset)
        time.sleep(2.5)
        told, ids = book.told(), book.told("request-id")
        # What was under way at the jump still has the answer of before it.
        early = min(offset, JUMPS[number - 1] if number else offset) < -3 * DAY
        allowed = [*REFUSALS, "400 signing-key"] if early else REFUSALS
        for answers in (told, ids):
            strange = {what: count for what, count in answers.items() if not any(str(what).startswith(one) for one in allowed)}
            must(not strange, f"clock at {offset:+} s: answers {strange}")
        status, body = station.ask("POST", "/v1/serial", held, "application/x.ubuntu.assertion")
        must(status in (200, 400, 503), f"a request-id from before the jump: {status} {body[:200]!r}")
        # A session that ended is answered with 401, and the device opens another one, as snapd does.
        before = shopper.refresh()
        must(before in (200, 401), f"clock at {offset:+} s: a session from before the jump: {before}")
        if before == 401:
            opened = shopper.open(time.time() + offset)
            must(opened == 200 and shopper.refresh() == 200, f"clock at {offset:+} s: no new session: {opened}")
        load.stop()
        made = book.serials[-1][2]
        now = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + offset))
        say(
            f"     clock at {offset:+6} s: registrations {told}, request-id of before: {status}, session: {before}, "
            f"last serial dated {header(made, 'timestamp')} (it is {now})"
        )
        if offset > -3 * DAY:
            must(told.get(200), f"clock at {offset:+} s: nobody registers: {told}")
        if offset == 0:
            wait(10, lambda: station.register(device_keys[0], BRAND, MODEL, "first", book), "no registration at the right time")
            must(vault.get("/readyz")[0] == 200, "/readyz is not good")
            vault.log_in()  # a log-in ends after a while
            vault.holds(book)
    vault.verified()
    must(vault.stop() == 0, "the server does not stop in order")
    vault.clock = {}
    vault.serve()
    vault.holds(book)
    vault.verified()
    must(vault.stop() == 0, "the server does not stop in order")
    vault.sound()
    say(f"ok   {len(book.serials)} serials across {len(JUMPS) - 1} jumps, none twice, all there")


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        sys.exit(f"FAIL {fault}")
