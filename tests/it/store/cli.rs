//! The command line of the store: the real program against a served shop, its output as documented.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::shop::*;
use crate::cli::{differences, documented};

/// Verbs that print what another one prints.
const LIKE: [(&str, &str); 2] = [("store create", "store show"), ("store settings", "store show")];

#[tokio::test]
async fn json_output_is_as_documented() {
    let shop = Shop::new().await;
    let mut printed: BTreeMap<&str, Value> = BTreeMap::new();
    let mut print = |verb, value| printed.insert(verb, value);
    let json = async |who: &str, arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        shop.json(who, &arguments).await
    };
    shop.call("pub", "POST", "/snaps", json!({"name": "gizmo"}))
        .await
        .ok();
    let create = "store create acme-gate --name Gates --parent acme --kind ecosystem";
    print("store create", json("admin", create).await);
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
    let ours = documented
        .keys()
        .filter(|verb| ["store ", "snap "].iter().any(|noun| verb.starts_with(noun)));
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
