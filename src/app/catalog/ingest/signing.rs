//! The assertions that make files revisions: taken over where they were imported, else signed by our root, or with a key
//! of the brand where the snap-declaration delegates to it (assertions.md 3.3).

use crate::app::catalog::{publishers, signed};
use crate::app::instance::{assertion, root};
use crate::app::sign::sign;
use crate::app::{App, BrandCtx, Refusal, brand_key};
use crate::domain::assertion::types::{DEFAULT_PROVENANCE, SnapDeclaration, SnapRevision};
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement, Typed};
use crate::domain::blob::BlobId;
use crate::domain::catalog::{Component, RevisionRecord, SnapRecord};
use crate::domain::ident::{AccountId, KeyName};
use crate::domain::vault::SigningKey;
use crate::ports::{Commit, PutRule};

/// The brand key that signs delegated revisions unless another is named.
pub const DEFAULT_KEY: &str = "snap-revision";

/// The file of a snap, as its assertions name it.
#[derive(Clone, Copy, Debug)]
pub(in crate::app::catalog) struct File<'a> {
    pub blob: BlobId,
    pub size: u64,
    pub provenance: &'a str,
}

impl<'a> File<'a> {
    /// The file of a revision.
    pub(in crate::app::catalog) fn of(revision: &'a RevisionRecord) -> Self {
        Self {
            blob: revision.blob,
            size: revision.size,
            provenance: &revision.provenance,
        }
    }
}

/// A snap and the file that becomes a revision of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::app::catalog) struct Case<'a> {
    pub app: &'a App,
    pub ctx: &'a BrandCtx,
    pub snap: &'a SnapRecord,
    pub file: File<'a>,
}

/// Who signs what makes a revision.
#[derive(Debug)]
enum Signature {
    /// Nobody here: everything must have been imported.
    Imported {
        /// Why we do not sign.
        why: String,
    },
    /// This key.
    Key(Box<SigningKey>),
}

/// A revision that is to be.
#[derive(Debug)]
pub(in crate::app::catalog) struct Numbered {
    /// Its number.
    pub revision: u64,
    /// Whose it is in its assertion.
    pub developer: AccountId,
    signature: Signature,
    /// The imported snap-revision, where there is one.
    imported: bool,
}

/// The snap-revision of a file, where there is one.
pub(in crate::app::catalog) async fn known(
    app: &App,
    file: File<'_>,
) -> Result<Option<SnapRevision>, Refusal> {
    let digest = file.blob.to_base64url();
    let reference = Ref::new(AssertionType::SnapRevision, [digest.as_str(), file.provenance]);
    let found = assertion(app, &reference).await?;
    Ok(found.and_then(|found| match found.typed() {
        Typed::SnapRevision(view) => Some(view.clone()),
        _ => None,
    }))
}

/// The number of the next revision, and who signs it.
pub(super) async fn number(
    case: Case<'_>,
    declaration: &Assertion,
    known: Option<&SnapRevision>,
    delegated: bool,
    key: Option<&KeyName>,
) -> Result<Numbered, Refusal> {
    let Case { ctx, snap, file, .. } = case;
    let developer = developer(ctx, snap, delegated);
    let signature = signature(case, delegated, key).await?;
    if let Some(known) = known {
        return Ok(Numbered {
            revision: known.snap_revision,
            developer: known.developer_id.parse()?,
            signature,
            imported: true,
        });
    }
    let by_root = is_by_root(file, delegated);
    let provenance = file.provenance;
    let next = if by_root {
        snap.newest_revision.checked_add(1)
    } else if let Signature::Imported { why } = &signature {
        return Err(required(snap, "snap-revision of this file", why));
    } else {
        delegation(declaration)
            .and_then(|view| view.next_delegated(provenance, ctx.brand().as_str(), snap.newest_revision))
    };
    let revision = next.ok_or_else(|| not_delegated(case))?;
    Ok(Numbered {
        revision,
        developer,
        signature,
        imported: false,
    })
}

/// Who signs a revision that has its number already: one that was approved.
pub(in crate::app::catalog) async fn numbered(
    case: Case<'_>,
    declaration: &Assertion,
    revision: &RevisionRecord,
    delegated: bool,
    key: Option<&KeyName>,
) -> Result<Numbered, Refusal> {
    let Case { app, ctx, snap, file } = case;
    let signature = signature(case, delegated, key).await?;
    let imported = known(app, file).await?.is_some();
    let allowed = imported
        || is_by_root(file, delegated)
        || delegation(declaration)
            .is_some_and(|view| view.delegates(file.provenance, ctx.brand().as_str(), revision.revision));
    if let (Signature::Imported { why }, false) = (&signature, imported) {
        return Err(required(snap, "snap-revision of this file", why));
    }
    if !allowed {
        return Err(not_delegated(case));
    }
    Ok(Numbered {
        revision: revision.revision,
        developer: revision.developer_id.clone(),
        signature,
        imported,
    })
}

/// Whether our root signs.
fn is_by_root(file: File<'_>, delegated: bool) -> bool {
    file.provenance == DEFAULT_PROVENANCE && !delegated
}

async fn signature(case: Case<'_>, delegated: bool, key: Option<&KeyName>) -> Result<Signature, Refusal> {
    let Case { app, ctx, file, .. } = case;
    if is_by_root(file, delegated) {
        Ok(Signature::Key(Box::new(root(app).await?)))
    } else if file.provenance == DEFAULT_PROVENANCE {
        Ok(Signature::Imported {
            why: format!("another root signs for brand {}", ctx.brand()),
        })
    } else {
        by_brand(case, key).await
    }
}

fn not_delegated(case: Case<'_>) -> Refusal {
    Refusal::conflict(
        "not-delegated",
        format!(
            "cannot sign a revision of {} with provenance {}: its snap-declaration does not delegate the \
             next revision to brand {} (revision-authority)",
            case.snap.name,
            case.file.provenance,
            case.ctx.brand()
        ),
    )
}

/// Who uploads, as its assertion says it: the publisher, or a collaborator who does it. Only our root can vouch for the
/// account of a collaborator.
fn developer(ctx: &BrandCtx, snap: &SnapRecord, delegated: bool) -> AccountId {
    match ctx.account() {
        Some(account) if !delegated && snap.collaborators.contains(account) => account.clone(),
        _ => snap.publisher_id.clone(),
    }
}

fn delegation(declaration: &Assertion) -> Option<&SnapDeclaration> {
    match declaration.typed() {
        Typed::SnapDeclaration(view) => Some(view),
        _ => None,
    }
}

async fn by_brand(case: Case<'_>, key: Option<&KeyName>) -> Result<Signature, Refusal> {
    let Case { app, ctx, snap, .. } = case;
    let provenance = case.file.provenance;
    let name = match key {
        Some(key) => key.clone(),
        None => DEFAULT_KEY.parse()?,
    };
    let act = format!("sign a revision of {} with provenance {provenance}", snap.name);
    let found = brand_key::read(&*app.storage, ctx.brand(), &name).await;
    let found = match found {
        // Imported assertions may do without a key.
        Err(why @ brand_key::Unusable::Unknown(..)) => {
            return Ok(Signature::Imported { why: why.to_string() });
        }
        found => found.map_err(|why| why.refusal(&act))?,
    };
    let mut headers = Headers::default();
    headers.set("authority-id", ctx.brand().as_str());
    found
        .check(AssertionType::SnapRevision, &headers, app.clock.now())
        .map_err(|why| why.refusal(&act))?;
    Ok(Signature::Key(Box::new(found.record)))
}

fn required(snap: &SnapRecord, what: &str, why: &str) -> Refusal {
    Refusal::conflict(
        "assertion-required",
        format!(
            "cannot add a revision of {}: {why}; import the {what} first (`hallmark assertion import`)",
            snap.name
        ),
    )
}

impl Numbered {
    /// Adds the snap-revision to `commit`, with the account of its developer where there is none; and what makes the
    /// components parts of it. A component whose bytes were signed meanwhile gets the number they have.
    pub(in crate::app::catalog) async fn sign(
        &self,
        case: Case<'_>,
        components: &mut [Component],
        commit: &mut Commit,
    ) -> Result<(), Refusal> {
        let Case { app, ctx, snap, file } = case;
        if !self.imported {
            if self.developer != snap.publisher_id
                && let Some(account) = publishers::missing_developer(app, &self.developer).await?
            {
                signed(app, ctx, commit, &account, PutRule::SkipOld);
            }
            let headers = [
                ("snap-sha3-384", file.blob.to_base64url()),
                ("snap-id", snap.id.to_string()),
                ("snap-size", file.size.to_string()),
                ("snap-revision", self.revision.to_string()),
            ];
            self.issue(case, AssertionType::SnapRevision, headers, commit)
                .await?;
        }
        for component in components {
            self.sign_component(case, component, commit).await?;
        }
        Ok(())
    }

    async fn sign_component(
        &self,
        case: Case<'_>,
        component: &mut Component,
        commit: &mut Commit,
    ) -> Result<(), Refusal> {
        let (id, name) = (case.snap.id.as_str(), component.name.as_str());
        match known_component(case, name, component.blob, component.size).await? {
            Some(number) => component.revision = number,
            None => {
                let headers = [
                    ("snap-id", id.to_owned()),
                    ("resource-name", name.to_owned()),
                    ("resource-sha3-384", component.blob.to_base64url()),
                    ("resource-size", component.size.to_string()),
                    ("resource-revision", component.revision.to_string()),
                ];
                self.issue(case, AssertionType::SnapResourceRevision, headers, commit)
                    .await?;
            }
        }
        let (resource, revision) = (component.revision.to_string(), self.revision.to_string());
        let kind = AssertionType::SnapResourcePair;
        let pair = Ref::new(kind, [id, name, &resource, &revision, case.file.provenance]);
        if assertion(case.app, &pair).await?.is_none() {
            let headers = [
                ("snap-id", id.to_owned()),
                ("resource-name", name.to_owned()),
                ("resource-revision", resource),
                ("snap-revision", revision),
            ];
            self.issue(case, kind, headers, commit).await?;
        }
        Ok(())
    }

    async fn issue<const N: usize>(
        &self,
        case: Case<'_>,
        kind: AssertionType,
        own: [(&str, String); N],
        commit: &mut Commit,
    ) -> Result<(), Refusal> {
        let Case { app, ctx, snap, file } = case;
        let key = match &self.signature {
            Signature::Key(key) => key,
            Signature::Imported { why } => return Err(required(snap, kind.name(), why)),
        };
        let mut headers = Headers::default();
        headers.set("authority-id", key.account_id.as_str());
        headers.set("developer-id", self.developer.as_str());
        headers.set("timestamp", app.clock.now().to_string());
        if file.provenance != DEFAULT_PROVENANCE {
            headers.set("provenance", file.provenance);
        }
        for (name, value) in own {
            headers.set(name, value);
        }
        // A key with constraints must allow this very assertion, or devices refuse it.
        if key.account_id.as_str() == ctx.brand().as_str() {
            let act = format!("sign the {kind} of {}", snap.name);
            brand_key::read(&*app.storage, ctx.brand(), &key.name)
                .await
                .and_then(|found| found.check(kind, &headers, app.clock.now()))
                .map_err(|why| why.refusal(&act))?;
        }
        let assertion = sign(app, key, Statement::new(kind, headers, Vec::new())).await?;
        signed(app, ctx, commit, &assertion, PutRule::Newer);
        Ok(())
    }
}

/// The revision that a component file of the snap has: that of its assertion, else the next one.
pub(super) async fn component_number(
    case: Case<'_>,
    name: &str,
    blob: BlobId,
    size: u64,
) -> Result<u64, Refusal> {
    let newest = case.snap.newest_components.get(name).copied().unwrap_or(0);
    let known = known_component(case, name, blob, size).await?;
    Ok(known.unwrap_or(newest.saturating_add(1)))
}

async fn known_component(
    case: Case<'_>,
    name: &str,
    blob: BlobId,
    size: u64,
) -> Result<Option<u64>, Refusal> {
    let digest = blob.to_base64url();
    let key = [case.snap.id.as_str(), name, &digest, case.file.provenance];
    let reference = Ref::new(AssertionType::SnapResourceRevision, key);
    let known = assertion(case.app, &reference).await?;
    let Some(Typed::SnapResourceRevision(view)) = known.as_ref().map(Assertion::typed) else {
        return Ok(None);
    };
    same_size(name, view.resource_size, size)?;
    Ok(Some(view.resource_revision))
}

/// An imported assertion must tell the size of the very file.
pub(super) fn same_size(what: &str, says: u64, is: u64) -> Result<(), Refusal> {
    if says == is {
        return Ok(());
    }
    Err(Refusal::conflict(
        "size-differs",
        format!("cannot add {what}: its assertion says {says} bytes, the file has {is}"),
    ))
}
