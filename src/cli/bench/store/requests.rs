//! What simulated devices ask the store, as snapd asks it.

use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::catalogue::{ARCHITECTURES, revision, snap_id, snap_name, topic};

/// The kinds of requests that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is new for all snaps of a device? Together the devices have all snaps of the catalogue.
    Refresh,
    /// The same, where together they have the snaps of the small catalogue only, however large the catalogue is.
    RefreshFew,
    /// One snap with its channels.
    Info,
    /// A search: for a name, and for a word that one snap in a hundred has.
    Find,
    /// The declaration of a snap.
    Assertion,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Refresh,
        Self::RefreshFew,
        Self::Info,
        Self::Find,
        Self::Assertion,
    ];

    /// Its name in the result.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::RefreshFew => "refresh-few",
            Self::Info => "info",
            Self::Find => "find",
            Self::Assertion => "assertion",
        }
    }

    /// Of this many requests for refreshes, how many of this kind are made: searches take longest.
    pub(super) fn share(self, requests: usize) -> usize {
        match self {
            Self::Refresh | Self::RefreshFew | Self::Info | Self::Assertion => requests,
            Self::Find => requests.div_ceil(8),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Devices with a session each.
#[derive(Debug)]
pub(super) struct Fleet {
    /// The macaroons.
    pub(super) sessions: Vec<String>,
    /// Snaps on every device.
    pub(super) installed: usize,
    /// Snaps of the small catalogue.
    pub(super) few: usize,
}

/// Steps through the catalogue so that neighbours are far apart, always the same way: prime, above any catalogue's half.
const STRIDE: usize = 7_919;
/// One in this many installed snaps has an update.
const UPDATE: usize = 6;

impl Fleet {
    /// One request of each device, on a catalogue of this many snaps.
    pub(super) fn asks(&self, kind: Kind, snaps: usize) -> anyhow::Result<Vec<Ask>> {
        self.sessions
            .iter()
            .enumerate()
            .map(|(device, session)| {
                let number = (device * STRIDE) % snaps.max(1);
                let (method, path, body) = match kind {
                    Kind::Refresh | Kind::RefreshFew => {
                        let of = if kind == Kind::Refresh { snaps } else { self.few };
                        let body = self.refresh(device, of)?;
                        (Method::POST, "/v2/snaps/refresh".to_owned(), body)
                    }
                    Kind::Info => {
                        let name = snap_name(number)?;
                        let path = format!("/v2/snaps/info/{name}?architecture=amd64&fields={INFO_FIELDS}");
                        (Method::GET, path, Vec::new())
                    }
                    Kind::Find => {
                        let word = if device % 2 == 0 {
                            snap_name(number)?.to_string()
                        } else {
                            topic(number)
                        };
                        let path = format!("/v2/snaps/find?q={word}&confinement=strict&fields={INFO_FIELDS}");
                        (Method::GET, path, Vec::new())
                    }
                    Kind::Assertion => {
                        let id = snap_id(number)?;
                        let path = format!("/v2/assertions/snap-declaration/16/{id}?max-format=6");
                        (Method::GET, path, Vec::new())
                    }
                };
                Ok(Ask {
                    method,
                    path,
                    headers: headers(kind, session)?,
                    body,
                })
            })
            .collect()
    }

    fn refresh(&self, device: usize, snaps: usize) -> anyhow::Result<Vec<u8>> {
        let mut context: Vec<Value> = Vec::with_capacity(self.installed);
        let mut actions: Vec<Value> = Vec::with_capacity(self.installed);
        for place in 0..self.installed {
            let id = snap_id(((device * self.installed + place) * STRIDE) % snaps.max(1))?;
            context.push(json!({
                "snap-id": id,
                "instance-key": id,
                "revision": revision(place % UPDATE != 0),
                "tracking-channel": "latest/stable",
                "epoch": {"read": [0], "write": [0]},
                "refreshed-date": "2026-11-01T10:00:00Z",
            }));
            actions.push(json!({
                "action": "refresh",
                "instance-key": id,
                "snap-id": id,
                "channel": "latest/stable",
            }));
        }
        let fields: Vec<&str> = REFRESH_FIELDS.split(',').collect();
        let body = json!({"context": context, "actions": actions, "fields": fields});
        Ok(body.to_string().into_bytes())
    }

    /// Whether an answer is one: a store that refuses quickly must not look fast.
    pub(super) fn check(&self, kind: Kind, answer: &[u8]) -> anyhow::Result<()> {
        if kind == Kind::Assertion {
            return answer
                .starts_with(b"type: snap-declaration\n")
                .then_some(())
                .context("the answer is no snap-declaration");
        }
        let answer: Value = serde_json::from_slice(answer).context("the answer is not JSON")?;
        let list = |name: &str| answer.get(name).and_then(Value::as_array);
        let good = match kind {
            Kind::Refresh | Kind::RefreshFew => list("results").is_some_and(|results| {
                results.len() == self.installed
                    && results.iter().all(|result| {
                        let newest = result.pointer("/snap/revision").and_then(Value::as_u64);
                        result.get("result").and_then(Value::as_str) == Some("refresh")
                            && newest == Some(revision(true))
                    })
            }),
            Kind::Info => list("channel-map").is_some_and(|entries| entries.len() == 8),
            Kind::Find | Kind::Assertion => list("results").is_some_and(|results| !results.is_empty()),
        };
        good.then_some(()).context("the answer lacks what was asked for")
    }
}

/// What snapd names in `fields` (2.66).
const INFO_FIELDS: &str = "architectures,base,confinement,contact,created-at,description,download,epoch,license,links,\
                           media,name,prices,private,publisher,revision,snap-id,store-url,summary,title,type,version,\
                           website";
const REFRESH_FIELDS: &str = "architectures,base,confinement,contact,created-at,description,download,epoch,license,\
                              links,media,name,prices,private,publisher,revision,snap-id,snap-yaml,store-url,summary,\
                              title,type,version,website";

fn headers(kind: Kind, session: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| -> anyhow::Result<()> {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        Ok(())
    };
    let accept = match kind {
        Kind::Assertion => "application/x.ubuntu.assertion",
        Kind::Refresh | Kind::RefreshFew | Kind::Info | Kind::Find => "application/json",
    };
    set("accept", accept)?;
    let architecture = ARCHITECTURES.first().copied().unwrap_or_default();
    set("snap-device-architecture", architecture)?;
    set("snap-device-series", "16")?;
    set(
        "snap-device-authorization",
        &format!("Macaroon root=\"{session}\""),
    )?;
    set("snap-device-capabilities", "default-tracks")?;
    set("snap-accept-delta-format", "xdelta3")?;
    set(
        "user-agent",
        "snapd/2.66 (series 16; classic) debian/12 (amd64) linux/6.1.0",
    )?;
    if matches!(kind, Kind::Refresh | Kind::RefreshFew) {
        set("content-type", "application/json")?;
        set("snap-refresh-managed", "false")?;
    }
    Ok(headers)
}
