//! Waves that make validation sets: what devices that hold themselves to one are shown, and who may sign it.

use bytes::Bytes;
use hallmark::app::fleet::binding::{self, NewBinding};
use hallmark::app::fleet::devices::{PlaceChange, change};
use hallmark::app::fleet::waves::{self, NewWave, Source};
use hallmark::app::key_roll;
use hallmark::app::keys::{self, KeyRequest};
use hallmark::app::sign::sign;
use hallmark::app::{App, Refusal};
use hallmark::domain::assertion::{Assertion, AssertionType, Statement, Typed, Value as Header, decode};
use hallmark::domain::fleet::{Act, WaveKind, WaveStatus};
use hallmark::domain::vault::{KeyPurpose, SigningKey};
use hallmark::http::metrics::Metrics;
use serde_json::json;

use super::Field;
use super::stock::{Device, Stock, id, installed, outcomes};
use super::waves::{Fleet, Member, agent_wave, agents, limit, listed, name, reopened, store, whole};
use crate::harness::acme_ctx;

/// A key of the brand that signs validation sets.
pub(super) async fn set_key(app: &App, name: &str) {
    let request = KeyRequest {
        name: name.parse().unwrap(),
        purposes: vec![KeyPurpose::ValidationSet],
        models: Vec::new(),
        constrained: None,
        since: None,
        until: None,
        external: false,
        token: None,
    };
    keys::create(app, &acme_ctx(), request).await.unwrap();
}

/// What it signs as the owner of the key would elsewhere.
async fn signed(app: &App, statement: &Statement) -> Assertion {
    let key = app.storage.find::<SigningKey>(["acme", "sets"]).await;
    let key = key.unwrap().unwrap().record;
    sign(app, &key, statement.clone()).await.unwrap()
}

fn stream(assertions: &[&Assertion]) -> Bytes {
    let mut stream = Vec::new();
    for assertion in assertions {
        stream.extend_from_slice(assertion.encoded());
        stream.push(b'\n');
    }
    stream.into()
}

pub(super) fn bound(wave: &str, revision: u64, key: Option<&str>) -> NewWave {
    NewWave {
        binding: Some(NewBinding {
            set: None,
            key: key.map(|key| key.parse().unwrap()),
        }),
        ..agent_wave(wave, revision)
    }
}

async fn init(field: &Field, new: NewWave) -> Result<WaveStatus, Refusal> {
    let made = waves::init(&field.app, &store(&field.app).await, new).await?;
    Ok(made.wave.status)
}

/// The number of the validation set a device is told to fetch, beyond the one it has.
pub(super) async fn newest_of(device: &Device<'_>, has: u64) -> Option<u64> {
    let mut wanted = json!({"type": "validation-set", "sequence-key": ["16", "acme", "main"]});
    if has > 0 {
        wanted["if-sequence-equal-or-newer-than"] = has.into();
        wanted["if-newer-than"] = 0.into();
    }
    let fetch = json!([{"action": "fetch-assertions", "key": "sets", "assertions": [wanted]}]);
    let answer = device.refresh(json!([]), fetch).await;
    assert!(
        has == 0
            || answer["results"][0]["error-list"]
                .as_array()
                .is_none_or(Vec::is_empty),
        "snapd would refresh nothing: {answer}"
    );
    let urls = &answer["results"][0]["assertion-stream-urls"];
    let url = urls.get(0)?.as_str().unwrap();
    let path = url.split_once("/v2/").unwrap().1;
    // Addresses are not for one device alone.
    let served = device.field.get(&format!("/v2/{path}")).await;
    assert_eq!(served.status, 200, "{url}");
    Some(sequence(&decode(&served.body).unwrap()))
}

impl Member<'_> {
    async fn newest(&self, has: u64) -> Option<u64> {
        newest_of(&self.device, has).await
    }

    /// What it gets that asks for a revision because a validation set holds it to that.
    async fn held_to(&self, sequence: u64, revision: u64) -> String {
        let action = json!({
            "action": "refresh", "instance-key": id("agent"), "snap-id": id("agent"), "revision": revision,
            "validation-sets": [["16", "acme", "main", sequence.to_string()]],
        });
        let context = json!([installed("agent", self.runs, "latest/stable")]);
        let answer = self.device.refresh(context, json!([action])).await;
        outcomes(&answer).remove(0).split('@').next().unwrap().to_owned()
    }
}

fn sequence(assertion: &Assertion) -> u64 {
    match assertion.typed() {
        Typed::ValidationSet(set) => set.sequence,
        other => panic!("{other:?}"),
    }
}

/// What image builders get: the number, its revision of `agent` and whether that must be there.
async fn anonymous(field: &Field) -> Option<(u64, Option<u64>)> {
    let answer = field
        .get("/v2/assertions/validation-set/16/acme/main?sequence=latest")
        .await;
    if answer.status == 404 {
        return None;
    }
    let found = decode(&answer.body).unwrap();
    let Typed::ValidationSet(set) = found.typed() else {
        panic!("{found:?}")
    };
    Some((set.sequence, set.snaps[0].revision))
}

async fn newest(fleet: &Fleet<'_>) -> Vec<Option<u64>> {
    let mut told = Vec::new();
    for member in &fleet.devices {
        told.push(member.newest(0).await);
    }
    told
}

#[tokio::test]
async fn every_device_has_a_latest_set_of_its_own() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let mut fleet = Fleet::new(&field, 3).await;
    fleet.join("T1", None).await;
    assert_eq!(
        init(&field, bound("v2", 2, Some("sets"))).await.unwrap(),
        WaveStatus::Active
    );
    assert_eq!(newest(&fleet).await, [None; 4], "nobody sees it before a rollout");
    fleet.roll("v2", listed(&["P0", "P1"])).await.unwrap();
    assert_eq!(newest(&fleet).await, [Some(1), Some(1), None, None]);
    assert_eq!(
        anonymous(&field).await,
        None,
        "images are built of what is complete"
    );
    // The set holds a device to its revision, whatever the channel says.
    let (p0, p2) = (&fleet.devices[0], &fleet.devices[2]);
    assert_eq!(p0.held_to(1, 2).await, "2");
    assert_eq!(p0.held_to(1, 3).await, "revision-not-found");
    assert_eq!(p2.held_to(1, 2).await, "revision-not-found");
    fleet.act("v2", Act::Halt).await.unwrap();
    assert_eq!(newest(&fleet).await, [None; 4], "nobody else gets a halted one");
    assert_eq!(fleet.devices[0].held_to(1, 2).await, "revision-not-found");
    fleet.act("v2", Act::Resume).await.unwrap();
    let p0 = fleet.member("P0");
    p0.runs = p0.ask().await;
    assert_eq!(p0.runs, 2);
    fleet.devices[0].ask().await;
    fleet.act("v2", Act::Cancel).await.unwrap();
    // Who has not said since what it runs may have got it: it is not taken back, and gets nothing of it either.
    assert_eq!(newest(&fleet).await, [Some(1), Some(1), None, None]);
    assert_eq!(fleet.devices[1].held_to(1, 2).await, "revision-not-found");
    field.clock.advance(60);
    fleet.told().await;
    // Who has got it stays, who has not is told what was before; that leaves the channel free: nothing was.
    assert_eq!(newest(&fleet).await, [Some(1), Some(2), None, None]);
    assert_eq!(fleet.devices[1].newest(1).await, Some(2));
    assert_eq!(fleet.devices[0].newest(1).await, None);
    let abort = field.get("/v2/assertions/validation-set/16/acme/main/2").await;
    let abort = decode(&abort.body).unwrap();
    let Typed::ValidationSet(set) = abort.typed() else {
        panic!("{abort:?}")
    };
    assert_eq!(
        (set.snaps[0].name.as_str(), set.snaps[0].revision),
        ("agent", None)
    );

    // The next one goes on from there, and is for all once it is complete.
    init(&field, bound("v3", 3, Some("sets"))).await.unwrap();
    fleet.roll("v3", limit(1)).await.unwrap();
    assert_eq!(
        newest(&fleet)
            .await
            .iter()
            .filter(|told| **told == Some(3))
            .count(),
        1
    );
    fleet.act("v3", Act::Complete).await.unwrap();
    assert_eq!(newest(&fleet).await, [Some(3); 4]);
    assert_eq!(anonymous(&field).await, Some((3, Some(3))));
    assert_eq!(fleet.devices[2].held_to(3, 3).await, "3");
    // What takes the next one back says what is published now.
    init(&field, bound("v4", 4, Some("sets"))).await.unwrap();
    fleet.roll("v4", listed(&["P2"])).await.unwrap();
    assert_eq!(fleet.devices[2].newest(3).await, Some(5));
    // Without their key the documents of an open wave would count for nothing.
    set_key(&field.app, "next").await;
    let (old, new) = ("sets".parse().unwrap(), "next".parse().unwrap());
    let rolled = key_roll::step(&field.app, &acme_ctx(), &old, &new).await;
    assert_eq!(rolled.unwrap_err().code, "wave-open");
    fleet.act("v4", Act::Cancel).await.unwrap();
    field.clock.advance(60);
    fleet.told().await;
    assert_eq!(fleet.devices[2].newest(5).await, Some(6));
    assert_eq!(fleet.devices[2].held_to(6, 3).await, "3");
    assert_eq!(anonymous(&field).await, Some((3, Some(3))));
    let rolled = key_roll::step(&field.app, &acme_ctx(), &old, &new).await;
    assert_eq!(
        rolled.unwrap_err().code,
        "wave-open",
        "what takes it back is still told"
    );
    init(&field, bound("v5", 5, Some("sets"))).await.unwrap();
    fleet.act("v5", Act::Complete).await.unwrap();
    let rolled = key_roll::step(&field.app, &acme_ctx(), &old, &new).await;
    assert_eq!(rolled.unwrap().assertions.len(), 2);
    // What is published is served as it was signed again, by its number too.
    let published = field.get("/v2/assertions/validation-set/16/acme/main/7").await;
    assert_eq!(decode(&published.body).unwrap().revision(), 1);
    assert_eq!(anonymous(&field).await, Some((7, Some(5))));
}

#[tokio::test]
async fn who_was_told_as_a_member_of_a_group_is_told_that_it_was_taken_back() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let mut fleet = Fleet::new(&field, 3).await;
    fleet.make_group("canary").await;
    for serial in ["P0", "P1"] {
        fleet.group(serial, Some("canary")).await.unwrap();
    }
    init(&field, bound("v2", 2, Some("sets"))).await.unwrap();
    fleet.roll("v2", whole("canary")).await.unwrap();
    assert_eq!(fleet.member("P0").newest(0).await, Some(1));
    fleet.act("v2", Act::Cancel).await.unwrap();
    fleet.group("P2", Some("canary")).await.unwrap();
    field.clock.advance(60);
    fleet.told().await;
    // P1 never asked while the wave was open, P2 was not in the group.
    assert_eq!(newest(&fleet).await, [Some(2), None, None]);
    let place = PlaceChange {
        tag: Some(Some("beta".parse().unwrap())),
        ..PlaceChange::default()
    };
    change(&field.app, &acme_ctx(), &name("P0"), &place)
        .await
        .unwrap();
    assert_eq!(
        newest(&fleet).await,
        [Some(2), None, None],
        "wherever it went since"
    );
    // That is as durable as the answer was: another start of the server knows it.
    let session = fleet.devices[0].device.session.clone();
    drop(fleet);
    let app = reopened(&field).await;
    let router = hallmark::http::router(&app, Metrics::default()).unwrap();
    let field = Field { app, router, ..field };
    let device = Device {
        field: &field,
        session,
    };
    assert_eq!(
        newest_of(&device, 0).await,
        Some(2),
        "what it said since is not forgotten"
    );
}

#[tokio::test]
async fn nothing_is_rolled_out_before_both_documents_are_signed() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let fleet = Fleet::new(&field, 1).await;
    assert_eq!(
        init(&field, bound("v2", 2, None)).await.unwrap(),
        WaveStatus::Draft
    );
    for act in [Act::Halt, Act::Complete, Act::Resume] {
        assert_eq!(
            fleet.act("v2", act).await.unwrap_err().code,
            "not-enough-signatures"
        );
    }
    let refused = fleet.roll("v2", limit(1)).await.unwrap_err();
    assert_eq!(refused.code, "not-enough-signatures");

    let ctx = store(&field.app).await;
    let name = "v2".parse().unwrap();
    let [wave, abort] = binding::documents(&field.app, &ctx, &name).await.unwrap();
    let take =
        async |assertions: &[&Assertion]| binding::sign(&field.app, &ctx, &name, stream(assertions)).await;
    let mut other = wave.clone();
    let snaps = other.headers().get("snaps").unwrap().clone();
    let Header::List(mut snaps) = snaps else {
        panic!("{snaps:?}")
    };
    if let Header::Map(snap) = &mut snaps[0] {
        snap.insert("revision".to_owned(), "3".into());
    }
    other.headers_mut().set("snaps", snaps);
    let mut elsewhere = wave.clone();
    elsewhere.headers_mut().set("sequence", "7");
    let mut named = wave.clone();
    named.headers_mut().set("name", "other");
    for wrong in [&other, &elsewhere, &named] {
        let wrong = signed(&field.app, wrong).await;
        assert_eq!(take(&[&wrong]).await.unwrap_err().code, "assertion-differs");
    }
    let strange = field.device.sign_statement(&field.app, &wave).await;
    assert_eq!(take(&[&strange]).await.unwrap_err().code, "assertion-refused");
    let model = decode(field.model.encoded()).unwrap();
    assert_eq!(take(&[&model]).await.unwrap_err().code, "assertion-differs");

    let (wave, abort) = (signed(&field.app, &wave).await, signed(&field.app, &abort).await);
    let half = take(&[&wave]).await.unwrap();
    assert_eq!(half.wave.status, WaveStatus::Draft);
    assert_eq!(
        fleet.roll("v2", limit(1)).await.unwrap_err().code,
        "not-enough-signatures"
    );
    // What is signed is told to nobody before the rollout, also not by its number.
    let path = "/v2/assertions/validation-set/16/acme/main/1";
    assert_eq!(field.get(path).await.status, 404);
    let whole = take(&[&abort]).await.unwrap();
    assert_eq!(whole.wave.status, WaveStatus::Active);
    assert_eq!(take(&[&abort]).await.unwrap_err().code, "wave-signed");
    assert_eq!(field.get(path).await.status, 404, "nobody was told");
    fleet.roll("v2", limit(1)).await.unwrap();
    assert_eq!(fleet.devices[0].newest(0).await, Some(1));
    assert_eq!(field.get(path).await.body, *wave.encoded());
    assert_eq!(
        field
            .get("/v2/assertions/validation-set/16/acme/main/2")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_tag_keeps_its_set_and_a_set_its_tag() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let code = async |new: NewWave| init(&field, new).await.unwrap_err().code;
    let capital = NewWave {
        tag: "Main".parse().unwrap(),
        ..bound("v2", 2, Some("sets"))
    };
    assert_eq!(code(capital.clone()).await, "invalid-set");
    init(&field, bound("v2", 2, Some("sets"))).await.unwrap();
    let mut stolen = capital;
    stolen.binding.as_mut().unwrap().set = Some("main".parse().unwrap());
    assert_eq!(code(stolen).await, "set-in-use");
    let fleet = Fleet::new(&field, 1).await;
    fleet.act("v2", Act::Complete).await.unwrap();
    assert_eq!(code(agent_wave("v3", 3)).await, "signature-required");
    // A slip before anything was signed is taken back with its wave.
    let mut slip = NewWave {
        tag: "beta".parse().unwrap(),
        ..bound("slip", 2, None)
    };
    slip.binding.as_mut().unwrap().set = Some("typo".parse().unwrap());
    init(&field, slip.clone()).await.unwrap();
    fleet.act("slip", Act::Cancel).await.unwrap();
    let again = NewWave {
        name: "again".parse().unwrap(),
        binding: None,
        ..slip
    };
    init(&field, again).await.unwrap();
    let mut renamed = bound("v3", 3, Some("sets"));
    renamed.binding.as_mut().unwrap().set = Some("other".parse().unwrap());
    assert_eq!(code(renamed).await, "set-differs");
    assert_eq!(code(bound("v3", 3, Some("nokey"))).await, "resource-not-found");
    assert_eq!(code(bound("v3", 3, Some("serial"))).await, "key-purpose");
    // Nothing of these is left.
    init(&field, bound("v3", 3, Some("sets"))).await.unwrap();
}

#[tokio::test]
async fn a_set_of_one_revision_each_cannot_say_two() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    init(&field, agent_wave("v2", 2)).await.unwrap();
    let fleet = Fleet::new(&field, 1).await;
    fleet.act("v2", Act::Complete).await.unwrap();
    let edge = NewWave {
        channel: Some("latest/edge".parse().unwrap()),
        ..bound("edge", 3, Some("sets"))
    };
    assert_eq!(init(&field, edge).await.unwrap_err().code, "several-revisions");
}

#[tokio::test]
async fn other_sets_hold_a_production_device_too() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let fleet = Fleet::new(&field, 1).await;
    init(&field, agent_wave("v2", 2)).await.unwrap();
    fleet.act("v2", Act::Complete).await.unwrap();
    let member = &fleet.devices[0];
    assert_eq!(member.held_to(1, 4).await, "revision-not-found");
    let snaps = vec![Header::Map(
        [("name", "agent"), ("id", id("agent").as_str()), ("revision", "4")]
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into(),
    )];
    let mut set = super::statement(
        AssertionType::ValidationSet,
        &[
            ("authority-id", "acme"),
            ("series", "16"),
            ("account-id", "acme"),
            ("name", "main"),
            ("sequence", "1"),
            ("timestamp", &field.app.clock.now().to_string()),
        ],
        b"",
    );
    set.headers_mut().set("snaps", snaps);
    let set = signed(&field.app, &set).await;
    let imported = hallmark::app::assertions::import(&field.app, &acme_ctx(), set.encoded().clone()).await;
    assert!(imported.unwrap()[0].new);
    assert_eq!(member.held_to(1, 4).await, "4");
    assert_eq!(member.held_to(1, 5).await, "revision-not-found");
    assert_eq!(member.held_to(9, 4).await, "revision-not-found");
    // A wave that makes this set goes on after what is there.
    let made = waves::init(&field.app, &store(&field.app).await, bound("v5", 5, Some("sets"))).await;
    let made = made.unwrap();
    assert!(made.wave.sequence > 2, "{}", made.wave.sequence);
    let mut next = super::statement(AssertionType::ValidationSet, &[], b"");
    *next.headers_mut() = set.headers().clone();
    for header in ["type", "sign-key-sha3-384", "body-length"] {
        next.headers_mut().remove(header);
    }
    next.headers_mut().set("sequence", "40");
    let next = signed(&field.app, &next).await;
    let refused = hallmark::app::assertions::import(&field.app, &acme_ctx(), next.encoded().clone()).await;
    assert_eq!(refused.unwrap_err().code, "made-by-waves");
}

#[tokio::test]
async fn what_a_cancelled_wave_left_behind_is_left_free_by_all_later_ones() {
    let field = agents().await;
    set_key(&field.app, "sets").await;
    let stock = Stock { field: &field };
    for revision in 2..=4 {
        let content = format!("secret {revision}");
        stock.revision("secret", revision, &content, |_| ()).await;
    }
    let fleet = Fleet::new(&field, 1).await;
    let of = |wave: &str, snaps: &[(&str, u64)], kind| {
        let snaps = snaps
            .iter()
            .map(|(name, revision)| (name.parse().unwrap(), Some(*revision)));
        NewWave {
            source: Source::Snaps(snaps.collect()),
            kind,
            ..bound(wave, 1, Some("sets"))
        }
    };
    // What the documents of a wave hold `agent` to: the wave's, and that of what takes it back.
    let held = async |wave: &str| {
        let ctx = store(&field.app).await;
        let documents = binding::documents(&field.app, &ctx, &wave.parse().unwrap()).await;
        documents.unwrap().map(|document| {
            let Some(Header::List(snaps)) = document.headers().get("snaps") else {
                panic!("{document:?}")
            };
            let agent = snaps.iter().find_map(|snap| match snap {
                Header::Map(snap) if snap["name"] == Header::from("agent") => Some(snap),
                _ => None,
            });
            agent.unwrap().get("revision").cloned()
        })
    };
    let (forward, back) = (WaveKind::Forward, WaveKind::Rollback);
    init(&field, of("a", &[("agent", 2), ("secret", 2)], forward))
        .await
        .unwrap();
    fleet.act("a", Act::Complete).await.unwrap();
    init(&field, of("b", &[("agent", 3)], forward)).await.unwrap();
    assert_eq!(held("b").await, [Some("3".into()), Some("2".into())]);
    fleet.roll("b", listed(&["P0"])).await.unwrap();
    fleet.act("b", Act::Cancel).await.unwrap();
    init(&field, of("c", &[("secret", 3)], forward)).await.unwrap();
    assert_eq!(held("c").await, [None, None]);
    fleet.act("c", Act::Complete).await.unwrap();
    init(&field, of("d", &[("secret", 4)], forward)).await.unwrap();
    assert_eq!(held("d").await, [None, None], "also once a later one is complete");
    fleet.act("d", Act::Cancel).await.unwrap();
    // A rollback means it.
    init(&field, of("e", &[("agent", 1)], back)).await.unwrap();
    assert_eq!(held("e").await, [Some("1".into()), None]);
    fleet.act("e", Act::Complete).await.unwrap();
    init(&field, of("f", &[("secret", 4)], forward)).await.unwrap();
    assert_eq!(held("f").await, [Some("1".into()), Some("1".into())]);
}
