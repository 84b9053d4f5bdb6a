"""Devices that register, people that publish: the load of these suites, and a book of everything that was said yes to."""

import base64
import hashlib
import http.client
import json
import os
import subprocess
import threading
import time


class Key:
    """A device key: RSA with 2048 bits, the least a vault takes, as Python signs slowly."""

    def __init__(self):
        made = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True, text=True)
        body = "".join(line for line in made.stdout.splitlines() if not line.startswith("-----"))
        _, self.n, self.e, self.d, self.p, self.q = integers(base64.b64decode(body))[:6]
        self.dp, self.dq, self.back = self.d % (self.p - 1), self.d % (self.q - 1), pow(self.q, -1, self.p)
        packet = packet_of(6, b"\x04" + bytes.fromhex("5685c180") + b"\x01" + mpi(self.n) + mpi(self.e))
        self.id = base64.urlsafe_b64encode(hashlib.sha3_384(packet).digest()).decode().rstrip("=")
        self.encoded = lines(packet)

    def sign(self, content):
        """The signature block of an assertion."""
        hashed = bytes.fromhex("0400010a00060502") + int(time.time()).to_bytes(4, "big")
        digest = hashlib.sha512(content + hashed + b"\x04\xff" + len(hashed).to_bytes(4, "big")).digest()
        info = bytes.fromhex("3051300d060960864801650304020305000440") + digest
        padded = int.from_bytes(b"\x00\x01" + b"\xff" * (256 - 3 - len(info)) + b"\x00" + info, "big")
        one, two = pow(padded, self.dp, self.p), pow(padded, self.dq, self.q)
        value = two + self.q * ((one - two) * self.back % self.p)
        return lines(packet_of(2, hashed + b"\x00\x00" + digest[:2] + mpi(value)))

    def signed(self, kind, headers):
        """An assertion with these headers, signed."""
        text = [f"type: {kind}"]
        for name, value in sorted(headers.items()):
            text.append(f"{name}:\n    " + value.replace("\n", "\n    ") if "\n" in value else f"{name}: {value}")
        text.append(f"sign-key-sha3-384: {self.id}")
        content = "\n".join(text).encode()
        return content + b"\n\n" + self.sign(content).encode() + b"\n"


def integers(der):
    """The numbers of a DER SEQUENCE of INTEGERs."""
    found, at = [], 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    while at < len(der):
        length, at = der[at + 1], at + 2
        if length & 0x80:
            more = length & 0x7F
            length, at = int.from_bytes(der[at : at + more], "big"), at + more
        found.append(int.from_bytes(der[at : at + length], "big"))
        at += length
    return found


def mpi(number):
    return number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")


def packet_of(tag, body):
    length = len(body)
    head = bytes([length]) if length < 192 else bytes([((length - 192) >> 8) + 192, (length - 192) & 0xFF])
    return bytes([1, 0xC0 | tag]) + head + body


def lines(data):
    text = base64.b64encode(data).decode()
    return "\n".join(text[at : at + 76] for at in range(0, len(text), 76))


def header(assertion, name):
    """A header of one line; none if it is not there."""
    for line in assertion.split(b"\n\n", 1)[0].decode().splitlines():
        if line.startswith(f"{name}: "):
            return line[len(name) + 2 :]
    return None


def serial_in(stream):
    """The serial assertion in a stream of assertions."""
    at = stream.find(b"type: serial\n")
    if at < 0:
        return None
    body = stream[at:]
    content, rest = body.split(b"\n\n", 1)
    # Serials have no body: a signature follows, up to the next blank line.
    signature = rest.split(b"\n\n", 1)[0]
    return content + b"\n\n" + signature.rstrip(b"\n") + b"\n"


class Book:
    """What the server acknowledged. Whatever is in here must be there after every trouble."""

    def __init__(self):
        self.lock = threading.Lock()
        self.serials = []  # (serial, revision, bytes)
        self.requests = []  # what was sent for some of them
        self.uploads = []  # (name, revision, sha3-384)
        self.tokens = []
        self.answers = {}  # how often each answer came: (call, status or why)
        self.twice = []

    def add(self, serial, assertion, request):
        revision = int(header(assertion, "revision") or 0)
        with self.lock:
            self.serials.append((serial, revision, assertion))
            self.requests.append(request)

    def note(self, call, what):
        with self.lock:
            self.answers[call, what] = self.answers.get((call, what), 0) + 1

    def told(self, call="serial"):
        """Answers to a call since the last look: status (or why there was none) to count."""
        with self.lock:
            found = {what: count for (name, what), count in self.answers.items() if name == call}
            self.answers = {key: count for key, count in self.answers.items() if key[0] != call}
        return found

    def size(self):
        with self.lock:
            return len(self.serials), len(self.uploads), len(self.tokens)


class Station:
    """One connection to a vault."""

    def __init__(self, address, api_key):
        self.address, self.api_key, self.connection = address, api_key, None

    def ask(self, method, path, body=b"", kind="", headers=None):
        """Status and body of the answer; raises OSError or HTTPException when there is none."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=30)
        sent = {"api-key": self.api_key} | ({"Content-Type": kind} if kind else {}) | (headers or {})
        try:
            self.connection.request(method, path, body=body, headers=sent)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self.connection.close()
            self.connection = None
            raise

    def register(self, key, brand, model, serial, book, clock=None):
        """A registration as snapd makes it; true if it succeeded. What came is in the book."""
        call = "request-id"
        try:
            status, body = self.ask("POST", "/v1/request-id")
            if status == 200:
                headers = {"brand-id": brand, "model": model, "serial": serial, "device-key": key.encoded}
                headers["request-id"] = json.loads(body)["request-id"]
                request = key.signed("serial-request", headers)
                call = "serial"
                status, body = self.ask("POST", "/v1/serial", request, "application/x.ubuntu.assertion")
        except (OSError, http.client.HTTPException, ValueError) as error:
            book.note(call, type(error).__name__)
            return False
        if status != 200:
            book.note(call, f"{status} {code_of(body)}".strip())
            return False
        assertion = serial_in(body)
        if assertion is None or header(assertion, "serial") != serial:
            raise AssertionError(f"an answer without our serial: {body[:200]!r}")
        book.add(serial, assertion, request)
        book.note(call, 200)
        return True


def code_of(body):
    """The code of a refusal."""
    try:
        told = json.loads(body)
        return told.get("error_subcode") or told.get("error_code") or told.get("code") or ""
    except (ValueError, AttributeError):
        return ""


class Load:
    """Devices that register until they are told to stop, in threads."""

    def __init__(self, vault, book, keys, devices=6, publish=None):
        self.vault, self.book, self.ended = vault, book, threading.Event()
        self.failed = []
        self.threads = [
            threading.Thread(target=self.run, args=(self.devices, number, keys[number % len(keys)]), daemon=True)
            for number in range(devices)
        ]
        if publish:
            self.threads.append(threading.Thread(target=self.run, args=(publish, self), daemon=True))
        for thread in self.threads:
            thread.start()

    def run(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # told by stop()
            self.failed.append(error)

    def devices(self, number, key):
        station = Station(self.vault.address, self.vault.api_key)
        count = 0
        while not self.ended.is_set():
            # A few serials again and again, for their revisions, between many new ones.
            count += 1
            serial = f"again-{number}-{count % 9}" if count % 3 == 0 else f"new-{os.urandom(6).hex()}"
            if not station.register(key, self.vault.brand, self.vault.model, serial, self.book):
                time.sleep(0.05)

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(timeout=60)
            if thread.is_alive():
                raise AssertionError("a client waits for an answer for more than a minute")
        if self.failed:
            raise self.failed[0]
