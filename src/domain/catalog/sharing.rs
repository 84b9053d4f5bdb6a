//! Collaborators: who besides the publisher may upload and release one snap, and how they come to (admin-api.md 2.6).

use serde::{Deserialize, Serialize};

use crate::domain::ident::{AccountId, BrandId, Email, SnapId};
use crate::domain::time::Timestamp;

/// How long an invite can be accepted, in seconds: 30 days.
pub const SHARE_LIFE: i64 = 30 * 86_400;

/// Somebody is asked to help with a snap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShareInvite {
    /// The snap.
    pub snap_id: SnapId,
    /// Its brand.
    pub brand_id: BrandId,
    /// Who is asked; they need not have an account yet.
    pub email: Email,
    /// SHA-256 of the token that accepts it, lower-case hex.
    pub secret: String,
    /// Who asks.
    pub invited_by: AccountId,
    /// When they asked last.
    pub created: Timestamp,
    /// Until when it can be accepted.
    pub expires: Timestamp,
    /// What became of it; none = it is open, or its time is over.
    #[serde(default)]
    pub end: Option<ShareEnd>,
}

/// What became of an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShareEnd {
    /// How it ended.
    pub how: ShareAct,
    /// Who did it.
    pub by: AccountId,
    /// When.
    pub at: Timestamp,
}

/// Where an invite stands, in the words of invites into stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ShareStatus {
    /// It can be answered.
    Pending,
    /// Its time is over.
    Expired,
    /// Who was asked helps.
    Accepted,
    /// Who was asked does not want to.
    Rejected,
    /// It was taken back.
    Revoked,
}

/// What is done to an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShareAct {
    /// Who was asked agrees.
    Accept,
    /// Who was asked does not.
    Reject,
    /// The publisher takes it back, before or after it was accepted.
    Revoke,
}

/// Why something cannot be done to an invite. Reads as the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareRefusal {
    /// It was answered or taken back.
    #[error("it is over: it was answered or taken back")]
    Over,
    /// Its time is over.
    #[error("its time is over; ask for another one")]
    Expired,
}

impl ShareInvite {
    /// Whether it can be answered at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.end.is_none() && now < self.expires
    }

    /// Where it stands at `now`.
    pub fn status(&self, now: Timestamp) -> ShareStatus {
        match self.end.as_ref().map(|end| end.how) {
            None if self.is_open(now) => ShareStatus::Pending,
            None => ShareStatus::Expired,
            Some(ShareAct::Accept) => ShareStatus::Accepted,
            Some(ShareAct::Reject) => ShareStatus::Rejected,
            Some(ShareAct::Revoke) => ShareStatus::Revoked,
        }
    }

    /// Does something to it.
    ///
    /// # Errors
    /// If it is over already. What was accepted can be taken back still.
    pub fn act(&mut self, how: ShareAct, by: &AccountId, now: Timestamp) -> Result<(), ShareRefusal> {
        match (&self.end, how) {
            (None, ShareAct::Accept | ShareAct::Reject) if now >= self.expires => {
                return Err(ShareRefusal::Expired);
            }
            (None, _) => {}
            (Some(end), ShareAct::Revoke) if end.how == ShareAct::Accept => {}
            (Some(_), _) => return Err(ShareRefusal::Over),
        }
        self.end = Some(ShareEnd {
            how,
            by: by.clone(),
            at: now,
        });
        Ok(())
    }

    /// When and by whom this was done to it.
    pub fn done(&self, how: ShareAct) -> Option<&ShareEnd> {
        self.end.as_ref().filter(|end| end.how == how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_answered_once_and_in_time() {
        let who: AccountId = "a".repeat(32).parse().unwrap();
        let at = Timestamp::from_unix;
        let open = ShareInvite {
            snap_id: "s".repeat(32).parse().unwrap(),
            brand_id: "acme".parse().unwrap(),
            email: "jo@acme.example".parse().unwrap(),
            secret: String::new(),
            invited_by: who.clone(),
            created: at(0),
            expires: at(SHARE_LIFE),
            end: None,
        };
        for how in [ShareAct::Accept, ShareAct::Reject] {
            let mut late = open.clone();
            assert_eq!(late.act(how, &who, at(SHARE_LIFE)), Err(ShareRefusal::Expired));
            assert_eq!(late, open);
        }
        assert_eq!(open.status(at(SHARE_LIFE - 1)), ShareStatus::Pending);
        assert_eq!(open.status(at(SHARE_LIFE)), ShareStatus::Expired);
        for (first, second, outcome) in [
            (ShareAct::Accept, ShareAct::Accept, Err(ShareRefusal::Over)),
            (ShareAct::Accept, ShareAct::Reject, Err(ShareRefusal::Over)),
            (ShareAct::Accept, ShareAct::Revoke, Ok(())),
            (ShareAct::Reject, ShareAct::Accept, Err(ShareRefusal::Over)),
            (ShareAct::Reject, ShareAct::Revoke, Err(ShareRefusal::Over)),
            (ShareAct::Revoke, ShareAct::Accept, Err(ShareRefusal::Over)),
            (ShareAct::Revoke, ShareAct::Revoke, Err(ShareRefusal::Over)),
        ] {
            let mut one = open.clone();
            assert!(one.is_open(at(1)));
            one.act(first, &who, at(1)).unwrap();
            assert!(!one.is_open(at(1)) && one.done(first).is_some());
            let status = match first {
                ShareAct::Accept => ShareStatus::Accepted,
                ShareAct::Reject => ShareStatus::Rejected,
                ShareAct::Revoke => ShareStatus::Revoked,
            };
            assert_eq!(one.status(at(SHARE_LIFE)), status, "also when its time is over");
            assert_eq!(one.act(second, &who, at(2)), outcome, "{first:?} {second:?}");
        }
    }
}
