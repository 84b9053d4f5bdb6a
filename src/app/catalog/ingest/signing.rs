//! The assertions that make files revisions: taken over where they were imported, else signed by our root, or with a key
//! of the brand where the snap-declaration delegates to it (assertions.md 3.3).

use super::files::{ReadComponent, Reading};
use crate::app::catalog::{publishers, signed};
use crate::app::instance::{assertion, root};
use crate::app::sign::sign;
use crate::app::{App, BrandCtx, Refusal, brand_key};
use crate::domain::assertion::types::{DEFAULT_PROVENANCE, SnapDeclaration, SnapRevision};
use crate::domain::assertion::{Assertion, AssertionType, Headers, Ref, Statement, Typed};
use crate::domain::catalog::SnapRecord;
use crate::domain::ident::{AccountId, KeyName};
use crate::domain::vault::SigningKey;
use crate::ports::{Commit, PutRule};

/// The brand key that signs delegated revisions unless another is named.
pub const DEFAULT_KEY: &str = "snap-revision";

/// A snap and the files that become a revision of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub app: &'a App,
    pub ctx: &'a BrandCtx,
    pub snap: &'a SnapRecord,
    pub reading: &'a Reading,
}

/// Who signs what makes a revision.
#[derive(Debug)]
pub(super) enum Signature {
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
pub(super) struct Numbered {
    /// Its number.
    pub revision: u64,
    /// Whose it is in its assertion.
    pub developer: AccountId,
    pub signature: Signature,
    /// The imported snap-revision, where there is one.
    imported: bool,
}

/// The snap-revision of a file, where there is one.
pub(super) async fn known(app: &App, reading: &Reading) -> Result<Option<SnapRevision>, Refusal> {
    let digest = reading.digest.id.to_base64url();
    let reference = Ref::new(
        AssertionType::SnapRevision,
        [digest.as_str(), reading.yaml.provenance.as_str()],
    );
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
    let Case {
        app,
        ctx,
        snap,
        reading,
    } = case;
    let provenance = reading.yaml.provenance.as_str();
    let developer = developer(ctx, snap, delegated);
    let by_root = provenance == DEFAULT_PROVENANCE && !delegated;
    let signature = if by_root {
        Signature::Key(Box::new(root(app).await?))
    } else if provenance == DEFAULT_PROVENANCE {
        Signature::Imported {
            why: format!("another root signs for brand {}", ctx.brand()),
        }
    } else {
        by_brand(case, key).await?
    };
    if let Some(known) = known {
        return Ok(Numbered {
            revision: known.snap_revision,
            developer: known.developer_id.parse()?,
            signature,
            imported: true,
        });
    }
    let next = if by_root {
        snap.newest_revision.checked_add(1)
    } else if let Signature::Imported { why } = &signature {
        return Err(required(snap, "snap-revision of this file", why));
    } else {
        delegation(declaration)
            .and_then(|view| view.next_delegated(provenance, ctx.brand().as_str(), snap.newest_revision))
    };
    let revision = next.ok_or_else(|| {
        Refusal::conflict(
            "not-delegated",
            format!(
                "cannot sign a revision of {} with provenance {provenance}: its snap-declaration does not delegate the \
                 next revision to brand {} (revision-authority)",
                snap.name,
                ctx.brand()
            ),
        )
    })?;
    Ok(Numbered {
        revision,
        developer,
        signature,
        imported: false,
    })
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
    let provenance = &case.reading.yaml.provenance;
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
    /// Adds the snap-revision to `commit`, with the account of its developer where there is none.
    pub(super) async fn sign(&self, case: Case<'_>, commit: &mut Commit) -> Result<(), Refusal> {
        let Case {
            app,
            ctx,
            snap,
            reading,
        } = case;
        if self.imported {
            return Ok(());
        }
        if self.developer != snap.publisher_id
            && let Some(account) = publishers::missing_developer(app, &self.developer).await?
        {
            signed(app, ctx, commit, &account, PutRule::SkipOld);
        }
        let headers = [
            ("snap-sha3-384", reading.digest.id.to_base64url()),
            ("snap-id", snap.id.to_string()),
            ("snap-size", reading.digest.size.to_string()),
            ("snap-revision", self.revision.to_string()),
        ];
        self.issue(case, AssertionType::SnapRevision, headers, commit)
            .await
    }

    /// The revision of a component file: that of the same bytes before, else the next one. Adds its assertions to
    /// `commit`.
    pub(super) async fn component(
        &self,
        case: Case<'_>,
        component: &ReadComponent,
        commit: &mut Commit,
    ) -> Result<u64, Refusal> {
        let Case {
            app, snap, reading, ..
        } = case;
        let (id, name) = (snap.id.as_str(), component.yaml.component.as_str());
        let provenance = reading.yaml.provenance.as_str();
        let digest = component.digest.id.to_base64url();
        let kind = AssertionType::SnapResourceRevision;
        let reference = Ref::new(kind, [id, name, digest.as_str(), provenance]);
        let known = assertion(app, &reference).await?;
        let number = match known.as_ref().map(Assertion::typed) {
            Some(Typed::SnapResourceRevision(view)) => {
                same_size(name, view.resource_size, component.digest.size)?;
                view.resource_revision
            }
            _ => {
                let newest = snap.newest_components.get(name).copied().unwrap_or(0);
                let number = newest.saturating_add(1);
                let headers = [
                    ("snap-id", id.to_owned()),
                    ("resource-name", name.to_owned()),
                    ("resource-sha3-384", digest),
                    ("resource-size", component.digest.size.to_string()),
                    ("resource-revision", number.to_string()),
                ];
                self.issue(case, kind, headers, commit).await?;
                number
            }
        };
        let (resource, revision) = (number.to_string(), self.revision.to_string());
        let kind = AssertionType::SnapResourcePair;
        let pair = Ref::new(kind, [id, name, &resource, &revision, provenance]);
        if assertion(app, &pair).await?.is_none() {
            let headers = [
                ("snap-id", id.to_owned()),
                ("resource-name", name.to_owned()),
                ("resource-revision", resource),
                ("snap-revision", revision),
            ];
            self.issue(case, kind, headers, commit).await?;
        }
        Ok(number)
    }

    async fn issue<const N: usize>(
        &self,
        case: Case<'_>,
        kind: AssertionType,
        own: [(&str, String); N],
        commit: &mut Commit,
    ) -> Result<(), Refusal> {
        let Case {
            app,
            ctx,
            snap,
            reading,
        } = case;
        let key = match &self.signature {
            Signature::Key(key) => key,
            Signature::Imported { why } => return Err(required(snap, kind.name(), why)),
        };
        let mut headers = Headers::default();
        headers.set("authority-id", key.account_id.as_str());
        headers.set("developer-id", self.developer.as_str());
        headers.set("timestamp", app.clock.now().to_string());
        if reading.yaml.provenance != DEFAULT_PROVENANCE {
            headers.set("provenance", reading.yaml.provenance.as_str());
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
