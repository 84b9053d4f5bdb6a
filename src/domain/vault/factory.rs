//! Factory sites: a box at a site signs serials of a brand without the centre, with a key of its own, within what the
//! centre granted; its log flows back. What each side keeps of that, and the rules both judge by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::serial_range::{SerialRange, pattern_of};
use crate::domain::access::Authorship;
use crate::domain::assertion::Value;
use crate::domain::bundle::BundleSigner;
use crate::domain::ident::{BrandId, DeviceId, IdentError, KeyId, KeyName, ModelName, SerialNumber};
use crate::domain::time::Timestamp;

/// Most ranges, and most models, of one grant: constraints should stay readable.
pub const MAX_PARTS: usize = 32;
/// Revisions of serials up to this are a site's; those that the centre signs within a range that it once gave away are
/// above. So a log that comes late never meets a serial of the centre's.
pub const SITE_REVISIONS: u64 = 1_000_000;

/// The name of a site: that of its key is made of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName(KeyName);

impl SiteName {
    /// Longest name.
    pub const MAX: usize = 40;

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name of the site's key: unlike those of the brand's other keys.
    pub fn key_name(&self) -> KeyName {
        let name = format!("factory-{}", self.0);
        // Words in front of words are words.
        name.parse().unwrap_or_else(|_| self.0.clone())
    }
}

impl std::str::FromStr for SiteName {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let wrong = || {
            IdentError::new(
                "name of a site (words of a-z and 0-9 joined by single dashes, at least one letter, at most 40 characters)",
                text,
            )
        };
        if text.len() > Self::MAX {
            return Err(wrong());
        }
        text.parse().map(Self).map_err(|_| wrong())
    }
}

impl TryFrom<String> for SiteName {
    type Error = IdentError;

    fn try_from(text: String) -> Result<Self, IdentError> {
        text.parse()
    }
}

impl From<SiteName> for String {
    fn from(name: SiteName) -> Self {
        name.as_str().to_owned()
    }
}

impl std::fmt::Display for SiteName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a site may sign, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SiteGrant {
    /// 1, 2, ... within the site; a box takes none that is older than what it has.
    pub number: u32,
    /// For these models.
    pub models: Vec<ModelName>,
    /// Serials in these ranges.
    pub serials: Vec<SerialRange>,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// At most this many different serials of each model, those of earlier grants included.
    #[serde(default)]
    pub count: Option<u64>,
}

impl SiteGrant {
    /// Whether it is about this serial of this model, whatever the time.
    pub fn covers(&self, model: &ModelName, serial: &SerialNumber) -> bool {
        self.models.contains(model) && self.serials.iter().any(|range| range.contains(serial))
    }

    /// Whether it lets the site sign at `time`.
    pub fn lives(&self, time: Timestamp) -> bool {
        self.since <= time && time < self.until
    }

    /// Whether there could be a serial that both are about; the model and ranges of the first such pair.
    pub fn meets(&self, other: &Self) -> Option<(&ModelName, &SerialRange)> {
        let model = self.models.iter().find(|model| other.models.contains(model))?;
        let meets = |range: &&SerialRange| other.serials.iter().any(|theirs| theirs.overlaps(range));
        self.serials.iter().find(meets).map(|range| (model, range))
    }

    /// The header `constraints` of the account-key of the site's key: serials of the brand, of these models, in these
    /// ranges, and nothing else. Names of models have no special characters.
    pub fn constraints(&self, brand: &BrandId) -> Value {
        let models = self.models.iter().map(ModelName::as_str).collect::<Vec<_>>();
        let headers = BTreeMap::from([
            ("type".to_owned(), Value::from("serial")),
            ("brand-id".to_owned(), Value::from(brand.as_str())),
            ("model".to_owned(), Value::from(models.join("|"))),
            ("serial".to_owned(), Value::from(pattern_of(&self.serials))),
        ]);
        Value::List(vec![Value::Map(BTreeMap::from([(
            "headers".to_owned(),
            Value::Map(headers),
        )]))])
    }
}

/// A site as the centre knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FactorySite {
    /// The brand whose serials it signs.
    pub brand_id: BrandId,
    /// Its name.
    pub site: SiteName,
    /// Its key; a box with another key is another site.
    pub key_id: KeyId,
    /// The encoded public key.
    pub public_key: String,
    /// What it was granted, oldest first. Only the last one is in force; what the others were about may be in logs.
    pub grants: Vec<SiteGrant>,
    /// A grant that is being made: its serials are the site's already, but nothing of it was signed.
    #[serde(default)]
    pub pending: Option<SiteGrant>,
    /// Who signed its request: its logs must be signed by the same.
    #[serde(default)]
    pub signer: Option<BundleSigner>,
    /// Since when it gets no grants any more.
    #[serde(default)]
    pub revoked: Option<Timestamp>,
    /// The number of the last entry of its log that is here; 0 = none.
    pub last_entry: u64,
    /// The SHA-256 of that entry, in hexadecimal.
    #[serde(default)]
    pub last_digest: Option<String>,
    /// When its log came in last.
    #[serde(default)]
    pub last_log: Option<Timestamp>,
    /// How many different serials of each model came in.
    #[serde(default)]
    pub used: BTreeMap<ModelName, u64>,
    /// When it was enrolled.
    pub created: Timestamp,
    /// By whom, and who changed it.
    #[serde(default)]
    pub authorship: Authorship,
}

impl FactorySite {
    /// The newest grant.
    pub fn grant(&self) -> Option<&SiteGrant> {
        self.grants.last()
    }

    /// Every grant that may be or become one under which the box signs.
    pub fn all(&self) -> impl Iterator<Item = &SiteGrant> {
        self.grants.iter().chain(&self.pending)
    }

    /// What became of a serial's place here.
    pub fn claim_on(&self, model: &ModelName, serial: &SerialNumber, now: Timestamp) -> SiteClaim {
        let mut claim = SiteClaim::None;
        for grant in self.all().filter(|grant| grant.covers(model, serial)) {
            // A box that has not heard of a newer grant goes on under the one it has.
            if now < grant.until {
                return SiteClaim::Living(grant.until);
            }
            claim = SiteClaim::Past;
        }
        claim
    }

    /// The grant under which the site may have signed this at `time`.
    pub fn allowed(&self, device: &DeviceId, time: Timestamp) -> bool {
        device.brand == self.brand_id
            && self.grants.iter().any(|grant| {
                // The key was valid from the first grant on: clocks of boxes are not all set alike.
                grant.covers(&device.model, &device.serial) && time < grant.until
            })
            && self.grants.first().is_some_and(|first| first.since <= time)
    }
}

/// Whether a serial is a site's to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteClaim {
    /// It never was.
    None,
    /// It was: the site may have signed revisions that are not known here.
    Past,
    /// It is, until then.
    Living(Timestamp),
}

/// What a box knows of itself: the site it is for, and what it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FactoryBox {
    /// The brand whose serials it signs.
    pub brand_id: BrandId,
    /// The site.
    pub site: SiteName,
    /// Its key.
    pub key_id: KeyId,
    /// The newest grant it took in.
    #[serde(default)]
    pub grant: Option<SiteGrant>,
    /// The digest of that grant as it came, so that the same one can come again.
    #[serde(default)]
    pub digest: Option<String>,
    /// Who signed that grant: all further ones must be signed by the same.
    #[serde(default)]
    pub centre: Option<BundleSigner>,
    /// How many entries of its log the centre has.
    #[serde(default)]
    pub acknowledged: u64,
    /// The position in the ledger of the last of them.
    #[serde(default)]
    pub position: u64,
    /// When it was made.
    pub created: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(models: &[&str], serials: &[&str], until: i64) -> SiteGrant {
        SiteGrant {
            number: 1,
            models: models.iter().map(|model| model.parse().unwrap()).collect(),
            serials: serials.iter().map(|range| range.parse().unwrap()).collect(),
            since: Timestamp::from_unix(100),
            until: Timestamp::from_unix(until),
            count: None,
        }
    }

    fn site(grants: Vec<SiteGrant>) -> FactorySite {
        FactorySite {
            brand_id: "acme".parse().unwrap(),
            site: "ulm-2".parse().unwrap(),
            key_id: "a".repeat(64).parse().unwrap(),
            public_key: String::new(),
            grants,
            pending: None,
            signer: None,
            revoked: None,
            last_entry: 0,
            last_digest: None,
            last_log: None,
            used: BTreeMap::new(),
            created: Timestamp::from_unix(100),
            authorship: Authorship::default(),
        }
    }

    #[test]
    fn names_of_sites_are_words() {
        let name: SiteName = "ulm-2".parse().unwrap();
        assert_eq!(name.key_name().as_str(), "factory-ulm-2");
        for bad in ["", "Ulm", "ulm_2", "-ulm", "22", &"u".repeat(41)] {
            assert!(bad.parse::<SiteName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn grants_meet_only_where_models_and_ranges_do() {
        let one = grant(&["gate-1", "gate-2"], &["A-00..A-49"], 200);
        assert!(one.meets(&grant(&["gate-2"], &["A-49..A-99"], 200)).is_some());
        assert!(one.meets(&grant(&["gate-3"], &["A-00..A-49"], 200)).is_none());
        assert!(one.meets(&grant(&["gate-1"], &["A-50..A-99"], 200)).is_none());
        assert!(one.meets(&grant(&["gate-1"], &["B*", "A-*"], 200)).is_some());
    }

    #[test]
    fn a_serial_is_the_sites_while_any_grant_for_it_lives() {
        let mut site = site(vec![
            grant(&["gate-1"], &["A-00..A-99"], 500),
            grant(&["gate-1"], &["A-00..A-49"], 300),
        ]);
        let claim = |site: &FactorySite, serial: &str, now| {
            site.claim_on(
                &"gate-1".parse().unwrap(),
                &serial.parse().unwrap(),
                Timestamp::from_unix(now),
            )
        };
        // Narrowed, but the box may not have heard of it.
        assert!(matches!(claim(&site, "A-77", 400), SiteClaim::Living(_)));
        assert_eq!(claim(&site, "A-77", 500), SiteClaim::Past);
        assert_eq!(claim(&site, "B-77", 400), SiteClaim::None);
        site.pending = Some(grant(&["gate-1"], &["B-*"], 900));
        assert!(matches!(claim(&site, "B-77", 400), SiteClaim::Living(_)));
        let device = |serial: &str| DeviceId {
            brand: "acme".parse().unwrap(),
            model: "gate-1".parse().unwrap(),
            serial: serial.parse().unwrap(),
        };
        let at = Timestamp::from_unix;
        assert!(site.allowed(&device("A-77"), at(499)));
        for (serial, time) in [("A-77", 500), ("A-77", 99), ("B-77", 400)] {
            assert!(!site.allowed(&device(serial), at(time)), "{serial} {time}");
        }
    }
}
