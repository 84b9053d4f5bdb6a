//! The decision behind every serial: which (brand, model, serial, revision) may be issued to which device key.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::ident::{DeviceId, IdentError, KeyId};
use crate::domain::time::Timestamp;

/// What a model's policy says about a serial that was issued before (serial-vault.md 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reissue {
    /// A new revision for whoever asks; what older vaults do.
    #[default]
    Allow,
    /// A new revision for the device key of the latest one only.
    SameKeyOnly,
    /// Never a second time.
    Deny,
    /// A person decides about every further one; the device polls meanwhile (202).
    Approve,
}

impl std::str::FromStr for Reissue {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        match text {
            "allow" => Ok(Self::Allow),
            "same-key-only" => Ok(Self::SameKeyOnly),
            "deny" => Ok(Self::Deny),
            "approve" => Ok(Self::Approve),
            other => Err(IdentError::new(
                "re-issue policy (allow, same-key-only, deny, approve)",
                other,
            )),
        }
    }
}

/// What applies to a claim: the model's settings at the time of asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// About serials issued before.
    pub reissue: Reissue,
    /// Only serials put on the model's allow-list may be issued.
    pub allow_list: bool,
    /// At most this many distinct serials of the model.
    pub quota: Option<u64>,
    /// Revisions start above this (0: the first is 1).
    pub revision_floor: u64,
}

/// A request-id as presented: its MAC was good, whether it is fresh is the ledger's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedRequestId {
    /// The random part; unique per request-id.
    pub nonce: [u8; 16],
    /// When it stops being good. The ledger remembers a spent one until then.
    pub expires: Timestamp,
}

/// A device asks for a serial. All of its cryptography has been checked before.
#[derive(Clone, Debug)]
pub struct SerialClaim {
    /// The device the serial is for.
    pub device: DeviceId,
    /// The device's key.
    pub device_key: KeyId,
    /// The request-id it spends.
    pub request_id: PresentedRequestId,
    /// The model's rules.
    pub rules: ClaimRules,
    /// Now.
    pub now: Timestamp,
}

/// A place in the ledger, taken before signing. Must be completed or voided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The device the serial is for.
    pub device: DeviceId,
    /// The device's key.
    pub device_key: KeyId,
    /// The revision the serial will have; the first is 1.
    pub revision: u64,
    /// When the place was taken.
    pub reserved_at: Timestamp,
}

/// The answer to a claim. All but `StaleRequest` and `AwaitingApproval` have spent the request-id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The place is taken: sign, then complete it.
    Reserved(Reservation),
    /// The request-id is expired or spent. Nothing changed.
    StaleRequest,
    /// The serial was issued before and the policy refuses another.
    Duplicate,
    /// The serial is not on the model's allow-list.
    NotAllowed,
    /// The serial was denied by a person.
    Denied,
    /// The model's quota of distinct serials is used up.
    QuotaReached {
        /// The quota.
        quota: u64,
    },
    /// A person has to decide; the same request may be sent again, its request-id stays good for it.
    AwaitingApproval,
}

/// What is known of a serial before the policy is asked; read by the ledger inside its transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SerialHistory {
    /// The highest revision ever reserved (issued or void), 0 if none.
    pub last_revision: u64,
    /// The device key of the latest *issued or reserved* row, if any.
    pub last_key: Option<KeyId>,
    /// How the operators judge the serial.
    pub standing: Option<Standing>,
    /// Distinct serials of the model with a row that is issued or reserved.
    pub serials_of_model: u64,
    /// The decision about this device key's pending request, where there is one.
    pub approval: Option<Approval>,
}

/// How the operators judge a serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// On the allow-list.
    Allowed,
    /// Never to be issued (again).
    Denied,
}

/// Where the request of one device key for an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody has decided yet.
    Pending,
    /// The next poll gets its serial; used up by it.
    Approved,
    /// The next poll is refused.
    Rejected,
}

/// What the rules say about a claim, given the history. Pure: every ledger calls this inside its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// Reserve this revision.
    Reserve(u64),
    /// Refuse as already issued.
    Duplicate,
    /// Refuse: not on the allow-list.
    NotAllowed,
    /// Refuse: denied by a person.
    Denied,
    /// Refuse: quota used up.
    QuotaReached,
    /// Remember the request and let the device poll.
    AwaitApproval,
}

/// Decides a claim. Order: denied serials first, then the allow-list, then the re-issue policy, then the quota.
pub fn judge(rules: &ClaimRules, history: &SerialHistory, device_key: &KeyId) -> ClaimVerdict {
    match history.standing {
        Some(Standing::Denied) => return ClaimVerdict::Denied,
        None if rules.allow_list => return ClaimVerdict::NotAllowed,
        None | Some(Standing::Allowed) => {}
    }
    let next = history.last_revision.max(rules.revision_floor).saturating_add(1);
    let Some(last_key) = &history.last_key else {
        return match rules.quota {
            Some(quota) if history.serials_of_model >= quota => ClaimVerdict::QuotaReached,
            Some(_) | None => ClaimVerdict::Reserve(next),
        };
    };
    match rules.reissue {
        Reissue::Allow => ClaimVerdict::Reserve(next),
        Reissue::SameKeyOnly if last_key == device_key => ClaimVerdict::Reserve(next),
        Reissue::SameKeyOnly | Reissue::Deny => ClaimVerdict::Duplicate,
        Reissue::Approve => match history.approval {
            Some(Approval::Approved) => ClaimVerdict::Reserve(next),
            Some(Approval::Rejected) => ClaimVerdict::Denied,
            Some(Approval::Pending) | None => ClaimVerdict::AwaitApproval,
        },
    }
}

/// The state of a row of the serial ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SerialState {
    /// The place is taken, no signature is recorded yet.
    Reserved,
    /// The serial is signed and recorded.
    Issued,
    /// A crash or a signer failure left the place without a signature; it stays as a visible hole.
    Void,
}

/// One row of the serial ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialRow {
    /// Position in the ledger: grows with time, unique per storage.
    pub position: u64,
    /// The device.
    pub device: DeviceId,
    /// The revision.
    pub revision: u64,
    /// The device's key.
    pub device_key: KeyId,
    /// The key that signed it; none unless issued.
    pub sign_key: Option<KeyId>,
    /// When it was issued, else when it was reserved.
    pub created_at: Timestamp,
    /// Its state.
    pub state: SerialState,
    /// The serial assertion, verbatim; empty unless issued.
    pub assertion: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(letter: &str) -> KeyId {
        letter.repeat(64).parse().unwrap()
    }

    #[test]
    fn the_first_serial_has_revision_one_and_the_next_follows_densely() {
        let mut history = SerialHistory::default();
        let rules = ClaimRules::default();
        assert_eq!(judge(&rules, &history, &key("a")), ClaimVerdict::Reserve(1));
        history.last_revision = 1;
        history.last_key = Some(key("a"));
        assert_eq!(judge(&rules, &history, &key("b")), ClaimVerdict::Reserve(2));
    }
}
