//! Who made a record, and who changed it last.

use serde::{Deserialize, Serialize};

use crate::domain::ident::AccountId;
use crate::domain::time::Timestamp;

/// Who made a record, and who changed it last. Who acts on the machine itself has no account; nor is it known of records
/// from before this was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Authorship {
    /// Who made it.
    pub created_by: Option<AccountId>,
    /// Who changed it last.
    pub modified_by: Option<AccountId>,
    /// When that was; none = it is as it was made.
    pub modified_at: Option<Timestamp>,
}

impl Authorship {
    /// Of something `account` makes.
    pub fn made_by(account: Option<&AccountId>) -> Self {
        Self {
            created_by: account.cloned(),
            ..Self::default()
        }
    }

    /// `account` changes it at `now`.
    pub fn change(&mut self, account: Option<&AccountId>, now: Timestamp) {
        self.modified_by = account.cloned();
        self.modified_at = Some(now);
    }
}
