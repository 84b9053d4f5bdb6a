"""craft-store against a running hallmark: the client of the snap store with e-mail and password, the client with a
token, the gateway; and credentials made by hand, which need no login.

usage: craft.py SERVER BRAND TRACKED FILE..., with PASSWORD and TOKEN (of pat's `hallmark token create`) in the
environment. The FILEs are two revisions of a snap `crafted` that nobody registered; TRACKED is a snap of pat's that may
have tracks.
"""

import base64
import json
import os
import pathlib
import sys
import time

import craft_store
import httpx
import keyring
from craft_store import endpoints, errors, models
from craft_store.auth import Auth, MemoryKeyring
from craft_store.login import UbuntuOneLogin
from craft_store.publisher import PublisherGateway

from report import attempt, differences, holds, refused, tally

server, brand, tracked, *files = sys.argv[1:]
files = [pathlib.Path(file) for file in files]
password, secret = os.environ["PASSWORD"], os.environ["TOKEN"]
snap = "crafted"
keyring.set_keyring(MemoryKeyring())
refusals = (errors.CraftStoreError, httpx.HTTPStatusError)
common = {"application_name": "tests", "user_agent": "tests/1"}


def email(name):
    return f"{name}@{brand}.example"


def u1_client(**more):
    return craft_store.UbuntuOneStoreClient(
        base_url=server, storage_base_url=server, auth_url=server, endpoints=endpoints.U1_SNAP_STORE, **common, **more
    )


def u1_login(name, permissions, **more):
    client = u1_client(ephemeral=True)
    more = {"email": email(name), "password": password, "ttl": 3600, "description": "tests"} | more
    credentials = client.login(permissions=permissions, **more)
    return client, credentials


def is_pat(answer):
    return answer["account"]["email"] == email("pat")


who = {
    "account": {"email": "string", "id": "string", "name": "string", "username": "string", "display-name": "string"},
    "channels": "any", "packages": "any", "permissions": "any",
}  # fmt: skip

# --- e-mail and password ---
everything = [
    "package_access", "package_manage", "package_metrics", "package_push", "package_register", "package_release",
    "package_update",
]  # fmt: skip
refused("u1: a wrong password is refused", lambda: u1_login("pat", everything, password="nonsense"), refusals)
logged_in = attempt("u1: login", lambda: u1_login("pat", everything))
if not logged_in:
    sys.exit(tally("craft"))
pat, credentials = logged_in
answer = attempt("u1: whoami", pat.whoami, lambda a: differences(who, a), holds("it is pat", is_pat))
attempt("u1: expires says no zone, or is not there", pat.whoami, holds("none", lambda a: not str(a.get("expires", "")).endswith("Z")))
refused("u1: login again while logged in is refused by the client", lambda: pat.login(
    permissions=everything, description="tests", ttl=60, email=email("pat"), password=password), errors.CredentialsAlreadyAvailable)  # fmt: skip
attempt("u1: register_name", lambda: pat.register_name(snap, entity_type="snap"), holds("an id", lambda a: len(a) > 0))
refused("u1: register_name again", lambda: pat.register_name(snap, entity_type="snap"), errors.StoreServerError)
attempt("u1: register_name, private", lambda: pat.register_name("crafted-secret", entity_type="snap", private=True))
names = attempt(
    "u1: list_registered_names",
    lambda: {n.name: n for n in pat.list_registered_names(include_collaborations=True)},
    holds("both", lambda a: {snap, "crafted-secret"} <= set(a)),
    holds("one is private", lambda a: a["crafted-secret"].private and not a[snap].private),
)
attempt("u1: unregister_name", lambda: pat.unregister_name("crafted-secret"))


def upload(client, file):
    """Through storage and the gateway's routes; returns the review."""
    upload_id = client.upload_file(filepath=file)
    request = models.revisions_model.RevisionsRequestModel(**{"upload-id": upload_id})
    url = client.notify_revision(name=snap, revision_request=request).status_url
    if not url.startswith("/v1/"):
        raise ValueError(f"the status URL must be a path: {url!r}")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        (review,) = client.request("GET", server + url).json()["revisions"]
        if review["status"] in ("approved", "rejected"):
            return review
        time.sleep(0.5)
    raise TimeoutError(f"still {review}")


def push(client, file):
    """Through storage and the routes of the snap store, as snapcraft does; returns the last status."""
    upload_id = client.upload_file(filepath=file)
    body = {"name": snap, "series": "16", "updown_id": upload_id, "source_uploaded": False}
    client.request("POST", f"{server}/dev/api/snap-push/", json={"name": snap, "dry_run": True})
    body["binary_filesize"] = file.stat().st_size
    url = client.request("POST", f"{server}/dev/api/snap-push/", json=body).json()["status_details_url"]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status = client.request("GET", url).json()
        if status["code"] and status["processed"]:
            return status
        time.sleep(0.5)
    raise TimeoutError(f"still {status}")


approved = holds("approved", lambda a: a["status"] == "approved")
attempt(
    "u1: upload, push, status",
    lambda: push(pat, files[0]),
    holds("revision 1", lambda a: a["revision"] == 1 and a["code"] == "ready_to_release" and not a["errors"]),
)
attempt(
    "u1: the revisions",
    lambda: pat.request("GET", f"{server}/api/v2/snaps/{snap}/releases").json()["revisions"],
    holds("one", lambda a: [r["revision"] for r in a] == [1]),
    holds("its digest in hex", lambda a: len(a[0]["sha3-384"]) == 96),
)
release = models.release_request_model.ReleaseRequestModel
attempt("u1: release", lambda: pat.release(name=snap, release_request=[release(channel="edge", revision=1, resources=[])]))
releases = attempt(
    "u1: get_list_releases",
    lambda: pat.get_list_releases(name=snap),
    holds("1 in edge", lambda a: [(m.channel, m.revision) for m in a.channel_map] == [("latest/edge", 1)]),
    holds("all channels", lambda a: {"latest/stable", "latest/edge"} <= {c.name for c in a.package.channels}),
)

# A login that may do less.
package = endpoints.Package(package_name=snap, package_type="snap")
limited = attempt(
    "u1: login for one snap and channel", lambda: u1_login("pat", ["package_access", "package_release"], packages=[package], channels=["edge"])
)
if limited:
    less, _ = limited
    attempt("u1: whoami says what it may do", less.whoami, holds("edge", lambda a: a["channels"] == ["edge"]))
    attempt("u1: it releases to that channel", lambda: less.release(name=snap, release_request=[release(channel="edge", revision=1, resources=[])]))
    refused(
        "u1: it releases to no other",
        lambda: less.release(name=snap, release_request=[release(channel="stable", revision=1, resources=[])]),
        errors.StoreServerError,
    )
    refused("u1: it registers nothing", lambda: less.register_name("crafted-less", entity_type="snap"), errors.StoreServerError)
other = attempt("u1: another person logs in", lambda: u1_login("sam", everything))
if other:
    refused(
        "u1: who is not the publisher releases nothing",
        lambda: other[0].release(name=snap, release_request=[release(channel="stable", revision=1, resources=[])]),
        errors.StoreServerError,
    )

# Credentials that were exported.
os.environ["TESTS_CREDENTIALS"] = credentials
attempt("u1: exported credentials need no login", lambda: u1_client(environment_auth="TESTS_CREDENTIALS").whoami(), holds("it is pat", is_pat))
value = json.loads(base64.b64decode(credentials))["v"]
answer = httpx.post(f"{server}/api/v2/tokens/refresh", json={"discharge_macaroon": value["d"]})
attempt("u1: a discharge is refreshed", lambda: answer.json()["discharge_macaroon"], holds("one", lambda a: len(a) > 0))
os.environ["TESTS_CREDENTIALS"] = base64.b64encode(
    json.dumps({"t": "u1-macaroon", "v": {"r": value["r"], "d": value["r"]}}).encode()
).decode()
refused("u1: a discharge that is none is refused", lambda: u1_client(environment_auth="TESTS_CREDENTIALS").whoami(), errors.StoreServerError)

# --- a token, as on premises ---
onprem = endpoints.Endpoints(
    namespace="snap", whoami="/v1/tokens/whoami", tokens="", tokens_exchange="/v1/tokens/offline/exchange",
    valid_package_types=["snap"], list_releases_model=models.SnapListReleasesModel,
)  # fmt: skip


class OnPremises(craft_store.BaseClient):
    """What snapcraft does with SNAPCRAFT_STORE_AUTH=onprem."""

    admin_macaroon = secret

    def _get_macaroon(self, token_request):
        return self.admin_macaroon

    def _get_discharged_macaroon(self, root_macaroon, **_):
        response = self.http_client.request(
            "POST", self._base_url + self._endpoints.tokens_exchange, json={"macaroon": root_macaroon}
        )
        return json.dumps({"t": "macaroon", "v": response.json()["macaroon"]})

    def _get_authorization_header(self):
        return "macaroon " + json.loads(self._auth.get_credentials())["v"]


for prefix in "", "/publishergw":
    label = f"onprem{prefix}"
    client = OnPremises(base_url=server + prefix, storage_base_url=server, endpoints=onprem, ephemeral=True, **common)
    if attempt(f"{label}: login", lambda: client.login(permissions=[], description="tests", ttl=60)) is None:
        continue
    attempt(f"{label}: whoami", client.whoami, lambda a: differences(who, a), holds("it is pat", is_pat))
    attempt(f"{label}: list_revisions", lambda: client.list_revisions(snap))
    attempt(f"{label}: get_list_releases", lambda: client.get_list_releases(name=snap))
    attempt(f"{label}: account, as newer snapcraft asks for it", lambda: client.request("GET", f"{server}{prefix}/dev/api/account").json(),
        holds("the snap", lambda a: a["snaps"]["16"][snap]["status"] == "Approved"),
        holds("both spellings", lambda a: a["account-keys"] == a["account_keys"] and a["id"] == a["account_id"]))  # fmt: skip
    if not prefix:
        attempt(f"{label}: upload, notify, review", lambda: upload(client, files[1]), approved, holds("2", lambda a: a["revision"] == 2))
        attempt(f"{label}: the same bytes are the same revision", lambda: upload(client, files[1]), approved, holds("2", lambda a: a["revision"] == 2))
        attempt(f"{label}: what is no snap is rejected", lambda: upload(client, pathlib.Path(__file__)),
            holds("rejected with a reason", lambda a: a["status"] == "rejected" and a["errors"][0]["code"] and a["errors"][0]["message"]))  # fmt: skip
    post = lambda body: client.request("POST", f"{server}{prefix}/v1/snap/{snap}/releases", json=body)  # noqa: B023, E731
    attempt(f"{label}: release", lambda: post([{"revision": 2, "channel": "beta"}]))
    attempt(f"{label}: close", lambda: post([{"revision": None, "channel": "beta"}]))
    attempt(f"{label}: it is closed", lambda: client.get_list_releases(name=snap),
        holds("no beta", lambda a: "latest/beta" not in [m.channel for m in a.channel_map if m.revision]))  # fmt: skip
    for path in f"/api/v2/snaps/{snap}/channel-map", f"/api/v2/snaps/{snap}/releases", "/api/v2/tokens/whoami":
        attempt(f"{label}: GET {path.replace(snap, '<snap>')}", lambda: client.request("GET", server + prefix + path).json())


class WrongSecret(OnPremises):
    admin_macaroon = "nonsense"


wrong = WrongSecret(base_url=server, storage_base_url=server, endpoints=onprem, ephemeral=True, **common)
refused("onprem: a secret that is none is refused", lambda: wrong.login(permissions=[], description="", ttl=60), errors.StoreServerError)
os.environ["TESTS_CREDENTIALS"] = base64.b64encode(json.dumps({"t": "macaroon", "v": secret}).encode()).decode()
client = OnPremises(
    base_url=server, storage_base_url=server, endpoints=onprem, environment_auth="TESTS_CREDENTIALS", **common
)
attempt("onprem: credentials made from the token need no login", client.whoami, holds("it is pat", is_pat))

# --- the gateway ---
keyring.set_keyring(MemoryKeyring())
store_auth = Auth("tests", server.removeprefix("http://"))
attempt(
    "gateway: login",
    lambda: UbuntuOneLogin.login_with(
        email("pat"), password, base_url=server, login_url=server, application_name="tests", store_auth=store_auth,
        permissions=["account-view-packages", "account-register-package", "package-manage", "package-view"],
    ),
)  # fmt: skip
refused(
    "gateway: a wrong password is refused",
    lambda: UbuntuOneLogin.login_with(
        email("pat"), "nonsense", base_url=server, login_url=server, application_name="tests-wrong",
        store_auth=Auth("tests-wrong", "nowhere"), permissions=["package-view"],
    ),
    errors.UbuntuOneCredentialsError,
)  # fmt: skip
gateway = PublisherGateway.with_ubuntu_one(server, "snap", auth=store_auth, application_name="tests")
attempt("gateway: whoami", gateway.whoami, holds("it is pat", is_pat))
attempt("gateway: the permissions have hyphens", gateway.whoami, holds("so", lambda a: "package-manage" in a["permissions"]))
for bool_ in False, True:
    attempt(f"gateway: list_registered_names({bool_})", lambda: [n.name for n in gateway.list_registered_names(bool_)], holds(snap, lambda a: snap in a))
attempt("gateway: register_name", lambda: gateway.register_name("crafted-two", entity_type="snap", private=True))
refused("gateway: register_name again", lambda: gateway.register_name("crafted-two", entity_type="snap"), refusals)
attempt("gateway: get_package_metadata", lambda: gateway.get_package_metadata(snap), holds("its name", lambda a: a.name == snap))
refused("gateway: a track of a snap that is not there", lambda: gateway.create_tracks("crafted-nobody", {"name": "2.0"}), refusals)
refused("gateway: metadata of a snap that is not there", lambda: gateway.get_package_metadata("crafted-nobody"), refusals)
attempt("gateway: unregister_name", lambda: gateway.unregister_name("crafted-two"))
attempt("gateway: list_revisions", lambda: gateway.list_revisions(snap), holds("two, newest first", lambda a: [r.revision for r in a] == [2, 1]))
attempt("gateway: list_revisions of one", lambda: gateway.list_revisions(snap, revision=1), holds("one", lambda a: [r.revision for r in a] == [1]))
attempt("gateway: create_tracks", lambda: gateway.create_tracks(tracked, {"name": "2.0"}), holds("one", lambda a: a == 1))
attempt(
    "gateway: release",
    lambda: gateway.release(snap, [{"channel": "stable", "revision": 1}, {"channel": "candidate/fix", "revision": 2}]),
    holds("both", lambda a: len(a) == 2),
)
attempt(
    "gateway: list_releases",
    lambda: {m.channel: m.revision for m in gateway.list_releases(snap).channel_map},
    holds("both", lambda a: a["latest/stable"] == 1 and a["latest/candidate/fix"] == 2),
)
attempt("gateway: close", lambda: gateway.release(snap, [{"channel": "candidate/fix", "revision": None}]))
refused("gateway: a revision that is not there", lambda: gateway.release(snap, [{"channel": "edge", "revision": 77}]), refusals)

sys.exit(tally("craft"))
