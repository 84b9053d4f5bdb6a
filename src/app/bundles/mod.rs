//! Bundles between instances that have no connection: what goes out is signed, what comes in must be by a signer who is
//! known. The container is `domain::bundle`; each kind of bundle has files of its own here.

mod gather;
pub mod store_in;
pub mod store_out;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::instance::{self, uninitialised};
use super::{App, Refusal};
use crate::domain::blob::BlobId;
use crate::domain::bundle::{
    BundleFile, BundleSignature, BundleSigner, BundleSource, FORMAT, Manifest, SignedManifest, WHOLE,
};
use crate::domain::ident::BrandId;
use crate::domain::time::Timestamp;
use crate::ports::{Change, Key, Record as _, Versioned};

/// A bundle without its files of snaps: what is kept in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bundle {
    /// The manifest as it is signed.
    pub manifest: String,
    /// By whom.
    pub signature: BundleSignature,
    /// The texts among its files, by name; all of them, or those that a step needs.
    pub texts: BTreeMap<String, String>,
}

/// What the operator says about a bundle.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Trust {
    /// Who must have signed it; needed for the first one of a source.
    pub signer: Option<BundleSigner>,
    /// Take it though a newer one of the same source is here.
    pub force: bool,
    /// Take over snaps that are here already from elsewhere.
    pub adopt: bool,
}

/// Signs a bundle of this instance.
///
/// # Errors
/// `bundle-too-large`.
pub async fn sign(
    app: &App,
    kind: &str,
    brand: Option<BrandId>,
    body: Value,
    files: Vec<BundleFile>,
) -> Result<SignedManifest, Refusal> {
    let instance = instance::instance(&app.storage).await?;
    let manifest = Manifest {
        format: FORMAT,
        kind: kind.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: app.clock.now(),
        from: instance.ok_or_else(uninitialised)?.record.id,
        brand,
        body,
        files,
    };
    SignedManifest::sign(&manifest, &app.secrets.audit_seed).map_err(|error| {
        Refusal::invalid(
            "bundle-too-large",
            format!("cannot make the bundle: {error}; export less at a time"),
        )
    })
}

/// A bundle by a signer who is known, or was named.
#[derive(Debug)]
pub struct Opened {
    /// What it is.
    pub manifest: Manifest,
    /// Who signed it.
    pub signer: BundleSigner,
    known: Option<Versioned<BundleSource>>,
}

impl Bundle {
    /// A bundle with these texts.
    pub fn new(signed: SignedManifest, texts: BTreeMap<String, String>) -> Result<Self, Refusal> {
        Ok(Self {
            manifest: String::from_utf8(signed.manifest).map_err(|_| invalid("its manifest is not text"))?,
            signature: signed.signature,
            texts,
        })
    }

    /// Manifest and signature.
    pub fn signed(&self) -> SignedManifest {
        SignedManifest {
            manifest: self.manifest.clone().into_bytes(),
            signature: self.signature.clone(),
        }
    }

    /// One of its texts.
    fn text(&self, name: &str) -> Result<&str, Refusal> {
        let text = self.texts.get(name).map(String::as_str);
        text.ok_or_else(|| invalid(&format!("{name} is missing")))
    }
}

/// Opens a bundle of this kind: signature, signer, and the digests of the texts that are there.
///
/// # Errors
/// `invalid-bundle`, `wrong-bundle` for another kind, `own-bundle`, `signer-required` for the first one of a source,
/// `wrong-signer`.
pub async fn open(app: &App, bundle: &Bundle, kind: &str, trust: &Trust) -> Result<Opened, Refusal> {
    let signed = bundle.signed();
    let manifest = signed.open().map_err(|error| invalid(&error.to_string()))?;
    let signer = signed.signer();
    let from = &manifest.from;
    if manifest.kind != kind {
        return Err(Refusal::invalid(
            "wrong-bundle",
            format!(
                "cannot import the bundle as {kind}: it is of kind {}",
                manifest.kind
            ),
        ));
    }
    let here = instance::instance(&app.storage)
        .await?
        .ok_or_else(uninitialised)?;
    if here.record.id == *from {
        return Err(Refusal::invalid(
            "own-bundle",
            "cannot import the bundle: this very instance made it",
        ));
    }
    let known = app.storage.find::<BundleSource>([from.as_str(), WHOLE]).await?;
    let pinned = known.as_ref().map(|known| known.record.signer);
    match (pinned, trust.signer) {
        (Some(pinned), _) if pinned != signer => {
            return Err(Refusal::conflict(
                "wrong-signer",
                format!(
                    "cannot import the bundle: {signer} signed it, but instance {from} is known by {pinned}"
                ),
            ));
        }
        (_, Some(named)) if named != signer => {
            return Err(Refusal::conflict(
                "wrong-signer",
                format!("cannot import the bundle: {signer} signed it, not {named}"),
            ));
        }
        (None, None) => {
            return Err(Refusal::invalid(
                "signer-required",
                format!(
                    "cannot import the bundle: it is the first one of instance {from}; name who must have signed it \
                     (--signer, as `hallmark export` printed it there)"
                ),
            ));
        }
        (Some(_), _) | (None, Some(_)) => {}
    }
    let files: BTreeMap<&str, &BundleFile> = manifest
        .files
        .iter()
        .map(|file| (file.name.as_str(), file))
        .collect();
    for (name, text) in &bundle.texts {
        let listed = files.get(name.as_str());
        if listed
            .is_none_or(|file| file.size != text.len() as u64 || file.sha3_384 != BlobId::of(text.as_bytes()))
        {
            return Err(invalid(&format!("{name} is not what its manifest lists")));
        }
    }
    Ok(Opened {
        manifest,
        signer,
        known,
    })
}

impl Opened {
    /// The change that pins the signer; none if that is done. It goes with the first thing that is taken in.
    pub fn pin(&self, now: Timestamp) -> Option<Change> {
        let new = || Change::create(&BundleSource::of(&self.manifest, WHOLE, self.signer, now));
        self.known.is_none().then(new)
    }

    /// What is known of a part of the source.
    pub async fn part(&self, app: &App, part: &str) -> Result<Option<Versioned<BundleSource>>, Refusal> {
        let key = [self.manifest.from.as_str(), part];
        Ok(app.storage.find::<BundleSource>(key).await?)
    }

    /// The changes that end what other sources had to say about a part: it follows one of them, the last that was let in.
    pub async fn alone(&self, app: &App, part: &str) -> Result<Vec<Change>, Refusal> {
        let (mut changes, all, mut last) = (Vec::new(), Key(Vec::new()), None);
        loop {
            let next = app
                .storage
                .records_after(BundleSource::KIND, &all, last.as_ref(), 1);
            let Some(next) = next.await?.into_iter().next() else {
                return Ok(changes);
            };
            let source = next.key.0.into_iter().next().unwrap_or_default();
            if source != self.manifest.from
                && let Some(other) = app.storage.find::<BundleSource>([&source, part]).await?
            {
                changes.push(Change::delete(&other.record, other.version));
            }
            // A source has a part for each snap: go on behind all of them.
            last = Some(Key::from([source.as_str(), "\u{10ffff}"]));
        }
    }

    /// Whether a newer bundle brought this part already.
    pub fn is_older(&self, part: Option<&Versioned<BundleSource>>) -> bool {
        part.is_some_and(|part| part.record.created_at > self.manifest.created_at)
    }

    /// The change that notes that this bundle brought the part; none if that is noted.
    pub fn note(&self, name: &str, part: Option<&Versioned<BundleSource>>, now: Timestamp) -> Option<Change> {
        let new = BundleSource::of(&self.manifest, name, self.signer, now);
        match part {
            None => Some(Change::create(&new)),
            Some(known) if known.record.created_at == new.created_at => None,
            Some(known) => Some(Change::replace(&new, known.version)),
        }
    }
}

fn invalid(why: &str) -> Refusal {
    Refusal::invalid("invalid-bundle", format!("cannot use the bundle: {why}"))
}
