//! The `fetch-assertions` action (device-api.md 5.3): which assertions of a group are newer than what the device has.

use super::asker::Asker;
use super::sets;
use super::view::Snapshot;
use crate::app::assertions::{self, Lookup};
use crate::app::{App, Refusal};
use crate::domain::assertion::{Assertion, AssertionType, decode_bytes};

/// A group of assertions that a device asks about together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Names it in the request.
    pub key: String,
    /// The assertions.
    pub wanted: Vec<Wanted>,
}

/// An assertion a device asks about.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The type, as it came.
    pub kind: String,
    /// Which one.
    pub key: WantedKey,
    /// Only a revision above this.
    pub newer_than: Option<u64>,
}

/// Which assertion.
#[derive(Clone, Debug)]
pub enum WantedKey {
    /// By its primary key.
    Primary(Vec<String>),
    /// A member of a sequence.
    Sequence {
        /// The primary key without the number.
        key: Vec<String>,
        /// Exactly this one.
        number: Option<u64>,
        /// The latest if it is above this, or this one again in a newer revision.
        at_least: Option<u64>,
        /// The latest if it is above this.
        above: Option<u64>,
    },
}

/// The answer for a group.
#[derive(Clone, Debug, Default)]
pub struct GroupAnswer {
    /// Paths of what is newer, percent-encoded, with their queries.
    pub paths: Vec<String>,
    /// What is not there.
    pub errors: Vec<GroupError>,
}

/// An assertion that is not there.
#[derive(Clone, Debug)]
pub struct GroupError {
    /// What the client compares.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What was asked for.
    pub wanted: Wanted,
}

/// The answer for a group. `max_formats` says how much of each type the device understands; types it does not list it
/// understands in their first form.
pub async fn fetch(
    app: &App,
    catalog: &Snapshot,
    asker: &Asker,
    group: &Group,
    max_formats: impl Fn(&str) -> u32,
) -> Result<GroupAnswer, Refusal> {
    let mut answer = GroupAnswer::default();
    for wanted in &group.wanted {
        let max_format = max_formats(&wanted.kind);
        let lookup = match lookup(wanted) {
            Ok(lookup) => lookup,
            Err(why) => {
                answer.errors.push(GroupError {
                    code: "not-found",
                    message: why.to_string(),
                    wanted: wanted.clone(),
                });
                continue;
            }
        };
        let found = sets::assertion(app, asker, &lookup, Some(max_format)).await?;
        let found = found
            .and_then(|encoded| decode_bytes(encoded).ok())
            .filter(|found| known_to(catalog, asker, found));
        let Some(found) = found else {
            if sets::has_one(app, wanted) {
                continue;
            }
            answer.errors.push(GroupError {
                code: "not-found",
                message: format!("cannot find this {} assertion", lookup.kind()),
                wanted: wanted.clone(),
            });
            continue;
        };
        if is_news(wanted, &found) {
            answer.paths.push(path(&found, max_format));
        }
    }
    Ok(answer)
}

/// The headers that name the snap an assertion is about, whatever its type; a validation is about two.
const ABOUT: [&str; 2] = ["snap-id", "approved-snap-id"];

/// Whether the asker may have this assertion: those about private snaps only go to who sees the snap.
pub(crate) fn known_to(catalog: &Snapshot, asker: &Asker, assertion: &Assertion) -> bool {
    match assertion.kind() {
        AssertionType::SystemUser => asker
            .session
            .as_ref()
            .is_some_and(|session| assertion.text("brand-id") == Some(session.device.brand.as_str())),
        _ => ABOUT
            .iter()
            .filter_map(|header| assertion.text(header))
            .all(|id| catalog.may_know(id, asker.viewer())),
    }
}

fn lookup(wanted: &Wanted) -> Result<Lookup, assertions::LookupError> {
    match &wanted.key {
        WantedKey::Primary(key) => Lookup::parse(&wanted.kind, key, None),
        WantedKey::Sequence { key, number, .. } => {
            let number = number.map(|number| number.to_string());
            Lookup::parse(&wanted.kind, key, Some(number.as_deref().unwrap_or("latest")))
        }
    }
}

fn is_news(wanted: &Wanted, found: &Assertion) -> bool {
    let newer = |revision: u64| wanted.newer_than.is_none_or(|known| revision > known);
    let revision = found.revision();
    match &wanted.key {
        WantedKey::Primary(_) => newer(revision),
        WantedKey::Sequence {
            number,
            at_least,
            above,
            ..
        } => {
            let sequence = found
                .primary_key()
                .0
                .last()
                .and_then(|last| last.parse::<u64>().ok());
            match (number, at_least, above, sequence) {
                (Some(_), ..) | (None, None, None, _) => newer(revision),
                (None, Some(known), _, Some(sequence)) => {
                    sequence > *known || (sequence == *known && newer(revision))
                }
                (None, None, Some(known), Some(sequence)) => sequence > *known,
                (None, _, _, None) => false,
            }
        }
    }
}

/// Where the assertion is served. The device adds nothing to this path, so it carries what the device understands.
fn path(found: &Assertion, max_format: u32) -> String {
    let kind = found.kind();
    let mut path = format!("/v2/assertions/{kind}");
    for part in &found.primary_key().0 {
        path.push('/');
        path.extend(percent_encoding::utf8_percent_encode(
            part,
            percent_encoding::NON_ALPHANUMERIC,
        ));
    }
    path.push_str(&format!("?max-format={max_format}"));
    path
}
