//! Bundles by the real program: a store out of one server, into another that goes on serving, and on to a device there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use hallmark::cli::line::{Instance, Server};
use serde_json::{Value, json};

use crate::store::shop::{plain_client, snap_file};

/// An instance in a directory.
struct Site {
    instance: Instance,
}

impl Site {
    fn new(below: &Path, name: &str, brand: &str) -> Self {
        Self::with(below, name, brand, &[])
    }

    /// With these settings in its environment.
    fn with(below: &Path, name: &str, brand: &str, settings: &[(&str, String)]) -> Self {
        let below = below.join(name);
        std::fs::create_dir(&below).unwrap();
        let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), &below);
        let instance = settings
            .iter()
            .fold(instance, |instance, (name, value)| instance.with(name, value));
        instance.init(brand).unwrap();
        Self { instance }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self
            .instance
            .run(&[arguments, &["--format", "json"]].concat())
            .unwrap();
        serde_json::from_str(&printed).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        self.instance.run(arguments).unwrap_err().to_string()
    }

    /// How many rows of each kind the database has, without the audit log.
    fn rows(&self, into: &Path) -> Value {
        let mut rows = self.json(&["backup", text(into)])["rows"].clone();
        rows.as_object_mut()
            .unwrap()
            .retain(|kind, _| !kind.starts_with("audit"));
        rows
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a machine gets from a server: revision and file, or the code of the error.
async fn device(server: &Server, store: &str, name: &str) -> Result<(u64, Vec<u8>), String> {
    let http = plain_client();
    let action =
        json!({"action": "install", "instance-key": "i", "name": name, "channel": "stable", "epoch": null});
    let body = json!({"context": [], "actions": [action], "fields": ["revision", "download"]});
    let answer = http
        .post(format!("{}/v2/snaps/refresh", server.url))
        .header("snap-device-store", store)
        .header("snap-device-architecture", "amd64")
        .body(body.to_string());
    let answer = answer.send().await.unwrap().bytes().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let result = &answer["results"][0];
    if let Some(code) = result["error"]["code"].as_str() {
        return Err(code.to_owned());
    }
    let url = result["snap"]["download"]["url"].as_str().unwrap();
    let (_, path) = url.split_once("/download/").unwrap();
    let file = http
        .get(format!("{}/download/{path}", server.url))
        .header("snap-device-store", store);
    let file = file.send().await.unwrap();
    assert_eq!(file.status(), 200);
    let revision = result["snap"]["revision"].as_u64().unwrap();
    Ok((revision, file.bytes().await.unwrap().to_vec()))
}

/// The fields that docs/cli-json.md gives for a verb.
fn documented(verb: &str) -> Vec<String> {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli-json.md")).unwrap();
    let (_, section) = docs.split_once(&format!("### `{verb}`\n")).unwrap();
    let (_, example) = section.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    fields(&serde_json::from_str(example).unwrap())
}

fn fields(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_goes_from_server_to_server() {
    let below = tempfile::tempdir().unwrap();
    let place = |name: &str| -> PathBuf { below.path().join(name) };
    let source = Site::new(below.path(), "source", "acme");
    let here = Site::new(below.path(), "here", "boxer");
    let (one, two) = (snap_file("gizmo", "1", ""), snap_file("gizmo", "2", ""));
    let (first, second) = (place("gizmo-1.snap"), place("gizmo-2.snap"));
    std::fs::write(&first, &one).unwrap();
    std::fs::write(&second, &two).unwrap();
    let server = source.instance.serve().unwrap();
    source.instance.login(&server).unwrap();
    let add = [
        "snap",
        "add",
        text(&first),
        "--publisher",
        "acme",
        "--release",
        "stable",
    ];
    source.instance.run(&add).unwrap();

    // Beside the running server.
    let (bundle, newer, root) = (place("acme.bundle"), place("newer.bundle"), place("root.assert"));
    let made = source.json(&["export", "store", "acme", text(&bundle)]);
    assert_eq!(fields(&made), documented("export store"));
    assert_eq!((&made["snaps"], &made["kind"]), (&json!(1), &json!("store")));
    let signer = made["signer"].as_str().unwrap();
    assert!(!place("acme.bundle.partial").exists());
    std::fs::write(&root, source.instance.run(&["trust", "export"]).unwrap()).unwrap();

    let shop = here.instance.serve().unwrap();
    let import = ["import", text(&bundle), "--signer", signer];
    let before = here.rows(&place("before.tar"));
    assert!(
        here.refused(&["import", text(&bundle)])
            .contains("[signer-required]")
    );
    assert!(here.refused(&import).contains("[missing-prerequisite]"));
    here.instance.run(&["trust", "import", text(&root)]).unwrap();
    let trusting = here.rows(&place("trusting.tar"));
    assert_ne!(before, trusting);

    // Changed or cut: nothing happens.
    let whole = std::fs::read(&bundle).unwrap();
    let blob = whole.windows(one.len()).position(|window| window == one).unwrap();
    let damaged = place("damaged.bundle");
    for (length, at) in [
        (whole.len(), blob + 40),
        (whole.len(), 600),
        (blob + 100, 0),
        (100, 0),
    ] {
        let mut bytes = whole[..length].to_vec();
        if at > 0 {
            bytes[at] ^= 1;
        }
        std::fs::write(&damaged, bytes).unwrap();
        let said = here.refused(&["import", text(&damaged), "--signer", signer]);
        assert!(said.contains("no whole bundle"), "{said}");
    }
    assert_eq!(here.rows(&place("still.tar")), trusting);
    assert!(device(&shop, "acme", "gizmo").await.is_err());

    let done = here.json(&import);
    assert_eq!(fields(&done), documented("import"));
    assert_eq!(
        (&done["new-snaps"], &done["new-files"]),
        (&json!(1), &made["files"])
    );
    assert_eq!(device(&shop, "acme", "gizmo").await.unwrap(), (1, one.clone()));
    let after = here.rows(&place("after.tar"));
    let again = here.json(&["import", text(&bundle)]);
    assert_eq!(
        (&again["changed"], &again["new-files"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(here.rows(&place("again.tar")), after);

    // The source moves on; the box follows without a server too, and does not go back.
    source
        .instance
        .run(&["snap", "add", text(&second), "--release", "stable"])
        .unwrap();
    server.stop().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    source.json(&["export", "store", "acme", text(&newer)]);
    shop.stop().unwrap();
    let moved = here.json(&["import", text(&newer)]);
    assert_eq!(
        (&moved["changed-snaps"], &moved["changed"]),
        (&json!(1), &json!(true))
    );
    let shop = here.instance.serve().unwrap();
    assert_eq!(device(&shop, "acme", "gizmo").await.unwrap(), (2, two));
    assert!(
        here.refused(&["import", text(&bundle)])
            .contains("[older-bundle]")
    );
    here.json(&["import", text(&bundle), "--force"]);
    assert_eq!(device(&shop, "acme", "gizmo").await.unwrap(), (1, one));
    let doctor = here.json(&["doctor"]);
    assert_eq!(doctor["problems"], json!([]), "{doctor}");
    shop.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_is_finished_by_the_next() {
    killed_imports(|_| Vec::new()).await;
}

/// An import into an instance with `settings(its name)` is killed again and again, at moments all over the time it takes, and then
/// left to finish: what is there then is what one import in one go leaves.
pub(crate) async fn killed_imports(settings: impl Fn(&str) -> Vec<(&'static str, String)>) {
    const SNAPS: usize = 12;
    const MOMENTS: u32 = 8;
    let below = tempfile::tempdir().unwrap();
    let place = |name: &str| -> PathBuf { below.path().join(name) };
    let source = Site::new(below.path(), "source", "acme");
    let server = source.instance.serve().unwrap();
    source.instance.login(&server).unwrap();
    let names: Vec<String> = (0..SNAPS).map(|number| format!("gizmo-{number}")).collect();
    for name in &names {
        let file = place(name);
        std::fs::write(&file, snap_file(name, "1", "")).unwrap();
        let add = [
            "snap",
            "add",
            text(&file),
            "--publisher",
            "acme",
            "--release",
            "stable",
        ];
        source.instance.run(&add).unwrap();
    }
    let (bundle, root) = (place("acme.bundle"), place("root.assert"));
    let made = source.json(&["export", "store", "acme", text(&bundle)]);
    std::fs::write(&root, source.instance.run(&["trust", "export"]).unwrap()).unwrap();
    server.stop().unwrap();
    let import = [
        "import",
        text(&bundle),
        "--signer",
        made["signer"].as_str().unwrap(),
    ];
    let site = |name: &str| {
        let site = Site::with(below.path(), name, "boxer", &settings(name));
        site.instance.run(&["trust", "import", text(&root)]).unwrap();
        site
    };

    let (whole, broken) = (site("whole"), site("broken"));
    let began = Instant::now();
    whole.json(&import);
    let takes = began.elapsed();
    let mut killed = 0;
    for moment in 1..=MOMENTS {
        let mut importing = broken.instance.command(&import);
        let mut importing = importing
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(takes * moment / (MOMENTS + 1));
        importing.kill().unwrap();
        killed += u32::from(!importing.wait().unwrap().success());
        // Each found its snap whole, or none of it.
        let doctor = broken.json(&["doctor"]);
        assert_eq!(doctor["problems"], json!([]), "{doctor}");
    }
    assert!(killed > 0, "none was killed before it was done");
    broken.json(&import);
    assert_eq!(broken.rows(&place("broken.tar")), whole.rows(&place("whole.tar")));
    let shop = broken.instance.serve().unwrap();
    for name in &names {
        assert_eq!(
            device(&shop, "acme", name).await.unwrap(),
            (1, snap_file(name, "1", ""))
        );
    }
    shop.stop().unwrap();
}
