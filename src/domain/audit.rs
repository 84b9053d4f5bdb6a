//! The audit log: every administrative act and every signature, hash-chained per writer process (decisions.md 21).

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::domain::ident::AccountId;
use crate::domain::time::Timestamp;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// A person or token of this account.
    Account(AccountId),
    /// A device, by the id of the API key it used (or `none`).
    Device(String),
    /// Somebody with access to the data directory.
    Local,
    /// The process itself.
    System,
}

impl Actor {
    /// The account that acts, where it is one.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Account(account) => Some(account),
            Self::Device(_) | Self::Local | Self::System => None,
        }
    }
}

/// Something worth remembering, before it has a place in the chain. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditEvent {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// For which brand; none = the instance.
    pub brand: Option<AccountId>,
    /// What was done: `serial.sign`, `key.disable`...
    pub action: String,
    /// To what: `brand/model/serial`, a key name...
    pub subject: String,
    /// Further facts, e.g. `revision` or `content-sha512`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// The end of one writer's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainHead {
    /// The writer process, a UUID made at its start.
    pub writer: String,
    /// Number of the last entry; 0 before the first.
    pub sequence: u64,
    /// SHA-256 of the last entry, lower-case hex; 64 zeros before the first.
    pub hash: String,
}

impl ChainHead {
    /// The head of an empty chain.
    pub fn new(writer: String) -> Self {
        Self {
            writer,
            sequence: 0,
            hash: "0".repeat(64),
        }
    }
}

/// An event in its place. `hash` covers `previous`, `writer`, `sequence` and the event as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditEntry {
    /// The writer process.
    pub writer: String,
    /// Its number in the writer's chain, from 1.
    pub sequence: u64,
    /// Hash of the entry before, lower-case hex.
    pub previous: String,
    /// Hash of this entry, lower-case hex.
    pub hash: String,
    /// The event as compact JSON: the exact bytes that are hashed.
    pub event: String,
}

/// A statement about where chains stood, signed with the instance's ed25519 key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checkpoint {
    /// 1, 2, ...
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// The ends of the chains that moved since an earlier checkpoint, ordered by writer; together the checkpoints
    /// cover every chain.
    pub heads: Vec<ChainHead>,
    /// Public key of the signature, lower-case hex.
    pub public_key: String,
    /// Signature over [`Checkpoint::signed_bytes`], lower-case hex.
    pub signature: String,
}

impl Checkpoint {
    /// The bytes the signature covers.
    pub fn signed_bytes(number: u64, time: Timestamp, heads: &[ChainHead]) -> Vec<u8> {
        let mut text = format!("hallmark-audit-checkpoint\n{number}\n{time}\n");
        for head in heads {
            text.push_str(&format!("{} {} {}\n", head.writer, head.sequence, head.hash));
        }
        text.into_bytes()
    }
}

/// Links `event` to the end of a chain; the head moves to the new entry.
pub fn link(head: &mut ChainHead, event: &AuditEvent) -> AuditEntry {
    let event = serde_json::to_string(event).unwrap_or_default();
    let previous = head.hash.clone();
    head.sequence += 1;
    head.hash = entry_hash(&previous, &head.writer, head.sequence, &event);
    AuditEntry {
        writer: head.writer.clone(),
        sequence: head.sequence,
        previous,
        hash: head.hash.clone(),
        event,
    }
}

/// The hash an entry must have.
pub fn entry_hash(previous: &str, writer: &str, sequence: u64, event: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [previous, "\n", writer, "\n", &sequence.to_string(), "\n", event] {
        context.update(part.as_bytes());
    }
    hex(context.finish().as_ref())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    // Not by formatting each byte: every answer about a snap has digests in it.
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_two_lower_case_digits_a_byte() {
        assert_eq!(hex(&[0, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }
}
