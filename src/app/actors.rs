//! The people behind account ids, as administration clients show them (admin-api.md 2.5).

use std::collections::BTreeMap;

use super::{App, Refusal};
use crate::domain::access::{Account, Brand};
use crate::domain::ident::{AccountId, BrandId};

/// Who made or changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorName {
    /// The account, or the brand's.
    pub id: AccountId,
    /// Public name.
    pub username: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// Empty where there is none.
    pub email: String,
    /// Whether it is the brand's own account.
    pub brand: bool,
}

/// Looks names up, each once.
#[derive(Debug)]
pub struct Actors<'a> {
    app: &'a App,
    brand: BrandId,
    known: BTreeMap<AccountId, ActorName>,
}

impl<'a> Actors<'a> {
    /// For what belongs to `brand`.
    pub fn of(app: &'a App, brand: &BrandId) -> Self {
        Self {
            app,
            brand: brand.clone(),
            known: BTreeMap::new(),
        }
    }

    /// The id of who did something. What nobody with an account did, the brand did.
    pub fn id(&self, account: Option<&AccountId>) -> AccountId {
        account.cloned().unwrap_or_else(|| self.brand.clone().into())
    }

    /// Who did something.
    pub async fn name(&mut self, account: Option<&AccountId>) -> Result<ActorName, Refusal> {
        let id = self.id(account);
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let found = self.app.storage.find::<Account>([id.as_str()]).await?;
        let name = match found {
            Some(found) => ActorName {
                id: id.clone(),
                username: Some(found.record.username.to_string()),
                display_name: Some(found.record.display_name),
                email: found.record.email.to_string(),
                brand: false,
            },
            None => {
                let brand = self.app.storage.find::<Brand>([id.as_str()]).await?;
                ActorName {
                    id: id.clone(),
                    username: brand.as_ref().map(|brand| brand.record.id.to_string()),
                    brand: brand.is_some(),
                    display_name: brand.map(|brand| brand.record.name),
                    email: String::new(),
                }
            }
        };
        self.known.insert(id, name.clone());
        Ok(name)
    }
}
