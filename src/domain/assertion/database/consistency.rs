//! What each type must agree with among the assertions known (the rules marked A in assertions.md 3).

use super::super::decode::Assertion;
use super::super::envelope::Ref;
use super::super::registry::AssertionType;
use super::super::types::{AccountKey, DEFAULT_PROVENANCE, Serial, SnapDeveloper, Typed, Validation};
use super::needs::{SERIES, account, declaration};
use super::{Backstore, CheckError, Database, as_account_key};

/// Checks the rules of the type of `assertion`.
pub(super) fn check<S: Backstore>(database: &Database<S>, assertion: &Assertion) -> Result<(), CheckError> {
    let rules = Rules {
        database,
        assertion,
        authority: assertion.authority_id().unwrap_or_default(),
    };
    match assertion.typed() {
        Typed::Account(_) | Typed::BaseDeclaration(_) => rules.by_root(),
        Typed::AccountKey(key) => rules.account_key(key),
        Typed::AccountKeyRequest(request) => rules.known(account(&request.account_id)).map(drop),
        Typed::Serial(serial) => rules.serial(serial),
        Typed::SnapDeclaration(declaration) => {
            rules.by_root()?;
            rules.known(account(&declaration.publisher_id)).map(drop)
        }
        Typed::SnapRevision(view) => rules.snap_part(
            &view.snap_id,
            &view.developer_id,
            &view.provenance,
            view.snap_revision,
        ),
        Typed::SnapResourceRevision(view) => rules.snap_part(
            &view.snap_id,
            &view.developer_id,
            &view.provenance,
            view.resource_revision,
        ),
        Typed::SnapResourcePair(view) => rules.snap_part(
            &view.snap_id,
            &view.developer_id,
            &view.provenance,
            view.snap_revision,
        ),
        Typed::SnapDeveloper(view) => rules.snap_developer(view),
        Typed::Validation(view) => rules.validation(view),
        Typed::Store(store) => {
            rules.by_root()?;
            rules.known(account(&store.operator_id)).map(drop)
        }
        Typed::Cluster(_)
        | Typed::ConfdbControl(_)
        | Typed::ConfdbSchema(_)
        | Typed::DeviceSessionRequest(_)
        | Typed::HardwareIdentity(_)
        | Typed::Model(_)
        | Typed::Preseed(_)
        | Typed::Repair(_)
        | Typed::RequestMessage(_)
        | Typed::ResponseMessage(_)
        | Typed::SerialRequest(_)
        | Typed::SnapBuild(_)
        | Typed::SystemUser(_)
        | Typed::ValidationSet(_) => Ok(()),
    }
}

struct Rules<'a, S> {
    database: &'a Database<S>,
    assertion: &'a Assertion,
    authority: &'a str,
}

impl<S: Backstore> Rules<'_, S> {
    fn by_root(&self) -> Result<(), CheckError> {
        if self.database.is_trusted_account(self.authority) {
            return Ok(());
        }
        Err(CheckError::NotByRoot {
            reference: self.assertion.reference(),
            authority: self.authority.to_owned(),
        })
    }

    fn known(&self, wanted: Ref) -> Result<Assertion, CheckError> {
        self.database.resolve(&wanted).ok_or_else(|| CheckError::Missing {
            reference: self.assertion.reference(),
            missing: wanted,
        })
    }

    fn not_authorized(&self, why: &'static str) -> CheckError {
        let (reference, authority) = (self.assertion.reference(), self.authority.to_owned());
        CheckError::NotAuthorized {
            reference,
            authority,
            why,
        }
    }

    fn account_key(&self, key: &AccountKey) -> Result<(), CheckError> {
        self.by_root()?;
        self.known(account(&key.account_id))?;
        let Some(name) = &key.name else { return Ok(()) };
        let wanted = [("account-id", key.account_id.as_str()), ("name", name)];
        let same_name = self.database.find_many(AssertionType::AccountKey, &wanted);
        let other = same_name
            .iter()
            .filter_map(as_account_key)
            .find(|other| other.public_key.id() != key.public_key.id());
        match other {
            Some(other) => Err(CheckError::KeyNameTaken {
                account: key.account_id.clone(),
                name: name.clone(),
                other: other.public_key.id().clone(),
            }),
            None => Ok(()),
        }
    }

    /// A serial not signed by the brand needs a model that lets its authority do so; being a root does not help.
    fn serial(&self, serial: &Serial) -> Result<(), CheckError> {
        if serial.brand_id == self.authority {
            return Ok(());
        }
        let model = self.database.resolve(&Ref::new(
            AssertionType::Model,
            [SERIES, &serial.brand_id, &serial.model],
        ));
        if let Some(Typed::Model(model)) = model.as_ref().map(Assertion::typed)
            && model.lets_sign_serials(self.authority)
        {
            return Ok(());
        }
        Err(self.not_authorized("no known model lists it in serial-authority, and it is not the brand"))
    }

    /// Snap revisions, resource revisions and pairs: the root signs what came the ordinary way, others what the
    /// declaration delegates to them.
    fn snap_part(
        &self,
        snap_id: &str,
        developer: &str,
        provenance: &str,
        revision: u64,
    ) -> Result<(), CheckError> {
        let delegated = provenance != DEFAULT_PROVENANCE;
        if !delegated {
            self.by_root()?;
        }
        self.known(account(developer))?;
        let known = self.known(declaration(snap_id))?;
        if !delegated {
            return Ok(());
        }
        if let Typed::SnapDeclaration(declaration) = known.typed()
            && declaration.delegates(provenance, self.authority, revision)
        {
            return Ok(());
        }
        Err(self.not_authorized("the snap-declaration delegates no such provenance and revision to it"))
    }

    fn snap_developer(&self, view: &SnapDeveloper) -> Result<(), CheckError> {
        if view.publisher_id != self.authority && !self.database.is_trusted_account(self.authority) {
            return Err(self.not_authorized("it is neither the publisher nor a trusted root"));
        }
        self.known(declaration(&view.snap_id))?;
        self.known(account(&view.publisher_id))?;
        view.developers
            .keys()
            .try_for_each(|developer| self.known(account(developer)).map(drop))
    }

    fn validation(&self, view: &Validation) -> Result<(), CheckError> {
        let declaration = |id: &str| Ref::new(AssertionType::SnapDeclaration, [&view.series, id]);
        self.known(declaration(&view.approved_snap_id))?;
        let gating = self.known(declaration(&view.snap_id))?;
        if let Typed::SnapDeclaration(gating) = gating.typed()
            && gating.publisher_id == self.authority
        {
            return Ok(());
        }
        Err(self.not_authorized("it is not the publisher of the gating snap"))
    }
}
