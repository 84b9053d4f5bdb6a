//! The command line of the store: the real program against a served shop, its output as documented.

use std::collections::{BTreeMap, BTreeSet};

use hallmark::domain::catalog::DeviceReport;
use hallmark::domain::ident::DeviceId;
use hallmark::ports::{Change, Commit};
use serde_json::{Value, json};

use super::shop::*;
use crate::cli::{differences, documented};

/// Verbs that print what another one prints.
const LIKE: [(&str, &str); 22] = [
    ("validation-set create", "validation-set show"),
    ("snap override", "snap overrides"),
    ("snap grant enable", "snap grant list"),
    ("snap grant disable", "snap grant list"),
    ("snap grant confirm", "snap grant list"),
    ("snap review approve", "snap review show"),
    ("snap review reject", "snap review show"),
    ("snap review ask", "snap review show"),
    ("snap review rerun", "snap review show"),
    ("snap review answer", "snap review show"),
    ("store create", "store show"),
    ("store settings", "store show"),
    ("snap invites", "snap accept-invite"),
    ("snap reject-invite", "snap accept-invite"),
    ("snap revoke-invite", "snap accept-invite"),
    ("snap register", "snap list"),
    ("snap edit", "snap list"),
    ("snap release", "snap list"),
    ("snap close", "snap list"),
    ("snap track add", "snap list"),
    ("snap track remove", "snap list"),
    ("snap track guard", "snap list"),
];

#[tokio::test]
async fn json_output_is_as_documented() {
    let shop = Shop::new().await;
    let mut printed: BTreeMap<&str, Value> = BTreeMap::new();
    let mut print = |verb, value| printed.insert(verb, value);
    let json = async |who: &str, arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        shop.json(who, &arguments).await
    };
    let more = "base: core22\ngrade: stable\narchitectures: [amd64]\ncomponents: {more: {type: standard}}\n";
    let file = shop.file("gizmo.snap", snap_file("gizmo", "1.0", more));
    let component = shop.file("gizmo+more.comp", component_file("gizmo", "more", ""));
    let add =
        format!("snap add {file} --store acme --publisher acme --release stable --component {component}");
    print("snap add", json("brand", &add).await);
    let one = async |who: &str, arguments: &str| json!([json(who, arguments).await]);
    print("snap list", json("view", "snap list").await);
    print("snap show", json("view", "snap show gizmo").await);
    let register = "snap register widget --publisher acme --private";
    print("snap register", one("brand", register).await);
    let edit = "snap edit gizmo --title Gizmo --categories art,games";
    print("snap edit", one("brand", edit).await);
    let release = "snap release gizmo 1 beta edge/fix --percentage 50";
    print("snap release", one("brand", release).await);
    let close = "snap close gizmo beta --architecture amd64";
    print("snap close", one("brand", close).await);
    let pin = "snap override gizmo stable=1 --store acme";
    print("snap override", json("admin", pin).await);
    print("snap overrides", json("admin", "snap overrides gizmo").await);
    let unpin = "snap delete-override gizmo stable";
    print("snap delete-override", json("admin", unpin).await);
    // Invites to help: accepted and taken back again, and rejected.
    for (email, verb, word) in [
        ("view@people.example", "snap accept-invite", "Accepted"),
        ("rev@people.example", "snap reject-invite", "Rejected"),
    ] {
        let sent = json("brand", &format!("snap invite gizmo {email}")).await;
        let token = shop.file("token", sent["token"].as_str().unwrap());
        print("snap invite", sent);
        let who = email.split('@').next().unwrap();
        let answered = json(who, &format!("{verb} {token}")).await;
        assert_eq!(answered["status"], word);
        print(verb, answered);
    }
    let listed = json("brand", "snap invites gizmo").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    print("snap invites", listed[0].clone());
    let revoke = "snap revoke-invite gizmo view@people.example";
    print("snap revoke-invite", json("brand", revoke).await);
    let key = json!({"name": "sets", "purposes": ["validation-set"]});
    shop.call("brand", "POST", "/keys", key).await.ok();
    let create = "validation-set create gate-base 1 gizmo=1 --key sets";
    print("validation-set create", json("brand", create).await);
    print("validation-set list", json("view", "validation-set list").await);
    let show = "validation-set show gate-base";
    print("validation-set show", json("view", show).await);
    print(
        "snap track guard",
        one("admin", "snap track guard gizmo [0-9]+").await,
    );
    print("snap track add", one("brand", "snap track add gizmo 2").await);
    print(
        "snap track remove",
        one("brand", "snap track remove gizmo 2").await,
    );
    let waits = shop.file(
        "waits.snap",
        snap_file("gizmo", "2.0", "plugs: {snapd-control: null}\n"),
    );
    json("brand", &format!("snap add {waits} --release edge")).await;
    print("snap review list", json("rev", "snap review list").await);
    print("snap review show", json("view", "snap review show gizmo 2").await);
    for (who, verb) in [
        ("rev", "snap review ask"),
        ("brand", "snap review answer"),
        ("rev", "snap review rerun"),
        ("rev", "snap review reject"),
        ("rev", "snap review approve"),
    ] {
        let arguments = format!("{verb} gizmo 2 --comment why");
        print(verb, json(who, &arguments).await);
    }
    let rules = shop.file("rules.yaml", "plugs:\n  home:\n    allow-auto-connection: true\n");
    print(
        "snap declare",
        json("rev", &format!("snap declare gizmo {rules}")).await,
    );
    let enable = "snap grant enable gizmo camera --comment sees";
    print("snap grant enable", json("rev", enable).await);
    let enable = "snap grant enable gizmo docker-support --attribute installation --on-store acme";
    json("rev", enable).await;
    print("snap grant list", json("view", "snap grant list gizmo").await);
    let confirm = "snap grant confirm gizmo docker-support --attribute installation";
    print("snap grant confirm", json("admin", confirm).await);
    print(
        "snap grant disable",
        json("rev", "snap grant disable gizmo camera").await,
    );
    let create = "store create acme-gate --name Gates --parent acme --kind ecosystem";
    print("store create", json("admin", create).await);
    let keep = "store settings acme --keep-unreleased 5 --snap-name-prefixes acme-,gizmo,widget";
    json("operator", keep).await;
    let settings = "store settings acme-gate --private true --manual-review-policy avoid --store-whitelist= \
                    --allowed-inclusion-source-stores acme,acme";
    print("store settings", json("operator", settings).await);
    print("store connect", json("admin", "store connect acme").await);
    print("store list", json("view", "store list").await);
    print("store show", json("view", "store show acme-gate").await);
    print(
        "store include",
        json("admin", "store include acme-gate gizmo").await,
    );
    print("store snaps", json("view", "store snaps acme-gate").await);
    print(
        "store exclude",
        json("admin", "store exclude acme-gate gizmo").await,
    );

    let documented = documented();
    let mut wrong = Vec::new();
    for (verb, actual) in &printed {
        let like = LIKE.iter().find(|(other, _)| other == verb);
        match documented.get(like.map_or(*verb, |(_, like)| like)) {
            Some(example) => wrong.extend(differences(verb, example, actual)),
            None => wrong.push(format!("{verb}: not in docs/cli-json.md")),
        }
    }
    assert_eq!(wrong, [""; 0]);
    let ours = documented.keys().filter(|verb| {
        ["store ", "snap ", "validation-set "]
            .iter()
            .any(|noun| verb.starts_with(noun))
    });
    let untested: BTreeSet<&String> = ours.filter(|verb| !printed.contains_key(verb.as_str())).collect();
    assert_eq!(untested, BTreeSet::new(), "documented, but not run here");
}

#[tokio::test]
async fn stores_are_managed_from_a_terminal() {
    let shop = Shop::new().await;
    let made = shop
        .run(
            "admin",
            &[
                "store",
                "create",
                "acme-gate",
                "--name",
                "Gates",
                "--parent",
                "acme",
            ],
        )
        .await;
    assert_eq!(
        (made.status, made.err.as_str()),
        (0, "store acme-gate can show snaps of acme\n")
    );
    let shown = shop.run("view", &["store", "show", "acme-gate"]).await;
    assert!(shown.out.contains("Includes from:  acme\n"), "{}", shown.out);
    let refused = shop
        .run("admin", &["store", "settings", "acme", "--store-whitelist", "x"])
        .await;
    assert!(
        refused.status == 1 && refused.err.contains("[resource-not-found]"),
        "{refused:?}"
    );
    let nothing = shop.run("admin", &["store", "settings", "acme"]).await;
    assert_eq!(nothing.status, 2, "{nothing:?}");
    let base = shop
        .run("admin", &["store", "create", "acme-2", "--name", "Second"])
        .await;
    assert!(
        base.status == 1 && base.err.contains("only the instance operator"),
        "{base:?}"
    );
    shop.json("operator", &["store", "create", "acme-2", "--name", "Second"])
        .await;
}

#[tokio::test]
async fn a_snap_goes_its_way_from_a_terminal() {
    let shop = Shop::new().await;
    let file = shop.file(
        "gizmo.snap",
        snap_file("gizmo", "1.0", "architectures: [arm64]\n"),
    );
    let add = [
        "snap",
        "add",
        &file,
        "--store",
        "acme",
        "--publisher",
        "pub-name",
        "--release",
        "edge",
    ];
    let added = shop.run("operator", &add).await;
    assert_eq!(
        (added.status, added.err),
        (0, format!("{file} is revision 1 of gizmo, in latest/edge\n"))
    );
    let again = shop.run("pub", &["snap", "add", &file]).await;
    assert_eq!(again.err, format!("{file} is already revision 1 of gizmo\n"));
    let shown = shop.run("pub", &["snap", "show", "gizmo"]).await;
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "Publisher: pub-name",
        "latest/edge arm64 1 all",
        "1 1.0 arm64 strict",
    ] {
        assert!(words(&shown.out).contains(line), "{line}: {}", shown.out);
    }
    let released = shop
        .run("pub", &["snap", "release", "gizmo", "1", "stable", "beta"])
        .await;
    assert_eq!(
        released.err,
        "revision 1 of gizmo is in latest/stable, latest/beta\n"
    );
    let list = shop.run("view", &["snap", "list"]).await;
    assert!(words(&list.out).contains("gizmo app acme no 1 1"), "{}", list.out);
    let rules = "slots:\n  home:\n    allow-connection:\n      on-classic: [ubuntu/core-desktop]\n";
    let rules = shop.file("rules", rules);
    let declared = shop.run("rev", &["snap", "declare", "gizmo", &rules]).await;
    assert_eq!(declared.status, 0, "{declared:?}");
    let note = "the declaration of gizmo has revision 1, format 7\n";
    assert!(
        declared.err.contains("warning: snapd 2.57") && declared.err.ends_with(note),
        "{declared:?}"
    );
    let bad = shop.file("bad.snap", b"no snap at all");
    let refused = shop.run("pub", &["snap", "add", &bad]).await;
    assert!(
        refused.status == 1 && refused.err.contains("[invalid-snap]"),
        "{refused:?}"
    );
    let missing = shop.run("pub", &["snap", "add", "/nowhere/x.snap"]).await;
    assert!(
        missing.status == 1 && missing.err.contains("cannot read /nowhere/x.snap"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_revision_is_reviewed_from_a_terminal() {
    let shop = Shop::new().await;
    let file = shop.file(
        "gizmo.snap",
        snap_file("gizmo", "1.0", "plugs: {snapd-control: null}\n"),
    );
    let added = shop
        .run("pub", &["snap", "add", &file, "--release", "stable"])
        .await;
    assert_eq!(
        (added.status, added.err),
        (
            0,
            format!(
                "warning: plug snapd-control needs a grant of snapd-control, which takes two persons (class C) \
                 [interface-not-granted]\n{file} is revision 1 of gizmo, ManualReviewPending\n"
            )
        )
    );
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let list = shop
        .run("rev", &["snap", "review", "list", "--status", "pending"])
        .await;
    assert!(
        words(&list.out).contains("gizmo 1 ManualReviewPending interface-not-granted latest/stable"),
        "{}",
        list.out
    );
    let shown = shop.run("rev", &["snap", "review", "show", "gizmo", "1"]).await;
    for line in [
        "State: ManualReviewPending",
        "hold interface-not-granted plug",
        "plugs snapd-control snapd-control C unsaid yes",
        "check ManualReviewPending",
    ] {
        assert!(words(&shown.out).contains(line), "{line}: {}", shown.out);
    }
    let silent = shop.run("rev", &["snap", "review", "reject", "gizmo", "1"]).await;
    assert_eq!(silent.status, 2, "{silent:?}");
    let own = shop
        .run("pub", &["snap", "review", "approve", "gizmo", "1"])
        .await;
    assert!(
        own.status == 1 && own.err.contains("[resource-not-found]"),
        "{own:?}"
    );
    let done = shop
        .run("rev", &["snap", "review", "approve", "gizmo", "1"])
        .await;
    assert_eq!(
        (done.status, done.err.as_str()),
        (0, "revision 1 of gizmo is approved\n")
    );
    assert_eq!(shop.snap("gizmo").await.releases.open.len(), 1);
}

#[tokio::test]
async fn long_lists_of_devices_come_page_by_page() {
    let shop = Shop::new().await;
    let report = |number: u32| DeviceReport {
        device: DeviceId {
            brand: BRAND.parse().unwrap(),
            model: "gate-1".parse().unwrap(),
            serial: format!("SN {number:04}").parse().unwrap(),
        },
        store: None,
        architecture: "amd64".parse().unwrap(),
        client: None,
        snaps: Vec::new(),
        seen: shop.app.clock.now(),
        heard: None,
        reverted: Vec::new(),
        wave: None,
        counted: None,
    };
    let reports = (0..2100).map(|number| Change::create(&report(number)));
    shop.commit(Commit {
        records: reports.collect(),
        ..Commit::default()
    })
    .await;
    let listed = shop.json("admin", &["device", "list"]).await;
    let serials = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["serial"].as_str().unwrap());
    assert!(serials.eq((0..2100).map(|number| format!("SN {number:04}"))));
    let few = shop.run("admin", &["device", "list", "--limit", "3"]).await;
    assert_eq!(few.out.lines().count(), 4, "{few:?}");
    assert_eq!(few.err, "there are more devices: use --limit\n");
}
