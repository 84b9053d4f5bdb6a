//! A factory box and its centre by the real program: request, grant, devices of the line at the box, log, session at the centre.

use std::collections::BTreeMap;
use std::path::Path;

use hallmark::adapters::system::SystemClock;
use hallmark::cli::line::{Device, DeviceKey, Instance, Station};
use hallmark::ports::Clock as _;
use serde_json::Value;

use crate::cli::{differences, documented};

const BRAND: &str = "acme";
const MODEL: &str = "gate-1";

fn instance(below: &Path, name: &str) -> Instance {
    let below = below.join(name);
    std::fs::create_dir(&below).unwrap();
    Instance::new(env!("CARGO_BIN_EXE_hallmark"), &below)
}

fn json(instance: &Instance, arguments: &[&str]) -> Value {
    let printed = instance
        .run(&[arguments, &["--format", "json"]].concat())
        .unwrap();
    serde_json::from_str(&printed).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_gets_a_grant_serves_a_line_and_its_log_comes_back() {
    let below = tempfile::tempdir().unwrap();
    let file = |name: &str| below.path().join(name).display().to_string();
    let (request, grant, log) = (file("request.tar"), file("grant.tar"), file("log.tar"));
    let (centre, ulm) = (instance(below.path(), "centre"), instance(below.path(), "ulm"));
    let mut printed = BTreeMap::new();
    centre.init(BRAND).unwrap();
    let server = centre.serve().unwrap();
    let api_key = centre.create_model(&server, MODEL).unwrap();
    let made = json(&ulm, &["init", "--brand", BRAND, "--factory", "ulm"]);
    assert_eq!(made["keys"], serde_json::json!(["factory-ulm"]));
    printed.insert("init", made);

    let asked = json(&ulm, &["factory", "request", &request]);
    let key = asked["public-key-sha3-384"].as_str().unwrap().to_owned();
    printed.insert("factory request", asked);
    let again = ulm
        .run(&["factory", "request", &request])
        .unwrap_err()
        .to_string();
    assert!(again.contains("it is there already"), "{again}");
    let wanted = [
        "export",
        "factory",
        "ulm",
        &grant,
        "--request",
        &request,
        "--model",
        MODEL,
    ];
    let limits = ["--serials", "L-000..L-099", "--until", "2d", "--count", "2"];
    let granted = json(&centre, &[&wanted[..], &limits].concat());
    assert_eq!(granted["public-key-sha3-384"], key.as_str());
    let signer = granted["signer"].as_str().unwrap().to_owned();
    printed.insert("export factory", granted);
    // The box does not take it from just anybody; and it goes beside a running server too.
    let line = ulm.serve().unwrap();
    let unnamed = ulm.run(&["import", &grant]).unwrap_err().to_string();
    assert!(unnamed.contains(&signer), "{unnamed}");
    let taken = json(&ulm, &["import", &grant, "--signer", &signer]);
    assert_eq!((&taken["kind"], &taken["new"]), (&"factory".into(), &true.into()));
    assert_eq!(json(&ulm, &["import", &grant])["new"], false);
    let status = json(&ulm, &["factory", "status"]);
    assert_eq!(status["key-id"], key.as_str());
    printed.insert("factory status", status);

    let station = Station::new(&line.url, &api_key).unwrap();
    let device_key = DeviceKey::generate_many(1).unwrap().remove(0);
    let device = |serial: &str| Device {
        id: hallmark::domain::ident::DeviceId {
            brand: BRAND.parse().unwrap(),
            model: MODEL.parse().unwrap(),
            serial: serial.parse().unwrap(),
        },
        key: device_key.clone(),
    };
    let now = SystemClock.now();
    let serial = station.register(&device("L-007"), now).await.unwrap();
    station.register(&device("L-008"), now).await.unwrap();
    for (outside, code) in [("L-100", "out-of-range"), ("L-009", "quota-reached")] {
        let refused = station.register(&device(outside), now).await.unwrap_err();
        assert!(refused.to_string().contains(code), "{refused}");
    }
    let exported = json(&ulm, &["export", "log", &log]);
    assert_eq!((&exported["first"], &exported["entries"]), (&1.into(), &2.into()));
    printed.insert("export log", exported);
    line.stop().unwrap();

    let wrong_side = ulm.run(&["import", &log]);
    assert!(wrong_side.is_err());
    let taken = json(&centre, &["import", &log]);
    assert_eq!((&taken["new"], &taken["known"]), (&2.into(), &0.into()));
    let again = json(&centre, &["import", &log]);
    assert_eq!((&again["new"], &again["known"]), (&0.into(), &2.into()));
    let serials = json(&centre, &["serial", "list"]);
    assert_eq!(serials[0]["site"], "ulm");
    assert_eq!(serials.as_array().map(Vec::len), Some(2));
    let at_centre = Station::new(&server.url, &api_key).unwrap();
    let refused = at_centre.register(&device("L-050"), now).await.unwrap_err();
    assert!(refused.to_string().contains("given-to-site"), "{refused}");

    // The device goes on to the centre's store.
    let headers = serde_json::json!({
        "type": "model", "authority-id": BRAND, "series": "16", "brand-id": BRAND, "model": MODEL,
        "architecture": "amd64", "classic": "true", "store": BRAND, "timestamp": now.to_string(),
    });
    let path = below.path().join("model.json");
    std::fs::write(&path, headers.to_string()).unwrap();
    let model = centre
        .run(&["model", "sign", &path.display().to_string()])
        .unwrap();
    at_centre
        .session(&device("L-007"), &serial, &model, now)
        .await
        .unwrap();

    printed.insert("factory list", json(&centre, &["factory", "list"]));
    let shown = json(&centre, &["factory", "show", "ulm"]);
    assert_eq!(
        (&shown["used"][MODEL], &shown["state"]),
        (&2.into(), &"active".into())
    );
    printed.insert("factory show", shown);
    let revoked = json(&centre, &["factory", "revoke", "ulm"]);
    assert_eq!(revoked["state"], "revoked");
    printed.insert("factory revoke", revoked);
    for table in ["list", "show ulm"] {
        let arguments: Vec<&str> = std::iter::once("factory").chain(table.split(' ')).collect();
        assert!(centre.run(&arguments).unwrap().contains("L-000..L-099"));
    }
    let examples = documented();
    let mut wrong = Vec::new();
    for (verb, actual) in &printed {
        match examples.get(*verb) {
            Some(example) => wrong.extend(differences(verb, example, actual)),
            None => wrong.push(format!("{verb}: not in docs/cli-json.md")),
        }
    }
    assert_eq!(wrong, [""; 0]);
}
