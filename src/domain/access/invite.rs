//! Invites into stores: their states, and what leads from one to the next (admin-api.md 1.4).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::permission::Role;
use crate::domain::ident::{AccountId, BrandId, Email, IdentError, StoreId};
use crate::domain::time::Timestamp;

/// Life of an invite, in seconds: 30 days.
pub const INVITE_LIFE: i64 = 30 * 86_400;

/// Somebody who shall have roles in a store once they accept. There need be no account of theirs. One that was accepted
/// is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreInvite {
    /// The brand of the store.
    pub brand_id: BrandId,
    /// The store.
    pub store_id: StoreId,
    /// Who is meant.
    pub email: Email,
    /// What they shall be; never empty, never `brand`.
    pub roles: BTreeSet<Role>,
    /// SHA-256 of the text that accepts it, lower-case hex.
    pub secret: String,
    /// Who sent it last; none for local commands.
    pub invited_by: Option<AccountId>,
    /// It was taken back.
    pub revoked: bool,
    /// When it was first sent.
    pub created: Timestamp,
    /// When it stops being good.
    pub expires: Timestamp,
}

/// Where an invite stands, in the words of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum InviteStatus {
    /// It can be accepted.
    Pending,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl InviteStatus {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
        }
    }
}

/// What is done to an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InviteAction {
    /// Sent again: a new secret, and its time begins anew.
    Resend,
    /// Taken back.
    Revoke,
    /// Made good again after it had expired or was taken back.
    Open,
}

impl InviteAction {
    /// Its name, as in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Revoke => "revoke",
            Self::Open => "open",
        }
    }

    /// Whether the invite gets a new secret by it.
    pub fn renews(self) -> bool {
        match self {
            Self::Resend | Self::Open => true,
            Self::Revoke => false,
        }
    }
}

impl std::str::FromStr for InviteAction {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        [Self::Resend, Self::Revoke, Self::Open]
            .into_iter()
            .find(|action| action.name() == text)
            .ok_or_else(|| IdentError::new("action on an invite (resend, revoke or open)", text))
    }
}

impl StoreInvite {
    /// Where it stands at `now`.
    pub fn status(&self, now: Timestamp) -> InviteStatus {
        if self.revoked {
            InviteStatus::Revoked
        } else if now >= self.expires {
            InviteStatus::Expired
        } else {
            InviteStatus::Pending
        }
    }

    /// Does something to it.
    ///
    /// # Errors
    /// Its status, if that does not allow it: pending ones are sent again and revoked, the others opened.
    pub fn act(&mut self, action: InviteAction, now: Timestamp) -> Result<(), InviteStatus> {
        let status = self.status(now);
        match (action, status) {
            (InviteAction::Resend, InviteStatus::Pending)
            | (InviteAction::Open, InviteStatus::Expired | InviteStatus::Revoked) => {
                self.revoked = false;
                self.expires = now.plus_seconds(INVITE_LIFE);
            }
            (InviteAction::Revoke, InviteStatus::Pending) => self.revoked = true,
            (InviteAction::Resend | InviteAction::Revoke, InviteStatus::Expired | InviteStatus::Revoked)
            | (InviteAction::Open, InviteStatus::Pending) => return Err(status),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite() -> StoreInvite {
        StoreInvite {
            brand_id: "acme".parse().unwrap(),
            store_id: "acme".parse().unwrap(),
            email: "jo@acme.example".parse().unwrap(),
            roles: BTreeSet::from([Role::View]),
            secret: String::new(),
            invited_by: None,
            revoked: false,
            created: Timestamp::from_unix(0),
            expires: Timestamp::from_unix(INVITE_LIFE),
        }
    }

    #[test]
    fn an_invite_goes_the_ways_of_its_state_machine_and_no_others() {
        use InviteAction as A;
        use InviteStatus as S;
        let at = Timestamp::from_unix;
        let late = at(INVITE_LIFE);
        let mut one = invite();
        assert_eq!((one.status(at(0)), one.status(late)), (S::Pending, S::Expired));
        assert_eq!(one.act(A::Open, at(0)), Err(S::Pending));
        assert_eq!(one.act(A::Resend, late), Err(S::Expired));
        assert_eq!(one.act(A::Revoke, late), Err(S::Expired));
        one.act(A::Resend, at(10)).unwrap();
        assert_eq!(
            (one.status(late), one.expires),
            (S::Pending, at(INVITE_LIFE + 10))
        );
        one.act(A::Revoke, at(20)).unwrap();
        assert_eq!(one.status(at(20)), S::Revoked);
        assert_eq!(one.act(A::Resend, at(20)), Err(S::Revoked));
        assert_eq!(one.act(A::Revoke, at(20)), Err(S::Revoked));
        one.act(A::Open, at(30)).unwrap();
        assert_eq!(
            (one.status(at(30)), one.expires),
            (S::Pending, at(INVITE_LIFE + 30))
        );
    }

    proptest! {
        /// Whatever is done whenever: what was refused changed nothing, and what is pending ends within its life.
        #[test]
        fn no_way_leads_around_the_states(steps in proptest::collection::vec((0usize..3, 0i64..2 * INVITE_LIFE), 0..12)) {
            let mut one = invite();
            let mut now = 0;
            for (action, later) in steps {
                now += later;
                let action = [InviteAction::Resend, InviteAction::Revoke, InviteAction::Open][action];
                let before = one.clone();
                let time = Timestamp::from_unix(now);
                match one.act(action, time) {
                    Err(status) => {
                        prop_assert_eq!(status, before.status(time));
                        prop_assert_eq!(&one, &before);
                    }
                    Ok(()) => prop_assert_eq!(one.status(time) == InviteStatus::Revoked, action == InviteAction::Revoke),
                }
                prop_assert_ne!(one.status(Timestamp::from_unix(now + INVITE_LIFE)), InviteStatus::Pending);
            }
        }
    }
}
