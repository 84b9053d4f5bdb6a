//! A real server process under load is killed again and again: what it acknowledged is there afterwards.
//! `HALLMARK_CRASH_CYCLES` says how often (3 by default; `.ci/run` asks for 100).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hallmark::adapters::sled::{Sled, SledOptions};
use hallmark::adapters::system::SystemClock;
use hallmark::cli::line::{Device, DeviceKey, Instance, LineError, Station};
use hallmark::domain::assertion::{AssertionType, StreamDecoder};
use hallmark::domain::ident::DeviceId;
use hallmark::domain::time::Timestamp;
use hallmark::domain::vault::SerialState;
use hallmark::ports::{AuditLog as _, Clock as _, SerialFilter, SerialLedger as _, Storage as _};
use tokio::sync::Mutex;

const BRAND: &str = "crash-brand";
const MODEL: &str = "crash-model";
/// Clients that register devices at the same time.
const CLIENTS: usize = 4;
/// Acknowledged requests that are sent again after each restart.
const REPLAYS: usize = 4;

/// What the server said yes to: the request that was sent and the serial that came back.
#[derive(Clone)]
struct Acknowledged {
    request: Vec<u8>,
    serial: Bytes,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_lost_nothing_it_acknowledged() {
    let cycles: usize =
        std::env::var("HALLMARK_CRASH_CYCLES").map_or(3, |text| text.parse().expect("HALLMARK_CRASH_CYCLES"));
    let below = tempfile::tempdir().unwrap();
    let instance = Instance::new(env!("CARGO_BIN_EXE_hallmark"), below.path());
    instance.init(BRAND).unwrap();
    let server = instance.serve().unwrap();
    let api_key = instance.create_model(&server, MODEL).unwrap();
    server.stop().unwrap();

    let keys = DeviceKey::generate_many(2).unwrap();
    let acknowledged: Arc<Mutex<Vec<Acknowledged>>> = Arc::default();
    for cycle in 0..cycles {
        let before = acknowledged.lock().await.clone();
        let server = instance.serve().unwrap();
        let station = Station::new(&server.url, &api_key).unwrap();
        for old in before.iter().rev().take(REPLAYS) {
            let refused = station.submit(old.request.clone()).await;
            assert!(
                matches!(&refused, Err(LineError::Answer { status, body, .. })
                    if *status == 400 && body.contains("invalid-nonce")),
                "a request-id was good twice: {refused:?}"
            );
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let device = device(cycle, client, &keys);
                tokio::spawn(register_until_it_ends(
                    station.clone(),
                    device,
                    Arc::clone(&acknowledged),
                ))
            })
            .collect();
        // Any moment may be the worst one: take another in every cycle.
        tokio::time::sleep(Duration::from_millis(150 + (cycle as u64 * 37) % 400)).await;
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
    }

    let acknowledged = acknowledged.lock().await;
    assert!(
        acknowledged.len() >= cycles,
        "only {} registrations in {cycles} cycles",
        acknowledged.len()
    );
    eprintln!("{cycles} kills, {} acknowledged serials", acknowledged.len());
    // One more start closes what the last kill left open.
    instance.serve().unwrap().stop().unwrap();
    everything_is_there(&instance, &acknowledged).await;
}

/// One client keeps registering one serial: every time a new revision.
async fn register_until_it_ends(
    station: Station,
    device: Device,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
) {
    loop {
        let Ok(request_id) = station.request_id().await else {
            return;
        };
        let request = device.serial_request(&request_id, now()).unwrap();
        match station.submit(request.clone()).await {
            Ok(body) => {
                let serial = StreamDecoder::new(Bytes::from(body))
                    .map(|assertion| assertion.expect("a whole serial"))
                    .find(|assertion| assertion.kind() == AssertionType::Serial)
                    .expect("a serial");
                acknowledged.lock().await.push(Acknowledged {
                    request,
                    serial: serial.encoded().clone(),
                });
            }
            Err(LineError::Connect(_)) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Opens the database itself: every acknowledged serial is a row with exactly its bytes, no revision is there twice,
/// nothing is left half done, and the audit log has a whole chain of every process.
async fn everything_is_there(instance: &Instance, acknowledged: &[Acknowledged]) {
    let storage = Sled::open(&SledOptions::new(instance.data().join("db"))).unwrap();
    let filter = SerialFilter {
        brand: BRAND.parse().unwrap(),
        models: Vec::new(),
        serial_prefix: None,
        device_key: None,
        since: None,
        until: None,
        before: None,
        limit: usize::MAX,
    };
    let rows = storage.serials(&filter).await.unwrap();
    let mut places = BTreeSet::new();
    let mut by_bytes = BTreeMap::new();
    for row in &rows {
        assert!(
            places.insert((row.device.clone(), row.revision)),
            "{} {} twice",
            row.device,
            row.revision
        );
        assert_ne!(
            row.state,
            SerialState::Reserved,
            "{} {} is still open",
            row.device,
            row.revision
        );
        if row.state == SerialState::Issued {
            by_bytes.insert(row.assertion.clone(), row.revision);
        }
    }
    for one in acknowledged {
        let text = String::from_utf8_lossy(&one.serial);
        assert!(
            by_bytes.contains_key(&one.serial),
            "an acknowledged serial is gone:\n{text}"
        );
    }
    for head in storage.heads().await.unwrap() {
        let chain = storage.chain(&head.writer, 1, usize::MAX).await.unwrap();
        assert_eq!(
            chain.len() as u64,
            head.sequence,
            "the chain of {} has gaps",
            head.writer
        );
    }
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    storage.close().await.unwrap();
}

fn device(cycle: usize, client: usize, keys: &[Arc<DeviceKey>]) -> Device {
    // Serials come back in later cycles, so that revisions go on across crashes.
    let serial = format!("SN{}-{client}", cycle % 3);
    Device {
        id: DeviceId {
            brand: BRAND.parse().unwrap(),
            model: MODEL.parse().unwrap(),
            serial: serial.parse().unwrap(),
        },
        key: Arc::clone(&keys[client % keys.len()]),
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}
