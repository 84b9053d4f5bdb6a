//! `model`: what a kind of device is made of, and who may vouch for it. Rules of snapd 2.77, so that what passes
//! here passes on every current device (assertions.md 3.2).

use super::super::headers::Headers;
use super::Parts;
use super::checks::{Checked, Fields};
use super::model_policy::{self, Authorities, ModelValidationSet};
use super::model_snaps::{self, ModelSnap, SnapKind, Snaps};
use super::names;
use super::serial::model_name;
use crate::domain::ident::{BrandId, IdentError, ModelName};
use crate::domain::time::Timestamp;

/// How much a model vouches for what is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// A model without the `snaps` header.
    Unset,
    /// Unasserted and extra snaps are fine.
    Dangerous,
    /// Every snap of the seed is signed and listed.
    Signed,
    /// Like signed; disk encryption and secure boot are mandatory.
    Secured,
}

impl Grade {
    /// The number measured when disk keys are sealed.
    pub fn code(self) -> u32 {
        match self {
            Self::Unset => 0,
            Self::Dangerous => 0x10000,
            Self::Signed => 0x80000,
            Self::Secured => 0x10_0000,
        }
    }

    /// Its word on the wire; `unset` is never written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Dangerous => "dangerous",
            Self::Signed => "signed",
            Self::Secured => "secured",
        }
    }
}

/// Whether disks are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageSafety {
    /// A model without the `snaps` header.
    Unset,
    /// Always.
    Encrypted,
    /// Where the hardware can.
    PreferEncrypted,
    /// Not by default, even where the hardware can.
    PreferUnencrypted,
}

impl StorageSafety {
    /// Its word on the wire; `unset` is never written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Encrypted => "encrypted",
            Self::PreferEncrypted => "prefer-encrypted",
            Self::PreferUnencrypted => "prefer-unencrypted",
        }
    }
}

/// A well-formed model, and what follows from it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The series, `16` so far.
    pub series: String,
    /// The brand; it signs the model.
    pub brand_id: String,
    /// The name of the model.
    pub model: String,
    /// The name shown to people; the model's own where none is given.
    pub display_name: String,
    /// Whether devices run a classic system.
    pub classic: bool,
    /// The distribution of a classic system with listed snaps.
    pub distribution: Option<String>,
    /// The architecture; only plain classic models may lack it.
    pub architecture: Option<String>,
    /// The boot base.
    pub base: Option<String>,
    /// The store devices use; none = the default store.
    pub store: Option<String>,
    /// The grade.
    pub grade: Grade,
    /// Whether disks are encrypted.
    pub storage_safety: StorageSafety,
    /// All snaps: snapd, kernel, boot base, gadget as far as there are such, then the rest in order.
    pub snaps: Vec<ModelSnap>,
    /// How many of `snaps` are essential.
    essential: usize,
    /// The validation sets devices follow.
    pub validation_sets: Vec<ModelValidationSet>,
    /// Who may sign serials; the brand is always among them.
    pub serial_authority: Vec<String>,
    /// Who may sign system-users; the brand is always among them.
    pub system_user_authority: Authorities,
    /// Who may sign preseeds; the brand is always among them.
    pub preseed_authority: Vec<String>,
    /// When it was issued.
    pub timestamp: Timestamp,
}

impl Model {
    /// Brand and model under the stricter rules hallmark has for names.
    pub fn names(&self) -> Result<(BrandId, ModelName), IdentError> {
        Ok((self.brand_id.parse()?, self.model.parse()?))
    }

    /// The snaps no device works without, in the order they are set up.
    pub fn essential_snaps(&self) -> &[ModelSnap] {
        self.snaps.get(..self.essential).unwrap_or_default()
    }

    /// The snaps every device has: the essential ones and those that are required.
    pub fn required_snaps(&self) -> impl Iterator<Item = &ModelSnap> {
        self.snaps
            .iter()
            .filter(|snap| snap.presence == model_snaps::Presence::Required)
    }

    /// The kernel, where the model names one.
    pub fn kernel(&self) -> Option<&ModelSnap> {
        self.essential_snaps()
            .iter()
            .find(|snap| snap.kind == SnapKind::Kernel)
    }

    /// The gadget, where the model names one.
    pub fn gadget(&self) -> Option<&ModelSnap> {
        self.essential_snaps()
            .iter()
            .find(|snap| snap.kind == SnapKind::Gadget)
    }

    /// Whether devices run a classic system on a kernel and with recovery modes from snaps.
    pub fn hybrid_classic(&self) -> bool {
        self.classic && self.kernel().is_some()
    }

    /// Whether `account` may sign serials of this model.
    pub fn lets_sign_serials(&self, account: &str) -> bool {
        self.serial_authority.iter().any(|listed| listed == account)
    }
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<Model> {
    check(&parts.fields)
}

/// Checks the headers of a model that is still to be signed against everything devices with snapd 2.77 check, except
/// what signing itself adds. The error names the header.
pub fn check_model(headers: &Headers) -> Checked<Model> {
    let fields = Fields::of(headers);
    match fields.filled("type")? {
        "model" => {}
        other => return Err(fields.not_a("type", "model", other)),
    }
    for part in ["series", "brand-id", "model", "authority-id"] {
        if fields.filled(part)?.contains('/') {
            return Err(fields.wrong(part, "must not contain '/'"));
        }
    }
    for number in ["format", "revision"] {
        if fields.has(number) {
            fields.unsigned(number)?;
        }
    }
    if !matches!(fields.optional("format")?, None | Some("0")) {
        return Err(fields.wrong("format", "must be 0: devices know no higher format of models"));
    }
    check(&fields)
}

fn check(fields: &Fields<'_>) -> Checked<Model> {
    let brand_id = fields.filled("brand-id")?;
    if fields.filled("authority-id")? != brand_id {
        return Err(fields.wrong(
            "authority-id",
            "must equal \"brand-id\": the brand signs its own models",
        ));
    }
    let model = model_name(fields)?;
    let classic = fields.flag("classic")?;
    let listed = fields.has("snaps");
    shape(fields, classic, listed)?;
    let distribution = if classic && listed {
        Some(distribution(fields)?)
    } else {
        None
    };
    let architecture = match (classic, listed) {
        (true, false) => fields.optional_filled("architecture")?,
        (false, _) | (_, true) => Some(fields.filled("architecture")?),
    };
    let base = if listed {
        Some(fields.filled("base")?)
    } else {
        fields.optional_filled("base")?
    };
    if let Some(base) = base
        && !names::is_snap(base)
    {
        return Err(fields.not_a("base", "a snap name", base));
    }
    let store = fields.optional_filled("store")?;
    let display_name = fields.optional_filled("display-name")?.unwrap_or(&model);
    let (grade, storage_safety, Snaps { all, essential }) = match base {
        Some(base) if listed => {
            let grade = grade(fields)?;
            (
                grade,
                storage_safety(fields, grade)?,
                model_snaps::listed(fields, base, grade, classic)?,
            )
        }
        Some(_) | None => (
            Grade::Unset,
            StorageSafety::Unset,
            model_snaps::separate(fields, base)?,
        ),
    };
    Ok(Model {
        series: fields.filled("series")?.to_owned(),
        brand_id: brand_id.to_owned(),
        display_name: display_name.to_owned(),
        classic,
        distribution,
        architecture: architecture.map(str::to_owned),
        base: base.map(str::to_owned),
        store: store.map(str::to_owned),
        grade,
        storage_safety,
        snaps: all,
        essential,
        serial_authority: model_policy::authority(fields, "serial-authority", brand_id)?,
        system_user_authority: model_policy::system_user_authority(fields, brand_id)?,
        preseed_authority: model_policy::authority(fields, "preseed-authority", brand_id)?,
        timestamp: fields.time("timestamp")?,
        validation_sets: model_policy::validation_sets(fields, brand_id)?,
        model,
    })
}

/// Which headers go together, for the four shapes of models.
fn shape(fields: &Fields<'_>, classic: bool, listed: bool) -> Checked<()> {
    if listed {
        for name in ["gadget", "kernel", "required-snaps"] {
            fields.absent(name, "must not be given beside the \"snaps\" header")?;
        }
    } else {
        for name in ["grade", "storage-safety"] {
            fields.absent(name, "needs a \"snaps\" header")?;
        }
        if classic {
            for name in ["kernel", "base"] {
                fields.absent(
                    name,
                    "must not be given in a classic model without a \"snaps\" header",
                )?;
            }
        } else {
            fields.filled("gadget")?;
            fields.filled("kernel")?;
        }
    }
    if !(classic && listed) {
        fields.absent(
            "distribution",
            "is only for classic models with a \"snaps\" header",
        )?;
    }
    Ok(())
}

/// The distribution: the ID of os-release(5).
fn distribution(fields: &Fields<'_>) -> Checked<String> {
    let valid = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
    };
    fields
        .named("distribution", "the ID of an os-release file", valid)
        .map(str::to_owned)
}

fn grade(fields: &Fields<'_>) -> Checked<Grade> {
    Ok(
        match fields.choice("grade", &["secured", "signed", "dangerous"])? {
            Some("secured") => Grade::Secured,
            Some("dangerous") => Grade::Dangerous,
            Some(_) | None => Grade::Signed,
        },
    )
}

fn storage_safety(fields: &Fields<'_>, grade: Grade) -> Checked<StorageSafety> {
    const NAME: &str = "storage-safety";
    let safety = match fields.choice(NAME, &["encrypted", "prefer-encrypted", "prefer-unencrypted"])? {
        Some("encrypted") => StorageSafety::Encrypted,
        Some("prefer-unencrypted") => StorageSafety::PreferUnencrypted,
        None if grade == Grade::Secured => StorageSafety::Encrypted,
        Some(_) | None => StorageSafety::PreferEncrypted,
    };
    if grade == Grade::Secured && safety != StorageSafety::Encrypted {
        return Err(fields.wrong(NAME, "must be encrypted in a model of grade secured"));
    }
    Ok(safety)
}
