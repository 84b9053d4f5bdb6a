//! Sample values the cases work with.

use bytes::Bytes;
use hallmark::domain::access::Account;
use hallmark::domain::assertion::{AssertionType, PrimaryKey, Ref};
use hallmark::domain::audit::{Actor, AuditEvent};
use hallmark::domain::ident::{BrandId, DeviceId, KeyId, ModelName};
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::claim::PresentedRequestId;
use hallmark::domain::vault::model::ApiKey;
use hallmark::domain::vault::{
    ClaimOutcome, ClaimRules, DeviceAuth, ModelRecord, Reissue, Reservation, SerialClaim, SerialPolicy,
    SerialRow, SerialState,
};
use hallmark::ports::{Commit, CommitOutcome, IssuedSerial, SerialFilter, Storage, StoredAssertion};

/// The time of most samples.
pub(crate) const NOW: i64 = 1_790_000_000;

pub(crate) fn at(offset: i64) -> Timestamp {
    Timestamp::from_unix(NOW + offset)
}

pub(crate) fn brand() -> BrandId {
    "brand-one".parse().unwrap()
}

pub(crate) fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

pub(crate) fn device(serial: &str) -> DeviceId {
    DeviceId {
        brand: brand(),
        model: model("gate-1"),
        serial: serial.parse().unwrap(),
    }
}

/// A key id that differs for every `letter`.
pub(crate) fn key(letter: char) -> KeyId {
    letter.to_string().repeat(64).parse().unwrap()
}

/// A request-id with a random part of its own for every `number`, good from `NOW` for 600 seconds.
pub(crate) fn request_id(number: u64) -> PresentedRequestId {
    let mut nonce = [7; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    PresentedRequestId {
        nonce,
        expires: at(600),
    }
}

pub(crate) fn rules(reissue: Reissue) -> ClaimRules {
    ClaimRules {
        reissue,
        ..ClaimRules::default()
    }
}

/// A claim of `serial` by key `letter` with request-id `number`, under rules that allow everything.
pub(crate) fn claim(serial: &str, letter: char, number: u64) -> SerialClaim {
    SerialClaim {
        device: device(serial),
        device_key: key(letter),
        request_id: request_id(number),
        rules: ClaimRules::default(),
        now: at(0),
    }
}

pub(crate) fn claim_under(rules: &ClaimRules, serial: &str, letter: char, number: u64) -> SerialClaim {
    SerialClaim {
        rules: rules.clone(),
        ..claim(serial, letter, number)
    }
}

/// The text of a serial assertion, as far as storage is concerned.
pub(crate) fn signed(reservation: &Reservation) -> IssuedSerial {
    let text = format!(
        "type: serial\nauthority-id: {}\nrevision: {}\nserial: {}\n\nAcLBU{}==\n",
        reservation.device.brand,
        reservation.revision,
        reservation.device.serial,
        "x".repeat(2000)
    );
    IssuedSerial {
        assertion: Bytes::from(text),
        sign_key: key('S'),
        created_at: reservation.reserved_at,
    }
}

pub(crate) fn event(action: &str, subject: &str) -> AuditEvent {
    AuditEvent {
        time: at(0),
        actor: Actor::Device("none".to_owned()),
        brand: Some(brand().into()),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: serde_json::Map::new(),
    }
}

/// The place a claim got.
pub(crate) fn place(outcome: ClaimOutcome) -> Reservation {
    match outcome {
        ClaimOutcome::Reserved(reservation) => reservation,
        other => panic!("no place: {other:?}"),
    }
}

/// Claims and issues in one go.
pub(crate) async fn issue(storage: &dyn Storage, claim: SerialClaim) -> Reservation {
    let reservation = place(storage.claim(claim).await.unwrap());
    let event = event("serial.sign", &reservation.device.to_string());
    storage
        .issue(&reservation, signed(&reservation), event)
        .await
        .unwrap();
    reservation
}

/// A filter that lets every row of the brand through.
pub(crate) fn everything() -> SerialFilter {
    SerialFilter {
        brand: brand(),
        models: Vec::new(),
        serial_prefix: None,
        device_key: None,
        since: None,
        until: None,
        before: None,
        limit: 1000,
    }
}

/// A finished row for [`hallmark::ports::SerialLedger::load`].
pub(crate) fn row(device: DeviceId, revision: u64, state: SerialState, time: i64) -> SerialRow {
    let issued = state == SerialState::Issued;
    let text = format!(
        "type: serial\nserial: {}\nrevision: {revision}\n\nAcLBU==\n",
        device.serial
    );
    SerialRow {
        position: 0,
        device,
        revision,
        device_key: key('d'),
        sign_key: issued.then(|| key('S')),
        created_at: at(time),
        state,
        assertion: if issued { Bytes::from(text) } else { Bytes::new() },
    }
}

pub(crate) fn account(name: &str) -> Account {
    Account {
        id: format!("{name:x<32}").parse().unwrap(),
        email: format!("{name}@brand.example").parse().unwrap(),
        username: name.parse().unwrap(),
        display_name: format!("{name} Ω"),
        password: None,
        unproven: false,
        operator: false,
        second_factor: None,
        provider: None,
        reset: None,
        disabled: false,
        created: at(0),
    }
}

pub(crate) fn model_record(brand: &str, name: &str, api_keys: &[&str]) -> ModelRecord {
    ModelRecord {
        last_policy: 0,
        fleet: Default::default(),
        authorship: Default::default(),
        brand_id: brand.parse().unwrap(),
        name: model(name),
        api_keys: api_keys
            .iter()
            .map(|hash| ApiKey {
                sealed: None,
                id: format!("id-{hash}"),
                hash: (*hash).to_owned(),
                created: at(0),
                expires: None,
            })
            .collect(),
        auth: DeviceAuth::ApiKey,
        reissue: Reissue::Allow,
        allow_list: false,
        quota: Some(7),
        policies: vec![SerialPolicy {
            created_by: None,
            revision: 1,
            key: "serial".parse().unwrap(),
            created: at(0),
        }],
        disabled: false,
        created: at(0),
    }
}

/// A stored assertion with a body that names what it is.
pub(crate) fn assertion(kind: AssertionType, key: &[&str], format: u32, revision: u64) -> StoredAssertion {
    let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
    let text = format!("type: {kind}\nformat: {format}\nrevision: {revision}\nkey: {key:?}\n\nsignature\n");
    let reference = Ref {
        kind,
        key: PrimaryKey(key),
    };
    StoredAssertion {
        reference,
        format,
        revision,
        encoded: Bytes::from(text),
    }
}

/// Applies `commit`, which must succeed.
pub(crate) async fn done(storage: &dyn Storage, commit: Commit) {
    assert_eq!(storage.commit(commit).await.unwrap(), CommitOutcome::Done);
}
