"""One line for every check, in the words of the other suites; and the comparison of answers with shapes."""

import traceback

passed = failed = 0


def ok(name):
    global passed
    passed += 1
    print(f"ok   {name}", flush=True)


def not_ok(name, *lines):
    global failed
    failed += 1
    print(f"FAIL {name}", flush=True)
    for line in [line for text in lines for line in text.splitlines()]:
        print(f"     | {line}", flush=True)


def attempt(name, call, *checks):
    """Calls; what it answers must pass every check, which returns what is wrong or nothing. Returns the answer."""
    try:
        answer = call()
        wrong = [text for check in checks for text in check(answer) or []]
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        texts = [f"{type(error).__name__}: {error}"[:500]]
        texts += [str(part)[:500] for part in (getattr(error, "errors", None), getattr(error, "error_list", None)) if part]
        not_ok(name, *texts, f"at {last.name} in {last.filename.rsplit('/', 1)[-1]}:{last.lineno}")
        return None
    if wrong:
        not_ok(name, *wrong)
    else:
        ok(name)
    return answer


def refused(name, call, kinds):
    """Calls; one of these kinds of error must come of it."""
    try:
        answer = call()
    except kinds:
        ok(name)
    except Exception as error:
        not_ok(name, f"another error: {type(error).__name__}: {error}")
    else:
        not_ok(name, f"it succeeded: {str(answer)[:300]}")


def has(text, value):
    """A check: `text` must be somewhere in what was answered, when `value` picked a part of it."""
    return lambda answer: [] if text in value(answer) else [f"no {text!r} in {value(answer)!r}"[:500]]


def holds(text, test):
    """A check: `test` must be true of what was answered."""
    return lambda answer: [] if test(answer) else [f"not so: {text}: {answer!r}"[:500]]


KINDS = {"string": str, "number": (int, float), "bool": bool}


def differences(shape, answer, where="answer"):
    """What is missing in `answer`, or of another kind than `shape` says. More keys than there are is no difference.

    A shape is a kind ("string", "number", "bool", "any"; with "?" it may be null), a list with the shape of what it
    holds, an object with the shape of each key, or with one key "*" where the keys are data.
    """
    if isinstance(shape, str):
        kind = shape.removesuffix("?")
        if kind == "any" or answer is None and kind != shape:
            return []
        if not isinstance(answer, KINDS[kind]) or isinstance(answer, bool) and kind == "number":
            return [f"{where}: {shape} expected, not {answer!r}"[:300]]
        return []
    if isinstance(shape, list):
        if not isinstance(answer, list):
            return [f"{where}: a list expected, not {answer!r}"[:300]]
        return [d for n, one in enumerate(answer) for inner in shape for d in differences(inner, one, f"{where}[{n}]")]
    if not isinstance(answer, dict):
        return [f"{where}: an object expected, not {answer!r}"[:300]]
    found = []
    for key, inner in shape.items():
        if key == "*":
            found += [d for name, one in answer.items() for d in differences(inner, one, f"{where}.{name}")]
        elif key not in answer:
            found.append(f"{where}.{key}: missing")
        else:
            found += differences(inner, answer[key], f"{where}.{key}")
    return found


def tally(name):
    print(f"{name}: {passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed else 1
