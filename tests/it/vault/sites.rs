//! A factory box and its centre, two instances over real HTTP: what is granted, what devices get at the box, and what of that
//! comes back.

use std::net::SocketAddr;
use std::sync::Arc;

use hallmark::adapters::memory::Memory;
use hallmark::app::factory::{self, GrantRequest, Made, SiteState, TakenIn};
use hallmark::app::instance::{self, NewBrand, NewInstance};
use hallmark::app::models::{self, ModelSettings, NewModel};
use hallmark::app::verify::{Known, verify};
use hallmark::app::{App, BrandCtx, InstanceCtx, Refusal, serials};
use hallmark::domain::assertion::{Assertion, AssertionType, StreamDecoder, encode_stream};
use hallmark::domain::bundle::{Manifest, SignedManifest};
use hallmark::domain::ident::DeviceId;
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::{SerialRange, SerialRow, SerialState, SiteName, Standing};
use hallmark::ports::AuditFilter;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::factory::{API_KEY, BRAND, MODEL, Request, START, TestKey, client, headers, serve};
use crate::harness::{self, TestClock, acme_ctx, parts, quick_kdf, vector_key};

const DAY: i64 = 24 * 3600;

/// An instance that serves.
struct Place {
    app: App,
    clock: Arc<TestClock>,
    address: SocketAddr,
    http: reqwest::Client,
    stop: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Place {
    async fn serving(app: App, clock: Arc<TestClock>) -> Self {
        let (address, stop) = serve(&app).await;
        Self {
            app,
            clock,
            address,
            http: client(),
            stop,
        }
    }

    /// The brand's own instance, with model `gate-1`.
    async fn centre() -> Self {
        let (app, clock) = harness::instance().await;
        let centre = Self::serving(app, clock).await;
        centre.model(MODEL, API_KEY).await;
        centre
    }

    async fn model(&self, name: &str, api_key: &str) {
        let new = NewModel {
            name: name.parse().unwrap(),
            api_key: Some(api_key.to_owned().into()),
            key: None,
            settings: ModelSettings::default(),
        };
        models::create(&self.app, &acme_ctx(), new).await.unwrap();
    }

    /// A new box of this site.
    async fn boxed(site: &str) -> Self {
        let (kdf, clock) = (quick_kdf(), TestClock::new());
        let new = NewInstance {
            authority: Some(format!("box-{site}").parse().unwrap()),
            root: Some(vector_key("unregistered")),
            brand: NewBrand {
                id: BRAND.parse().unwrap(),
                name: None,
                delegated: false,
                admin: None,
                factory: Some(site.parse().unwrap()),
            },
            admin_email: "box@acme.example".parse().unwrap(),
            admin_password: "correct horse battery".to_owned().into(),
            kdf: kdf.clone(),
        };
        let parts = parts(Arc::new(Memory::new()), "p", &kdf, &clock, true);
        let app = instance::create(parts, new, &|_| ()).await.unwrap();
        Self::serving(app, clock).await
    }

    async fn post(&self, path: &str, api_key: &str, body: impl Into<reqwest::Body>) -> (u16, Vec<u8>) {
        let url = format!("http://{}{path}", self.address);
        let request = self.http.post(url).header("api-key", api_key).body(body);
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.bytes().await.unwrap().to_vec(),
        )
    }

    /// A device asks for its serial, with all that it needs to believe it.
    async fn register(&self, request: &Request, key: &TestKey) -> Result<Vec<Assertion>, String> {
        self.register_with(request, key, API_KEY).await
    }

    async fn register_with(
        &self,
        request: &Request,
        key: &TestKey,
        api_key: &str,
    ) -> Result<Vec<Assertion>, String> {
        let refusal = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap();
            let part = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", part("error_code"), part("error_subcode"))
        };
        let (status, body) = self.post("/v1/request-id", api_key, "").await;
        if status != 200 {
            return Err(refusal(&body));
        }
        let id: Value = serde_json::from_slice(&body).unwrap();
        let request = request.sign(key, id["request-id"].as_str().unwrap());
        let url = format!("http://{}/v1/serial", self.address);
        let request = self
            .http
            .post(url)
            .header("api-key", api_key)
            .header("snap-device-capabilities", "serial-stream")
            .body(request.encoded().clone());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        if status != 200 {
            return Err(refusal(&body));
        }
        Ok(StreamDecoder::new(body).map(Result::unwrap).collect())
    }

    async fn request(&self) -> SignedManifest {
        factory::request(&self.app, &InstanceCtx::local())
            .await
            .unwrap()
            .1
    }

    async fn accept(&self, bundle: &SignedManifest) -> Result<factory::Accepted, Refusal> {
        factory::accept(&self.app, &InstanceCtx::local(), bundle, Some(bundle.signer())).await
    }

    async fn log(&self) -> SignedManifest {
        let log = factory::export(&self.app, &InstanceCtx::local(), None).await;
        log.unwrap().bundle
    }

    async fn take_in(&self, log: &SignedManifest) -> Result<TakenIn, Refusal> {
        factory::take_in(&self.app, &acme_ctx(), log).await
    }

    async fn grant(&self, request: &SignedManifest, site: &str, serials: &[&str]) -> Result<Made, Refusal> {
        self.grant_with(request, site, serials, |_| ()).await
    }

    async fn grant_with(
        &self,
        request: &SignedManifest,
        site: &str,
        serials: &[&str],
        change: impl FnOnce(&mut GrantRequest),
    ) -> Result<Made, Refusal> {
        let mut wanted = GrantRequest {
            site: site.parse().unwrap(),
            request: request.clone(),
            models: vec![MODEL.parse().unwrap()],
            serials: serials.iter().map(|range| range.parse().unwrap()).collect(),
            until: None,
            count: None,
        };
        change(&mut wanted);
        factory::grant(&self.app, &acme_ctx(), wanted).await
    }

    /// The audit log: action and subject.
    async fn audited(&self, action: &str) -> usize {
        let filter = AuditFilter {
            limit: 1000,
            ..AuditFilter::default()
        };
        let entries = self.app.storage.audit_entries(&filter).await.unwrap();
        entries
            .iter()
            .filter(|(_, entry)| entry.event.contains(&format!("\"action\":\"{action}\"")))
            .count()
    }

    async fn revisions(&self, serial: &str) -> Vec<u64> {
        let rows = self.app.storage.history(&device(serial)).await.unwrap();
        rows.iter().map(|row| row.revision).collect()
    }
}

fn device(serial: &str) -> DeviceId {
    DeviceId {
        brand: BRAND.parse().unwrap(),
        model: MODEL.parse().unwrap(),
        serial: serial.parse().unwrap(),
    }
}

/// A bundle with something else in it, signed by the same instance.
fn changed(place: &Place, bundle: &SignedManifest, change: impl FnOnce(&mut Value)) -> SignedManifest {
    let mut manifest: Manifest = bundle.open().unwrap();
    change(&mut manifest.body);
    SignedManifest::sign(&manifest, &place.app.secrets.audit_seed).unwrap()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> &'static str {
    outcome.unwrap_err().code
}

/// A centre, and a box of site `ulm` that may sign `A-000..A-099`.
async fn pair() -> (Place, Place) {
    let (centre, ulm) = (Place::centre().await, Place::boxed("ulm").await);
    let made = centre.grant(&ulm.request().await, "ulm", &["A-000..A-099"]).await;
    let accepted = ulm.accept(&made.unwrap().bundle).await.unwrap();
    assert!(accepted.new);
    (centre, ulm)
}

#[tokio::test]
async fn a_box_signs_offline_what_devices_of_the_brand_believe() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    let stream = ulm.register(&Request::new("A-007"), &key).await.unwrap();
    let kinds: Vec<AssertionType> = stream.iter().map(|assertion| assertion.kind()).collect();
    assert_eq!(
        kinds,
        [
            AssertionType::Serial,
            AssertionType::Account,
            AssertionType::AccountKey
        ]
    );
    // A device that knows nothing but the root of the centre.
    let trusted = || instance::trusted(&centre.app);
    let now: Timestamp = START.parse().unwrap();
    let judge = |assertions: &[Assertion], known: Known| {
        let stream = encode_stream(assertions.iter().map(|assertion| assertion.encoded()));
        let judged = verify(stream, Some(known));
        judged
            .into_iter()
            .filter_map(|one| one.refused)
            .map(|objection| objection.code)
            .collect::<Vec<_>>()
    };
    let known = Known::new(trusted().await.unwrap(), now).unwrap();
    assert_eq!(judge(&stream, known), Vec::<&str>::new());
    // The same key, signing beyond what it was granted, is refused by its constraints; and so it is after the end.
    let box_key = hallmark::app::keys::find(
        &ulm.app,
        &BrandCtx::local(BRAND.parse().unwrap()),
        &"factory-ulm".parse().unwrap(),
    )
    .await
    .unwrap()
    .record;
    for (model, serial, good) in [
        (MODEL, "A-099", true),
        (MODEL, "A-100", false),
        (MODEL, "A-0071", false),
        (MODEL, "xA-007", false),
        ("gate-2", "A-007", false),
    ] {
        let forged = headers(&[
            ("authority-id", BRAND),
            ("brand-id", BRAND),
            ("model", model),
            ("serial", serial),
            ("device-key", key.public.encoded()),
            ("device-key-sha3-384", key.public.id().as_str()),
            ("timestamp", START),
        ]);
        let statement =
            hallmark::domain::assertion::Statement::new(AssertionType::Serial, forged, Vec::new());
        // The box's own record would not let it; who has the key is not bound by that.
        let bare = hallmark::domain::vault::SigningKey {
            models: Vec::new(),
            ..box_key.clone()
        };
        let serial = hallmark::app::sign::sign(&ulm.app, &bare, statement)
            .await
            .unwrap();
        let known = Known::new(trusted().await.unwrap(), now).unwrap();
        let objections = judge(&[&stream[1..], &[serial]].concat(), known);
        assert_eq!(objections.is_empty(), good, "{model} {objections:?}");
    }
    let late = Known::new(trusted().await.unwrap(), now.plus_seconds(31 * DAY)).unwrap();
    assert!(!judge(&stream, late).is_empty());
}

#[tokio::test]
async fn a_box_refuses_what_it_was_not_granted() {
    let (centre, ulm) = (Place::centre().await, Place::boxed("ulm").await);
    centre.model("gate-2", "another-api-key-1").await;
    let key = TestKey::new("device");
    // Before any grant.
    let refused = ulm.register(&Request::new("A-1"), &key).await.unwrap_err();
    assert_eq!(refused, "invalid-api-key/");
    serials::judge(
        &centre.app,
        &acme_ctx(),
        &MODEL.parse().unwrap(),
        &["A-3".parse().unwrap(), "B-3".parse().unwrap()],
        Some(Standing::Denied),
    )
    .await
    .unwrap();
    let request = ulm.request().await;
    let made = centre
        .grant_with(&request, "ulm", &["A-0..A-9"], |wanted| wanted.count = Some(2))
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&made.bundle.manifest).contains(API_KEY));
    ulm.accept(&made.bundle).await.unwrap();
    let register = async |serial: &str| {
        ulm.register(&Request::new(serial), &key)
            .await
            .map(|stream| stream[0].revision())
    };
    assert_eq!(register("A-1").await, Ok(1));
    for outside in ["A-10", "B-1", "A-", "A-1x"] {
        assert_eq!(
            register(outside).await,
            Err("duplicate-assertion/out-of-range".to_owned()),
            "{outside}"
        );
    }
    assert_eq!(
        register("A-3").await,
        Err("duplicate-assertion/denied".to_owned())
    );
    let other = Request::new("A-2").model("gate-2");
    let refused = ulm.register_with(&other, &key, "another-api-key-1").await;
    assert_eq!(refused.unwrap_err(), "invalid-api-key/");
    assert_eq!(register("A-2").await, Ok(1));
    // The count is of different serials.
    assert_eq!(
        register("A-4").await,
        Err("duplicate-assertion/quota-reached".to_owned())
    );
    assert_eq!(register("A-1").await, Ok(2));
    // Nothing was reserved for what was refused.
    assert!(ulm.revisions("A-10").await.is_empty());
    ulm.clock.advance(30 * DAY - 1);
    assert_eq!(register("A-1").await, Ok(3));
    ulm.clock.advance(1);
    assert_eq!(register("A-1").await, Err("invalid-model/signing-key".to_owned()));
}

#[tokio::test]
async fn a_log_is_taken_once_however_often_it_comes_and_its_devices_are_known() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    let mut serial = None;
    for number in 1..=3 {
        let name = format!("A-00{number}");
        let stream = ulm.register(&Request::new(&name), &key).await.unwrap();
        serial = stream.into_iter().next();
    }
    let log = ulm.log().await;
    let taken = centre.take_in(&log).await.unwrap();
    assert_eq!((taken.new, taken.known, taken.last_entry), (3, 0, 3));
    let again = centre.take_in(&log).await.unwrap();
    assert_eq!((again.new, again.known, again.last_entry), (0, 3, 3));
    assert_eq!(centre.audited("factory.log").await, 1);
    // One that overlaps, and one with a gap before it.
    ulm.register(&Request::new("A-001"), &key).await.unwrap();
    let overlapping = ulm.log().await;
    let taken = centre.take_in(&overlapping).await.unwrap();
    assert_eq!((taken.new, taken.known, taken.last_entry), (1, 3, 4));
    for name in ["A-005", "A-006"] {
        ulm.register(&Request::new(name), &key).await.unwrap();
    }
    let after = async |entry| {
        let log = factory::export(&ulm.app, &InstanceCtx::local(), Some(entry)).await;
        log.map(|log| log.bundle)
    };
    let gap = centre.take_in(&after(5).await.unwrap()).await.unwrap_err();
    assert_eq!(gap.code, "log-gap");
    assert!(gap.message.contains("entries 5 to 5"), "{gap}");
    assert_eq!(code(after(7).await), "invalid-entry");
    assert_eq!(centre.take_in(&after(4).await.unwrap()).await.unwrap().new, 2);
    let view = factory::show(&centre.app, &acme_ctx(), &"ulm".parse().unwrap())
        .await
        .unwrap();
    assert_eq!((view.last_entry, view.state), (6, SiteState::Active));
    assert_eq!(view.used.get(&MODEL.parse().unwrap()), Some(&5));
    let row = centre
        .app
        .storage
        .latest(&device("A-003"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        Some(row.assertion),
        serial.as_ref().map(|serial| serial.encoded().clone())
    );
    let names = factory::by_key(&centre.app, &acme_ctx()).await.unwrap();
    assert_eq!(
        names.get(&row.sign_key.unwrap()).map(SiteName::as_str),
        Some("ulm")
    );
    // The next grant tells the box how much the centre has; its next log begins there.
    let renewed = centre.grant(&ulm.request().await, "ulm", &["A-000..A-099"]).await;
    assert_eq!(
        ulm.accept(&renewed.unwrap().bundle).await.unwrap().acknowledged,
        6
    );
    let log = factory::export(&ulm.app, &InstanceCtx::local(), None)
        .await
        .unwrap();
    assert_eq!((log.first, log.entries, log.more), (7, 0, false));
    // A centre that was set back needs earlier ones again.
    let taken = centre.take_in(&after(4).await.unwrap()).await.unwrap();
    assert_eq!((taken.new, taken.known), (0, 2));
    let session = session(&centre, &key, &serial.unwrap()).await;
    assert_eq!(session, 200);
}

/// A device opens a session at the centre's store with its serial; the status of the answer.
async fn session(centre: &Place, key: &TestKey, serial: &Assertion) -> u16 {
    let (app, now) = (&centre.app, START.parse().unwrap());
    let (ctx, name) = (acme_ctx(), "model".parse().unwrap());
    let signer = hallmark::app::keys::find(app, &ctx, &name).await.unwrap().record;
    let model = headers(&[
        ("authority-id", BRAND),
        ("series", "16"),
        ("brand-id", BRAND),
        ("model", MODEL),
        ("architecture", "amd64"),
        ("classic", "true"),
        ("store", BRAND),
        ("timestamp", START),
    ]);
    let model = hallmark::domain::assertion::Statement::new(AssertionType::Model, model, Vec::new());
    let model = hallmark::app::sign::sign(app, &signer, model).await.unwrap();
    let (status, body) = centre.post("/api/v1/snaps/auth/nonces", "", "").await;
    assert_eq!(status, 200);
    let nonce: Value = serde_json::from_slice(&body).unwrap();
    let request = headers(&[
        ("brand-id", BRAND),
        ("model", MODEL),
        ("serial", serial.text("serial").unwrap()),
        ("nonce", nonce["nonce"].as_str().unwrap()),
        ("timestamp", START),
    ]);
    let request = key.sign(AssertionType::DeviceSessionRequest, request, b"", now);
    let text = |assertion: &Assertion| String::from_utf8(assertion.encoded().to_vec()).unwrap();
    let body = json!({
        "device-session-request": text(&request), "serial-assertion": text(serial),
        "model-assertion": text(&model),
    });
    let url = format!("http://{}/api/v1/snaps/auth/sessions", centre.address);
    let request = centre
        .http
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_string());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_log_that_was_tampered_with_changes_nothing() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    for name in ["A-001", "A-002"] {
        ulm.register(&Request::new(name), &key).await.unwrap();
    }
    let log = ulm.log().await;
    let mut flipped = log.clone();
    let middle = flipped.manifest.len() / 2;
    flipped.manifest[middle] ^= 1;
    assert_eq!(code(centre.take_in(&flipped).await), "invalid-bundle");
    // By somebody else.
    let other = Place::boxed("bonn").await;
    assert_eq!(
        code(centre.take_in(&changed(&other, &log, |_| ())).await),
        "wrong-signer"
    );
    // By the box itself: another serial, another order of magnitude, something else altogether.
    let entries = |change: &dyn Fn(&mut Vec<Value>)| {
        changed(&ulm, &log, |body| change(body["entries"].as_array_mut().unwrap()))
    };
    let text = |entries: &[Value], index: usize| entries[index].as_str().unwrap().to_owned();
    for change in [
        &|entries: &mut Vec<Value>| entries[1] = text(entries, 1).replace("A-002", "A-003").into(),
        &|entries: &mut Vec<Value>| {
            entries[1] = text(entries, 1).replace("revision: 1", "revision: 2").into()
        },
        &|entries: &mut Vec<Value>| entries[1] = "type: serial".into(),
    ] as [&dyn Fn(&mut Vec<Value>); 3]
    {
        let refused = centre.take_in(&entries(change)).await.unwrap_err();
        assert_eq!(refused.code, "log-refused");
        assert!(refused.message.contains("entry 2"), "{refused}");
    }
    let wrong_site = changed(&ulm, &log, |body| body["site"] = json!("bonn"));
    assert_eq!(code(centre.take_in(&wrong_site).await), "resource-not-found");
    assert!(centre.revisions("A-001").await.is_empty());
    assert_eq!(centre.audited("factory.log").await, 0);
    // Something else in its place, as from a box that was set back and signed for another device.
    let there = |state, assertion: &'static str| SerialRow {
        position: 0,
        device: device("A-002"),
        revision: 1,
        device_key: key.public.id().clone(),
        sign_key: (state == SerialState::Issued).then(|| key.public.id().clone()),
        created_at: START.parse().unwrap(),
        state,
        assertion: bytes::Bytes::from_static(assertion.as_bytes()),
    };
    let other = Place::centre().await;
    other
        .grant(&ulm.request().await, "ulm", &["A-000..A-099"])
        .await
        .unwrap();
    let set_back = there(SerialState::Issued, "type: serial\nserial: A-002\n\nAcLBU==\n");
    other.app.storage.load(vec![set_back]).await.unwrap();
    let refused = other.take_in(&log).await.unwrap_err();
    assert_eq!(refused.code, "log-conflict");
    assert!(refused.message.contains("entry 2"), "{refused}");
    assert!(other.revisions("A-001").await.is_empty());
    // A claim at the centre that came to nothing, made while the range was granted, is in nobody's way.
    let void = there(SerialState::Void, "");
    centre.app.storage.load(vec![void]).await.unwrap();
    assert_eq!(centre.take_in(&log).await.unwrap().new, 2);
    assert_eq!(centre.revisions("A-002").await, [1]);
    assert!(centre.app.storage.check().await.unwrap().is_empty());
    let swapped = changed(&ulm, &log, |body| {
        let entries = body["entries"].as_array_mut().unwrap();
        entries.swap(0, 1);
    });
    // The same entries in another order are the same serials.
    assert_eq!(centre.take_in(&swapped).await.unwrap().new, 0);
}

#[tokio::test]
async fn no_serial_is_given_to_two() {
    let centre = Place::centre().await;
    let key = TestKey::new("device");
    centre.register(&Request::new("A-050"), &key).await.unwrap();
    let (ulm, bonn) = (Place::boxed("ulm").await, Place::boxed("bonn").await);
    let (of_ulm, of_bonn) = (ulm.request().await, bonn.request().await);
    // The centre has signed one itself: nothing is granted, and the range stays its own.
    assert_eq!(
        code(centre.grant(&of_ulm, "ulm", &["A-000..A-099"]).await),
        "range-used"
    );
    centre.register(&Request::new("A-051"), &key).await.unwrap();
    centre
        .grant(&of_ulm, "ulm", &["B-000..B-499", "C-*"])
        .await
        .unwrap();
    for (range, expected) in [
        ("B-499..B-600", "range-taken"),
        ("C-1..C-2", "range-taken"),
        ("B-*", "range-taken"),
    ] {
        assert_eq!(
            code(centre.grant(&of_bonn, "bonn", &[range]).await),
            expected,
            "{range}"
        );
    }
    centre.grant(&of_bonn, "bonn", &["B-500..B-600"]).await.unwrap();
    for (serial, good) in [
        ("B-000", false),
        ("C-x", false),
        ("B-600", false),
        ("B-601", true),
    ] {
        let outcome = centre.register(&Request::new(serial), &key).await;
        assert_eq!(outcome.is_ok(), good, "{serial}");
        if let Err(refused) = outcome {
            assert_eq!(refused, "duplicate-assertion/given-to-site");
        }
    }
    // A narrower grant: until the first one ends the box may not have heard of it.
    centre
        .grant_with(&of_ulm, "ulm", &["B-000..B-099"], |wanted| {
            wanted.until = Some(wanted_until(60));
        })
        .await
        .unwrap();
    assert!(centre.register(&Request::new("B-400"), &key).await.is_err());
    centre.clock.advance(31 * DAY);
    // Now the centre may, above all that the box may have signed; what of it comes later finds its place.
    let stream = centre.register(&Request::new("B-400"), &key).await.unwrap();
    assert_eq!(stream[0].revision(), 1_000_001);
    assert!(centre.register(&Request::new("B-050"), &key).await.is_err());
}

fn wanted_until(days: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap().plus_seconds(days * DAY)
}

#[tokio::test]
async fn serials_of_a_box_come_back_after_the_centre_went_on() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    ulm.register(&Request::new("A-001"), &key).await.unwrap();
    let log = ulm.log().await;
    centre.clock.advance(30 * DAY);
    centre.register(&Request::new("A-001"), &key).await.unwrap();
    assert_eq!(centre.take_in(&log).await.unwrap().new, 1);
    assert_eq!(centre.revisions("A-001").await, [1_000_001, 1]);
}

#[tokio::test]
async fn grants_are_for_one_box_and_only_newer_ones_count() {
    let (centre, ulm) = (Place::centre().await, Place::boxed("ulm").await);
    let request = ulm.request().await;
    let first = centre.grant(&request, "ulm", &["A-0..A-9"]).await.unwrap();
    let second = centre
        .grant_with(&request, "ulm", &["A-0..A-4"], |wanted| {
            wanted.until = Some(wanted_until(60));
        })
        .await
        .unwrap();
    let other = Place::boxed("bonn").await;
    assert_eq!(code(other.accept(&first.bundle).await), "not-for-this-box");
    // Who grants a box something for the first time has to be named.
    let anybody = factory::accept(&ulm.app, &InstanceCtx::local(), &first.bundle, None).await;
    assert_eq!(code(anybody), "signer-required");
    let key = TestKey::new("device");
    ulm.accept(&first.bundle).await.unwrap();
    ulm.register(&Request::new("A-9"), &key).await.unwrap();
    ulm.accept(&second.bundle).await.unwrap();
    assert!(!ulm.accept(&second.bundle).await.unwrap().new);
    assert_eq!(code(ulm.accept(&first.bundle).await), "old-grant");
    // Narrower, and longer.
    let refused = ulm.register(&Request::new("A-8"), &key).await.unwrap_err();
    assert_eq!(refused, "duplicate-assertion/out-of-range");
    ulm.clock.advance(31 * DAY);
    ulm.register(&Request::new("A-1"), &key).await.unwrap();
    // What was signed under the first grant is still taken.
    assert_eq!(centre.take_in(&ulm.log().await).await.unwrap().new, 2);
    // Another centre, or somebody who says so.
    let forged = changed(&other, &second.bundle, |body| body["grant"]["number"] = 3.into());
    assert_eq!(code(ulm.accept(&forged).await), "wrong-signer");
    let wider = changed(&centre, &second.bundle, |body| {
        body["grant"]["number"] = 3.into();
        body["grant"]["serials"] = json!(["A-0..A-9"]);
    });
    // Even the centre's word does not open what the key's constraints close; and its API keys were for another grant.
    assert_eq!(code(ulm.accept(&wider).await), "not-for-this-box");
    // A new box is a new site.
    let replaced = Place::boxed("ulm").await;
    assert_eq!(
        code(
            centre
                .grant(&replaced.request().await, "ulm", &["A-0..A-4"])
                .await
        ),
        "site-key"
    );
    // A request of one site does not enrol another.
    assert_eq!(
        code(centre.grant(&request, "bonn", &["D-0..D-4"]).await),
        "invalid-enrolment"
    );
    let renamed = changed(&ulm, &request, |body| body["site"] = json!("bonn"));
    assert_eq!(
        code(centre.grant(&renamed, "bonn", &["D-0..D-4"]).await),
        "invalid-enrolment"
    );
    let past = centre.grant_with(&request, "ulm", &["A-0..A-4"], |wanted| {
        wanted.until = Some(wanted_until(-1));
    });
    assert_eq!(code(past.await), "invalid-grant");
}

#[tokio::test]
async fn a_box_that_was_set_back_takes_no_grant() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    ulm.register(&Request::new("A-001"), &key).await.unwrap();
    centre.take_in(&ulm.log().await).await.unwrap();
    let renewed = centre
        .grant(&ulm.request().await, "ulm", &["A-000..A-099"])
        .await
        .unwrap();
    let behind = changed(&centre, &renewed.bundle, |body| body["acknowledged"] = 2.into());
    assert_eq!(code(ulm.accept(&behind).await), "box-behind");
    // It was set back and has signed as many since: the entry of that number is another one.
    let other = changed(&centre, &renewed.bundle, |body| {
        let digest = body["acknowledged-sha256"].as_str().unwrap();
        body["acknowledged-sha256"] = digest.chars().rev().collect::<String>().into();
    });
    assert_eq!(code(ulm.accept(&other).await), "box-behind");
    ulm.accept(&renewed.bundle).await.unwrap();
    // Nor later, when the centre has nothing new of it.
    let renewed = centre.grant(&ulm.request().await, "ulm", &["A-000..A-099"]).await;
    let renewed = renewed.unwrap().bundle;
    let other = changed(&centre, &renewed, |body| {
        body["acknowledged-sha256"] = "00".repeat(32).into()
    });
    assert_eq!(code(ulm.accept(&other).await), "box-behind");
    ulm.accept(&renewed).await.unwrap();
}

#[tokio::test]
async fn a_centre_that_was_set_back_gets_the_log_again() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    for serial in ["A-001", "A-002"] {
        ulm.register(&Request::new(serial), &key).await.unwrap();
    }
    centre.take_in(&ulm.log().await).await.unwrap();
    let renew = async || {
        let renewed = centre.grant(&ulm.request().await, "ulm", &["A-000..A-099"]).await;
        renewed.unwrap().bundle
    };
    ulm.accept(&renew().await).await.unwrap();
    let renewed = renew().await;
    let before = changed(&centre, &renewed, |body| {
        body["acknowledged"] = 0.into();
        body["acknowledged-sha256"] = Value::Null;
    });
    assert_eq!(ulm.accept(&before).await.unwrap().acknowledged, 0);
    let log = factory::export(&ulm.app, &InstanceCtx::local(), None)
        .await
        .unwrap();
    assert_eq!((log.first, log.entries), (1, 2));
    // One that knows nothing of the site goes on behind the grants that the box has.
    let again = Place::centre().await;
    let made = again.grant(&ulm.request().await, "ulm", &["A-000..A-099"]).await;
    assert_eq!(made.unwrap().grant.number, 4);
}

#[tokio::test]
async fn of_two_grants_at_the_same_time_one_loses_its_range() {
    let centre = Place::centre().await;
    let (ulm, bonn) = (Place::boxed("ulm").await, Place::boxed("bonn").await);
    let (of_ulm, of_bonn) = (ulm.request().await, bonn.request().await);
    let (one, two) = tokio::join!(
        centre.grant(&of_ulm, "ulm", &["A-000..A-099"]),
        centre.grant(&of_bonn, "bonn", &["A-050..A-149"])
    );
    let refused: Vec<_> = [one, two].into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty());
    for refusal in &refused {
        assert_eq!(refusal.code, "range-taken");
    }
    // What was refused is offered to nobody any more.
    let sites = factory::list(&centre.app, &acme_ctx()).await.unwrap();
    assert!(sites.iter().all(|site| site.pending.is_none()));
    let given = sites.iter().filter(|site| site.grant.is_some()).count();
    assert_eq!(given, 2 - refused.len());
}

#[tokio::test]
async fn a_grant_that_cannot_be_made_gives_nothing_away() {
    let centre = Place::centre().await;
    let ulm = Place::boxed("ulm").await;
    let request = ulm.request().await;
    let (model, key) = (MODEL.parse().unwrap(), TestKey::new("device"));
    let judged: Vec<_> = (0..100_001)
        .map(|number| format!("A-{number:06}").parse().unwrap())
        .collect();
    for part in judged.chunks(10_000) {
        serials::judge(&centre.app, &acme_ctx(), &model, part, Some(Standing::Allowed))
            .await
            .unwrap();
    }
    assert_eq!(
        code(centre.grant(&request, "ulm", &["A-*"]).await),
        "too-many-serials"
    );
    centre.register(&Request::new("A-000001"), &key).await.unwrap();
    // What is named twice is granted once.
    let made = centre
        .grant_with(&request, "ulm", &["B-*", "B-*"], |wanted| {
            wanted.models.push(model.clone());
        })
        .await
        .unwrap();
    assert_eq!((made.grant.models.len(), made.grant.serials.len()), (1, 1));
    ulm.accept(&made.bundle).await.unwrap();
    ulm.register(&Request::new("B-1"), &key).await.unwrap();
}

#[tokio::test]
async fn a_revoked_site_gets_nothing_more_but_what_it_signed_before_is_taken() {
    let (centre, ulm) = pair().await;
    let key = TestKey::new("device");
    let site: SiteName = "ulm".parse().unwrap();
    ulm.register(&Request::new("A-001"), &key).await.unwrap();
    ulm.clock.advance(100);
    centre.clock.advance(100);
    let view = factory::revoke(&centre.app, &acme_ctx(), &site).await.unwrap();
    assert_eq!(view.state, SiteState::Revoked);
    assert_eq!(
        code(centre.grant(&ulm.request().await, "ulm", &["A-000..A-099"]).await),
        "site-revoked"
    );
    // The box does not know.
    ulm.register(&Request::new("A-002"), &key).await.unwrap();
    let taken = centre.take_in(&ulm.log().await).await.unwrap();
    assert_eq!((taken.new, taken.refused, taken.last_entry), (1, 1, 1));
    assert!(centre.revisions("A-002").await.is_empty());
    // Its serials stay its own until the end: somebody could sign them.
    assert!(centre.register(&Request::new("A-003"), &key).await.is_err());
    centre.clock.advance(30 * DAY);
    centre.register(&Request::new("A-003"), &key).await.unwrap();
    let ranges: Vec<SerialRange> = view.grants[0].serials.clone();
    assert_eq!(ranges[0].to_string(), "A-000..A-099");
}
