"""canonicalwebteam.store-api against a running hallmark: every method that a brand, a publisher or a shop window
needs. Each must succeed, and its answer must have the shape that answers.json gives; see report.differences.

usage: web.py SERVER BRAND VIEW SNAP MODEL SERIAL, with PASSWORD in the environment. SNAP is released to stable and
belongs to pat; VIEW is a store made of the brand's base store; SERIAL was issued for MODEL.
"""

import base64
import datetime
import json
import os
import pathlib
import sys

server, brand, view, snap, model, serial = sys.argv[1:]
os.environ.update(
    SNAPSTORE_DASHBOARD_API_URL=f"{server}/", PUBLISHERGW_URL=server, DEVICEGW_URL=f"{server}/"
)  # read at import

import requests  # noqa: E402
from canonicalwebteam.exceptions import StoreApiError  # noqa: E402
from canonicalwebteam.store_api.dashboard import Dashboard  # noqa: E402
from canonicalwebteam.store_api.devicegw import DeviceGW  # noqa: E402
from canonicalwebteam.store_api.publishergw import PublisherGW  # noqa: E402
from pymacaroons import Macaroon  # noqa: E402
from pymacaroons.serializers import JsonSerializer  # noqa: E402

from report import attempt, differences, holds, not_ok, refused, tally  # noqa: E402

shapes = json.loads((pathlib.Path(__file__).parent.parent / "answers.json").read_text())
unseen = set(shapes)
last = None  # the last answer on the wire: methods return only a part of it


def remember(response, *_, **__):
    global last
    last = response


http = requests.Session()
http.hooks["response"].append(remember)
dashboard, gateway, device = Dashboard(http), PublisherGW("snap", http), DeviceGW("snap", http)


def email(name):
    return f"{name}@{brand}.example"


def discharge(root, name):
    """A discharge for the root's only caveat of another party, as it comes."""
    (caveat,) = [c for c in root.caveats if c.location]
    caveat_id = caveat.caveat_id
    answer = http.post(
        f"{server}/api/v2/tokens/discharge",
        json={
            "email": email(name),
            "password": os.environ["PASSWORD"],
            "caveat_id": caveat_id.decode() if isinstance(caveat_id, bytes) else caveat_id,
        },
    )
    answer.raise_for_status()
    return Macaroon.deserialize(answer.json()["discharge_macaroon"])


def log_in(name):
    """What the web pages keep of a person: root and discharge, and the token of the gateway."""
    permissions = (  # as the web pages ask for them
        "edit_account package_access package_manage package_metrics package_register package_release package_update "
        "package_upload_request store_admin"
    ).split()
    answer = http.post(f"{server}/dev/api/acl/", json={"permissions": permissions})
    answer.raise_for_status()
    root = Macaroon.deserialize(answer.json()["macaroon"])
    session = {"macaroon_root": root.serialize(), "macaroon_discharge": discharge(root, name).serialize()}
    session["developer_token"] = gateway.exchange_dashboard_macaroons(session)
    return session


def bakery(serialized, name):
    """What goes into the header `Macaroons`: root and bound discharge."""
    try:
        root = Macaroon.deserialize(serialized, JsonSerializer())
    except Exception:
        root = Macaroon.deserialize(serialized)
    bound = root.prepare_for_request(discharge(root, name))
    both = [json.loads(one.serialize(JsonSerializer())) for one in (root, bound)]
    return base64.urlsafe_b64encode(json.dumps(both).encode()).decode()


def method(number, call, *checks, status=None):
    """Calls the method with this number in answers.json, and looks at its answer on the wire."""
    name = next(key for key in shapes if key.startswith(f"{number:03} "))
    unseen.discard(name)

    def on_the_wire(_):
        wrong = []
        if status and last.status_code != status:
            wrong.append(f"status {status} expected, not {last.status_code}: {last.text[:300]}")
        elif not last.ok:
            wrong.append(f"status {last.status_code}: {last.text[:300]}")
        elif last.status_code == 204:
            if last.content:
                wrong.append("204 with a body")
        elif shapes[name] is not None:
            wrong += differences(shapes[name], last.json())
        return wrong

    return attempt(name, call, on_the_wire, *checks)


def some(text, pick=lambda answer: answer):
    return holds(f"there is {text}", lambda answer: len(pick(answer)) > 0)


pat = attempt("pat logs in as on the web pages", lambda: log_in("pat"))
sam = attempt("sam logs in as on the web pages", lambda: log_in("sam"))
admin = attempt("the administrator logs in as on the web pages", lambda: log_in("admin"))
if not (pat and sam and admin):
    sys.exit(tally("web"))

# Macaroons and accounts.
candid = method(1, lambda: dashboard.get_macaroon(["store_admin"]))
account = method(2, lambda: dashboard.get_account(pat), holds("it is pat", lambda a: a["email"] == email("pat")))
method(3, lambda: dashboard.get_account_keys(pat))
snaps = method(4, lambda: dashboard.get_account_snaps(pat), holds(f"{snap} is pat's", lambda a: snap in a)) or {}
method(5, lambda: dashboard.get_agreement(pat))
method(6, lambda: dashboard.post_agreement(pat, True))
method(7, lambda: dashboard.post_username(pat, "pat"))
method(33, lambda: dashboard.get_account({"macaroons": bakery(candid, "pat")}))
unseen.discard("034 dashboard.get_account")
refused("034 dashboard.get_account, of nobody", lambda: dashboard.get_account({}), StoreApiError)
method(35, lambda: gateway.get_macaroon())
candid = method(36, lambda: gateway.issue_macaroon(["account-view-packages"], "tests", 3600))
method(38, lambda: gateway.exchange_macaroons(bakery(candid, "pat")))
usso = method(37, lambda: gateway.issue_usso_macaroon(3600, ["package-view"]))


def exchange_usso():
    root = Macaroon.deserialize(usso)
    return gateway.exchange_usso_macaroons(usso, discharge(root, "pat").serialize(), "tests")


method(39, exchange_usso)
token = method(40, lambda: gateway.exchange_dashboard_macaroons(pat)) or pat["developer_token"]
method(41, lambda: gateway.macaroon_info(token), holds("it is pat", lambda a: a["account"]["email"] == email("pat")))
method(
    41,
    lambda: gateway.macaroon_info(admin["developer_token"]),
    holds("the administrator may read serial logs", lambda a: "read-serial-log" in a["brand-permissions"][brand]),
)
refused("whoami of a token that is none", lambda: gateway.macaroon_info("nonsense"), StoreApiError)

# Names and what people read about them.
method(8, lambda: dashboard.post_register_name(pat, "web-one", "why", True, brand), status=201)
refused("a name of another is refused", lambda: dashboard.post_register_name(sam, snap), StoreApiError)
method(9, lambda: dashboard.post_register_name_dispute(sam, snap, "it is mine"))
snap_id = (method(10, lambda: dashboard.get_snap_info(pat, snap)) or {}).get("snap_id", "")
attempt("dashboard.get_snap_id", lambda: dashboard.get_snap_id(pat, snap), holds("the same", lambda a: a == snap_id))
method(11, lambda: dashboard.get_package_upload_macaroon(pat, snap, ["edge"]))
method(12, lambda: dashboard.snap_metadata(pat, snap_id, {"title": "Web title", "summary": "web summary"}))
attempt("dashboard.snap_screenshots", lambda: dashboard.snap_screenshots(pat, snap_id), holds("a list", lambda a: isinstance(a, list)))
refused("sam may not edit it", lambda: dashboard.snap_metadata(sam, snap_id, {"title": "Sam's"}), StoreApiError)
method(65, lambda: gateway.register_package_name(token, {"name": "web-two", "type": "snap", "private": False}))
method(62, lambda: gateway.get_account_packages(token, "snap", True), some("a package"))
method(63, lambda: gateway.get_package_metadata(pat, snap), holds("its name", lambda a: a["name"] == snap))
method(64, lambda: gateway.update_package_metadata(token, "snap", snap, {"title": "Gateway title"}))
method(66, lambda: gateway.unregister_package_name(pat, "web-two"))

# Revisions, channels, tracks.
method(13, lambda: dashboard.get_snap_revision(pat, snap_id, 1))
method(14, lambda: dashboard.snap_release_history(pat, snap), some("a release", lambda a: a["releases"]))
method(15, lambda: dashboard.snap_channel_map(pat, snap), some("a release", lambda a: a["channel-map"]))
method(16, lambda: dashboard.post_snap_release(pat, {"name": snap, "revision": "1", "channels": ["latest/edge"]}))
method(17, lambda: dashboard.post_close_channel(pat, snap_id, {"channels": ["latest/edge"]}))
refused(
    "sam may not release it",
    lambda: dashboard.post_snap_release(sam, {"name": snap, "revision": "1", "channels": ["edge"]}),
    StoreApiError,
)
today = datetime.date.today()
metric = {"snap_id": snap_id, "metric_name": "weekly_installed_base_by_version"}
metric |= {"start": str(today - datetime.timedelta(days=7)), "end": str(today)}
method(18, lambda: dashboard.get_publisher_metrics(pat, {"filters": [metric]}))
method(19, lambda: dashboard.get_validation_sets(pat))
method(20, lambda: dashboard.get_validation_set(pat, "ring"))
method(73, lambda: gateway.create_track(pat, snap, "24"), holds("made", lambda a: a.json()["num-tracks-created"] == 1))
method(74, lambda: gateway.get_releases(token, snap), some("a release", lambda a: a["channel-map"]))

# Collaborators: one invitation is revoked, one rejected, one accepted.
method(67, lambda: gateway.get_collaborators(token, snap))


def invite():
    return gateway.invite_collaborators(token, snap, [email("sam")])["tokens"][0]["token"]


method(69, invite)
method(68, lambda: gateway.get_pending_invites(token, snap), some("an invitation", lambda a: a["invites"]))
method(70, lambda: gateway.revoke_invites(token, snap, [email("sam")]), status=204)
method(72, lambda: gateway.reject_invite(sam["developer_token"], snap, invite()), status=204)
method(71, lambda: gateway.accept_invite(sam["developer_token"], snap, invite()), status=204)
attempt(
    "sam is a collaborator now",
    lambda: gateway.get_collaborators(token, snap)["collaborators"],
    some("a collaborator"),
)
attempt("sam may release it now", lambda: dashboard.post_snap_release(sam, {"name": snap, "revision": "1", "channels": ["beta"]}))

# Stores and members.
method(21, lambda: dashboard.get_stores(admin), holds("the view is there", lambda a: view in [s["id"] for s in a]))
method(22, lambda: dashboard.get_store(admin, view), holds("its id", lambda a: a["id"] == view))
method(23, lambda: dashboard.get_store_snaps(admin, brand), some("a snap"))
method(24, lambda: dashboard.get_store_snaps(admin, brand, snap[:3], view), some("a snap"))
method(29, lambda: dashboard.update_store_snaps(admin, view, {"add": [{"name": snap}]}))
shown = lambda: [s["name"] for s in dashboard.get_store_snaps(admin, view)]  # noqa: E731
attempt("the snap is in the view", shown, holds("there", lambda a: snap in a))
method(30, lambda: dashboard.update_store_snaps(admin, view, {"remove": [{"name": snap}]}))
attempt("the snap is no longer in the view", shown, holds("gone", lambda a: snap not in a))
method(26, lambda: dashboard.update_store_members(admin, view, [{"email": email("val"), "roles": ["view"]}]))
method(25, lambda: dashboard.get_store_members(admin, view), holds("val is", lambda a: email("val") in [u["email"] for u in a]))
new = "new@elsewhere.example"
method(27, lambda: dashboard.invite_store_members(admin, view, [{"email": new, "roles": ["view"]}]))
method(32, lambda: dashboard.get_store_invites(admin, view), holds("invited", lambda a: new in [i["email"] for i in a]))
for action, status in ("resend", "Pending"), ("revoke", "Revoked"), ("open", "Pending"):
    method(31, lambda: dashboard.update_store_invites(admin, view, [{"email": new, "action": action}]))
    attempt(
        f"the invitation is {status} after {action}",
        lambda: {i["email"]: i["status"] for i in dashboard.get_store_invites(admin, view)},
        holds(status, lambda a: a.get(new) == status),
    )
method(28, lambda: dashboard.change_store_settings(admin, view, {"private": True, "manual-review-policy": "require"}))
attempt(
    "the settings are kept",
    lambda: dashboard.get_store(admin, view),
    holds("require", lambda a: a["private"] and a["manual-review-policy"] == "require"),
)
refused("pat may not change members", lambda: dashboard.update_store_members(pat, view, []), StoreApiError)
refused("a store that is not there", lambda: dashboard.get_store(admin, "nowhere"), StoreApiError)

# Models, keys, policies, serials.
method(42, lambda: gateway.get_brand(admin, brand), holds("its id", lambda a: a["account-id"] == brand))
method(44, lambda: gateway.create_store_model(admin, brand, "web-a"), status=201)
method(45, lambda: gateway.create_store_model(admin, brand, "web-b", api_key="K" * 50), status=201)
method(43, lambda: gateway.get_store_models(admin, brand), holds("both", lambda a: {"web-a", "web-b"} <= {m["name"] for m in a}))
method(
    46,
    lambda: gateway.update_store_model(admin, brand, "web-a", "L" * 50),
    holds("the new API key", lambda a: a["api-key"] == "L" * 50),
)
key = (method(53, lambda: gateway.create_store_signing_key(admin, brand, "web"), status=201) or {}).get("sha3-384", "")
method(52, lambda: gateway.get_store_signing_keys(admin, brand), holds("it is there", lambda a: key in [k["sha3-384"] for k in a]))
revision = (method(50, lambda: gateway.create_store_model_policy(admin, brand, "web-a", key), status=201) or {}).get("revision", 0)
method(49, lambda: gateway.get_store_model_policies(admin, brand, "web-a"), holds("it is first", lambda a: a[0]["revision"] == revision))
attempt(
    "a key in use is not deleted",
    lambda: gateway.delete_store_signing_key(admin, brand, key),
    holds("409", lambda a: a.status_code == 409 and "used to sign at least one serial policy" in a.text),
)
method(51, lambda: gateway.delete_store_model_policy(admin, brand, "web-a", revision), status=204)
method(54, lambda: gateway.delete_store_signing_key(admin, brand, key), status=204)
days = [(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=d)).strftime("%Y-%m-%dT%H:%M:%SZ") for d in (-29, 1)]
page = {"start_time": days[0], "end_time": days[1], "page_size": 25, "cursor": None}
method(47, lambda: gateway.get_store_model_serial_logs(admin, brand, model, page), some("a serial", lambda a: a["items"]))
method(48, lambda: gateway.get_store_model_serial_log(admin, brand, model, serial, True, True), some("the serial", lambda a: a["items"]))
remodel = {"from-model": "web-a", "to-model": "web-b", "from-serial": None}
method(57, lambda: gateway.create_remodel_allowlist(admin, brand, [remodel | {"description": "x"}]), status=201)
method(55, lambda: gateway.get_remodel_allowlist(admin, brand, {"cursor": None, "page-size": None}), some("an entry", lambda a: a["allowlist"]))
chosen = {"cursor": None, "page-size": 25, "from-model": "web-a", "to-model": "web-b"}
method(56, lambda: gateway.get_remodel_allowlist(admin, brand, chosen), some("an entry", lambda a: a["allowlist"]))
method(58, lambda: gateway.update_remodel_allowlist(admin, brand, [remodel | {"description": "y"}]))
method(59, lambda: gateway.delete_remodel_allowlist(admin, brand, [remodel]))
refused("pat sees no models", lambda: gateway.get_store_models(pat, brand), StoreApiError)

# The shop window.
method(61, lambda: gateway.update_featured_snaps(admin["developer_token"], [snap_id]), status=201)
method(79, lambda: device.get_featured_snaps())
method(80, lambda: device.get_featured_items())
method(60, lambda: gateway.delete_featured_snaps(admin["developer_token"], {"packages": [snap_id]}), status=201)
method(75, lambda: device.search(snap))
method(76, lambda: device.find(snap), some("a result", lambda a: a["results"]))
method(77, lambda: device.get_item_details(snap), holds("its name", lambda a: a["name"] == snap))
method(78, lambda: device.get_categories())
method(81, lambda: device.get_public_metrics([metric | {"metric_name": "weekly_installed_base_by_country_percent"}]))
method(82, lambda: device.get_snap_details(snap, ""))
method(83, lambda: device.get_all_items(10))

for name in sorted(unseen):
    not_ok(f"{name}: not called")
sys.exit(tally("web"))
