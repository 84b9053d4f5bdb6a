//! A catalogue and a device that asks it, for the tests beside. The catalogue is written as records; management has tests
//! of its own.

use std::sync::Arc;

use hallmark::adapters::memory::Memory;
use hallmark::app::sign::{record, stored};
use hallmark::domain::access::StoreRecord;
use hallmark::domain::assertion::AssertionType;
use hallmark::domain::catalog::{
    CatalogHead, Changed, Channel, Inclusion, Listing, Releases, RevisionRecord, SnapRecord,
};
use hallmark::domain::ident::{Architecture, BrandId, SnapId, StoreId};
use hallmark::domain::snap::{Confinement, Epoch, SnapType};
use hallmark::domain::time::Timestamp;
use hallmark::ports::{Change, Commit, CommitOutcome, PutRule, Storage};
use serde_json::{Value, json};

use super::{Answer, Field};
use crate::harness::acme_ctx;

/// A catalogue being written.
pub(super) struct Stock<'f> {
    pub(super) field: &'f Field,
}

pub(super) fn id(name: &str) -> SnapId {
    format!("{name:x<32}").replace('-', "0").parse().unwrap()
}

impl Stock<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.field.app.clock.now()
    }

    async fn write(&self, records: Vec<Change>, changed: Changed) {
        let head = self
            .field
            .app
            .storage
            .find::<CatalogHead>(["head"])
            .await
            .unwrap();
        let change = match head {
            None => Change::create(&CatalogHead::default().after([changed])),
            Some(found) => Change::replace(&found.record.after([changed]), found.version),
        };
        let mut commit = Commit {
            records,
            ..Commit::default()
        };
        commit.records.push(change);
        let outcome = self.field.app.storage.commit(commit).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Done);
    }

    /// A store of a brand that may take snaps from these.
    async fn store(&self, store: &str, brand: &str, sources: &[&str]) {
        let id: StoreId = store.parse().unwrap();
        let mut record = StoreRecord::new(id.clone(), brand.parse().unwrap(), store.to_owned(), self.now());
        record.parent = (store != brand).then(|| brand.parse().unwrap());
        record.inclusion_sources = sources.iter().map(|source| source.parse().unwrap()).collect();
        self.write(vec![Change::create(&record)], Changed::Store(id))
            .await;
    }

    pub(super) async fn include(&self, store: &str, snap: &str) {
        let store_id: StoreId = store.parse().unwrap();
        let inclusion = Inclusion {
            store_id: store_id.clone(),
            snap_id: id(snap),
            since: self.now(),
        };
        self.write(vec![Change::create(&inclusion)], Changed::Store(store_id))
            .await;
    }

    /// A snap of the base store of `brand`, with nothing released.
    pub(super) async fn snap(&self, name: &str, brand: &str, private: bool) {
        let brand_id: BrandId = brand.parse().unwrap();
        let record = SnapRecord {
            id: id(name),
            name: name.parse().unwrap(),
            store_id: brand.parse().unwrap(),
            publisher_id: brand_id.clone().into(),
            brand_id,
            collaborators: Default::default(),
            kind: Some(SnapType::App),
            private,
            revoked: false,
            listing: Listing {
                title: Some(name.to_uppercase()),
                summary: format!("What {name} does"),
                ..Listing::default()
            },
            tracks: Default::default(),
            guardrails: Vec::new(),
            default_track: None,
            aliases: Default::default(),
            refresh_control: Default::default(),
            newest_revision: 0,
            newest_components: Default::default(),
            releases: Releases::default(),
            featured: None,
            created: self.now(),
        };
        self.write(vec![Change::create(&record)], Changed::Snap(id(name)))
            .await;
    }

    pub(super) async fn edit(&self, name: &str, change: impl FnOnce(&mut SnapRecord)) {
        let mut found = self
            .field
            .app
            .storage
            .find::<SnapRecord>([id(name).as_str()])
            .await
            .unwrap()
            .unwrap();
        change(&mut found.record);
        let change = Change::replace(&found.record, found.version);
        self.write(vec![change], Changed::Snap(id(name))).await;
    }

    pub(super) async fn release(&self, name: &str, revision: u64, channel: &str) {
        let channel: Channel = channel.parse().unwrap();
        let now = self.now();
        self.edit(name, |record| {
            record.releases.release(
                &["all".parse::<Architecture>().unwrap()],
                &channel,
                revision,
                None,
                now,
            );
        })
        .await;
    }

    /// A revision whose file is `content`.
    pub(super) async fn revision(
        &self,
        name: &str,
        revision: u64,
        content: &str,
        change: impl FnOnce(&mut RevisionRecord),
    ) {
        let mut staging = self.field.app.blobs.stage().await.unwrap();
        staging.write(content.to_owned().into()).await.unwrap();
        let staged = staging.finish().await.unwrap();
        let digest = staged.digest();
        staged.keep().await.unwrap();
        let mut record = RevisionRecord {
            snap_id: id(name),
            revision,
            blob: digest.id,
            size: digest.size,
            sha512: String::new(),
            version: format!("1.{revision}"),
            kind: SnapType::App,
            base: Some("core22".to_owned()),
            architectures: ["all".parse().unwrap()].into(),
            confinement: Confinement::Strict,
            epoch: Epoch::default(),
            grade: None,
            provenance: "global-upload".to_owned(),
            snap_yaml: format!("name: {name}\nversion: '1.{revision}'\n"),
            common_ids: Vec::new(),
            apps: vec![name.to_owned()],
            hooks: Default::default(),
            components: Vec::new(),
            developer_id: "acme".parse().unwrap(),
            created: self.now(),
            review: Default::default(),
        };
        change(&mut record);
        self.write(vec![Change::create(&record)], Changed::Snap(id(name)))
            .await;
    }

    /// A snap with revision 1 in stable.
    pub(super) async fn simple(&self, name: &str, brand: &str, private: bool) {
        self.snap(name, brand, private).await;
        self.revision(name, 1, &format!("{name} one"), |_| ()).await;
        self.release(name, 1, "stable").await;
    }
}

/// A device of acme in `acme-store`, with snaps in its store, in the brand's and in another brand's.
pub(super) async fn field() -> Field {
    field_on(Arc::new(Memory::new())).await
}

/// The same on other, empty storage.
pub(super) async fn field_on(storage: Arc<dyn Storage>) -> Field {
    let field = Field::on(storage).await;
    let stock = Stock { field: &field };
    stock.store("acme-store", "acme", &["acme"]).await;
    stock.store("other", "other", &[]).await;
    for (name, brand, private) in [
        ("agent", "acme", false),
        ("secret", "acme", true),
        ("elsewhere", "acme", false),
        ("theirs", "other", false),
        ("their-secret", "other", true),
    ] {
        stock.simple(name, brand, private).await;
    }
    stock.include("acme-store", "agent").await;
    stock.include("acme-store", "secret").await;
    field
}

pub(super) struct Device<'f> {
    pub(super) field: &'f Field,
    pub(super) session: String,
}

impl Device<'_> {
    pub(super) async fn get(&self, path: &str) -> Answer {
        let headers = [
            ("snap-device-authorization", self.session.as_str()),
            ("snap-device-architecture", "amd64"),
        ];
        self.field.call("GET", path, &headers, "").await
    }

    pub(super) async fn refresh(&self, context: Value, actions: Value) -> Value {
        let headers = [
            ("snap-device-authorization", self.session.as_str()),
            ("snap-device-architecture", "amd64"),
        ];
        let body = json!({"context": context, "actions": actions, "fields": ["name"]}).to_string();
        let answer = self
            .field
            .call("POST", "/v2/snaps/refresh", &headers, &body)
            .await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()
    }

    /// The results of installing these, by name: the revision, or the code of the error.
    pub(super) async fn install(&self, names: &[&str], channel: &str) -> Vec<String> {
        let actions: Vec<Value> = names
            .iter()
            .enumerate()
            .map(|(n, name)| json!({"action": "install", "instance-key": format!("install-{n}"), "name": name, "channel": channel, "epoch": null}))
            .collect();
        let answer = self.refresh(json!([]), json!(actions)).await;
        outcomes(&answer)
    }
}

pub(super) fn outcomes(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap();
    results
        .iter()
        .map(|result| match result["result"].as_str().unwrap() {
            "error" => result["error"]["code"].as_str().unwrap().to_owned(),
            _ => format!(
                "{}@{}",
                result["snap"]["revision"],
                result["effective-channel"].as_str().unwrap_or("-")
            ),
        })
        .collect()
}

pub(super) fn installed(name: &str, revision: u64, channel: &str) -> Value {
    json!({
        "snap-id": id(name), "instance-key": id(name), "revision": revision, "tracking-channel": channel,
        "epoch": {"read": [0], "write": [0]}, "refreshed-date": "2026-01-02T03:04:05Z",
    })
}

pub(super) fn refresh_action(name: &str) -> Value {
    json!({"action": "refresh", "instance-key": id(name), "snap-id": id(name)})
}

pub(super) async fn device(field: &Field) -> Device<'_> {
    Device {
        field,
        session: field.session().await,
    }
}

/// A validation of a revision, or its revocation, as it is after an import.
pub(super) async fn validate(field: &Field, gating: &str, gated: &str, revision: u64, revoked: bool) {
    let (now, number) = (field.app.clock.now().to_string(), revision.to_string());
    let (gating, gated) = (id(gating), id(gated));
    let mut headers = vec![
        ("authority-id", "acme"),
        ("series", "16"),
        ("snap-id", gating.as_str()),
        ("approved-snap-id", gated.as_str()),
        ("approved-snap-revision", number.as_str()),
        ("timestamp", now.as_str()),
    ];
    if revoked {
        headers.extend([("revoked", "true"), ("revision", "1")]);
    }
    let kind = AssertionType::Validation;
    // By whom does not matter here: what is stored was judged when it came.
    let validation = field.device.sign(&field.app, kind, &headers, b"").await;
    let commit = Commit {
        assertions: vec![(stored(&validation), PutRule::Newer)],
        audit: vec![record(
            acme_ctx().event(field.app.clock.now(), "", ""),
            &validation,
        )],
        ..Commit::default()
    };
    assert_eq!(
        field.app.storage.commit(commit).await.unwrap(),
        CommitOutcome::Done
    );
}
