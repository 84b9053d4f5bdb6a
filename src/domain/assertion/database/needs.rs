//! What an assertion rests on.

use super::super::decode::Assertion;
use super::super::envelope::Ref;
use super::super::registry::AssertionType;
use super::super::types::Typed;

/// The series that look-ups across types use.
pub(super) const SERIES: &str = "16";

/// Something checking an assertion may look up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// One assertion.
    One(Ref),
    /// All account-keys of an account.
    KeysOfAccount(String),
}

/// Everything that checking or adding `assertion` may look up: its signing key, what it rests on, and itself.
pub fn needs(assertion: &Assertion) -> Vec<Need> {
    let mut needs: Vec<Need> = prerequisites(assertion).into_iter().map(Need::One).collect();
    let kind = assertion.kind();
    if kind.info().has_authority {
        needs.push(Need::One(Ref::new(
            AssertionType::AccountKey,
            [assertion.sign_key().as_str()],
        )));
    }
    if !assertion.primary_key().0.is_empty() {
        needs.push(Need::One(assertion.reference()));
    }
    let typed = assertion.typed();
    if let Typed::AccountKey(key) = typed
        && key.name.is_some()
    {
        needs.push(Need::KeysOfAccount(key.account_id.clone()));
    }
    if let Typed::Serial(serial) = typed
        && assertion.authority_id() != Some(&serial.brand_id)
    {
        let model = Ref::new(AssertionType::Model, [SERIES, &serial.brand_id, &serial.model]);
        needs.push(Need::One(model));
    }
    if let Typed::SnapResourcePair(pair) = typed {
        // Clients do not fetch the developer of a pair, but checking wants it.
        needs.push(Need::One(account(&pair.developer_id)));
    }
    needs.sort();
    needs.dedup();
    needs
}

/// What must be there before `assertion`, besides its signing key: what a client fetches with it (assertions.md 4.5).
pub fn prerequisites(assertion: &Assertion) -> Vec<Ref> {
    match assertion.typed() {
        Typed::AccountKey(key) => vec![account(&key.account_id)],
        Typed::AccountKeyRequest(request) => vec![account(&request.account_id)],
        Typed::SnapDeclaration(declaration) => vec![account(&declaration.publisher_id)],
        Typed::SnapRevision(revision) => {
            vec![declaration(&revision.snap_id), account(&revision.developer_id)]
        }
        Typed::SnapResourceRevision(revision) => {
            vec![declaration(&revision.snap_id), account(&revision.developer_id)]
        }
        Typed::SnapResourcePair(pair) => vec![declaration(&pair.snap_id)],
        Typed::SnapDeveloper(snap) => {
            let mut refs = vec![declaration(&snap.snap_id), account(&snap.publisher_id)];
            refs.extend(
                snap.developers
                    .keys()
                    .filter(|id| **id != snap.publisher_id)
                    .map(|id| account(id)),
            );
            refs
        }
        Typed::Validation(validation) => [&validation.snap_id, &validation.approved_snap_id]
            .map(|id| Ref::new(AssertionType::SnapDeclaration, [&validation.series, id]))
            .to_vec(),
        Typed::Store(store) => vec![account(&store.operator_id)],
        Typed::ConfdbControl(control) => {
            vec![Ref::new(
                AssertionType::Serial,
                [&control.brand_id, &control.model, &control.serial],
            )]
        }
        Typed::Account(_)
        | Typed::BaseDeclaration(_)
        | Typed::Cluster(_)
        | Typed::ConfdbSchema(_)
        | Typed::DeviceSessionRequest(_)
        | Typed::HardwareIdentity(_)
        | Typed::Model(_)
        | Typed::Preseed(_)
        | Typed::Repair(_)
        | Typed::RequestMessage(_)
        | Typed::ResponseMessage(_)
        | Typed::Serial(_)
        | Typed::SerialRequest(_)
        | Typed::SnapBuild(_)
        | Typed::SystemUser(_)
        | Typed::ValidationSet(_) => Vec::new(),
    }
}

pub(super) fn account(id: &str) -> Ref {
    Ref::new(AssertionType::Account, [id])
}

pub(super) fn declaration(snap_id: &str) -> Ref {
    Ref::new(AssertionType::SnapDeclaration, [SERIES, snap_id])
}
