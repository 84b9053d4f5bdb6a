#!/usr/bin/env python3
"""Replace the root of trust inside a `snap` or `snapd` binary, for tests.

These programs carry their trusted account and account-key as plain text. Both are replaced in place by
assertions of exactly the same length, so nothing else in the file moves.

    swap_root.py sizes BINARY                        prints "ACCOUNT-BYTES KEY-BYTES"
    swap_root.py swap BINARY OUT ACCOUNT ACCOUNT-KEY writes OUT
"""
import re
import sys

BASE64_LINES = rb"(?:[A-Za-z0-9+/]{1,76}={0,2}\n)+"
ACCOUNT = re.compile(
    rb"type: account\nauthority-id: canonical\naccount-id: canonical\n(?:[a-z0-9-]+: [^\n]*\n)+\n" + BASE64_LINES
)
ACCOUNT_KEY = re.compile(
    rb"type: account-key\nauthority-id: canonical\n(?:revision: \d+\n)?public-key-sha3-384: [^\n]*\n"
    rb"account-id: canonical\nname: root\n(?:[a-z0-9-]+: [^\n]*\n)+\n" + BASE64_LINES + rb"\n" + BASE64_LINES
)


def only_match(pattern, data, what):
    found = list(pattern.finditer(data))
    if len(found) != 1:
        sys.exit(f"error: cannot find the trusted {what}: {len(found)} places look like it, expected one")
    return found[0].span()


def places(data):
    return only_match(ACCOUNT, data, "account"), only_match(ACCOUNT_KEY, data, "account-key")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main(args):
    match args:
        case ["sizes", binary]:
            spans = places(read(binary))
            print(*(end - start for start, end in spans))
        case ["swap", binary, out, account, key]:
            data = bytearray(read(binary))
            for (start, end), path in zip(places(bytes(data)), (account, key)):
                replacement = read(path)
                if len(replacement) != end - start:
                    sys.exit(f"error: cannot use {path}: it has {len(replacement)} bytes, {end - start} needed")
                data[start:end] = replacement
            with open(out, "wb") as file:
                file.write(data)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
