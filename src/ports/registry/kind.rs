//! The kinds of records: the names of their trees or tables, and of the parts of their keys.

/// The kinds of records; each is a tree or a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "one per record type")]
pub enum Kind {
    /// The one record about the instance itself; key `["instance"]`.
    Instance,
    Account,
    Brand,
    Store,
    Membership,
    StoreInvite,
    Token,
    SigningKey,
    Model,
    RemodelRule,
    FactorySite,
    FactoryBox,
    Snap,
    SnapRevision,
    Inclusion,
    Override,
    Delta,
    Review,
    GrantRequest,
    Upload,
    Push,
    ShareInvite,
    OutgoingMail,
    Device,
    SnapDay,
    FleetDevice,
    Group,
    Wave,
    ProductionMap,
    Exposure,
    BundleSource,
    /// The one record about the last changes of the catalogue; key `["head"]`.
    Catalog,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] = &[
        Kind::Instance,
        Kind::Account,
        Kind::Brand,
        Kind::Store,
        Kind::Membership,
        Kind::StoreInvite,
        Kind::Token,
        Kind::SigningKey,
        Kind::Model,
        Kind::RemodelRule,
        Kind::FactorySite,
        Kind::FactoryBox,
        Kind::Snap,
        Kind::SnapRevision,
        Kind::Inclusion,
        Kind::Override,
        Kind::Delta,
        Kind::Review,
        Kind::GrantRequest,
        Kind::Upload,
        Kind::Push,
        Kind::ShareInvite,
        Kind::OutgoingMail,
        Kind::Device,
        Kind::SnapDay,
        Kind::FleetDevice,
        Kind::Group,
        Kind::Wave,
        Kind::ProductionMap,
        Kind::Exposure,
        Kind::BundleSource,
        Kind::Catalog,
    ];

    /// Name of its tree or table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Account => "account",
            Self::Brand => "brand",
            Self::Store => "store",
            Self::Membership => "membership",
            Self::StoreInvite => "store_invite",
            Self::Token => "token",
            Self::SigningKey => "signing_key",
            Self::Model => "model",
            Self::RemodelRule => "remodel_rule",
            Self::FactorySite => "factory_site",
            Self::FactoryBox => "factory_box",
            Self::Snap => "snap",
            Self::SnapRevision => "snap_revision",
            Self::Inclusion => "inclusion",
            Self::Override => "revision_override",
            Self::Delta => "delta",
            Self::Review => "review",
            Self::GrantRequest => "grant_request",
            Self::Upload => "upload",
            Self::Push => "push",
            Self::ShareInvite => "share_invite",
            Self::OutgoingMail => "outgoing_mail",
            Self::Device => "device",
            Self::SnapDay => "snap_day",
            Self::FleetDevice => "fleet_device",
            Self::Group => "fleet_group",
            Self::Wave => "wave",
            Self::ProductionMap => "production_map",
            Self::Exposure => "exposure",
            Self::BundleSource => "bundle_source",
            Self::Catalog => "catalog",
        }
    }

    /// Names of the parts of its key, in order.
    pub fn key_parts(self) -> &'static [&'static str] {
        match self {
            Self::Instance | Self::Catalog => &["name"],
            Self::Account | Self::Brand | Self::Store | Self::Token | Self::Snap | Self::OutgoingMail => {
                &["id"]
            }
            Self::SnapRevision => &["snap_id", "revision"],
            Self::Inclusion => &["store_id", "snap_id"],
            Self::Override => &["store_id", "snap_id", "channel", "architecture"],
            Self::Delta => &["snap_id", "source", "target"],
            Self::Review => &["store_id", "snap_id", "revision"],
            Self::GrantRequest => &["snap_id", "side", "interface", "attribute"],
            Self::Upload | Self::Push => &["id_hash"],
            Self::ShareInvite => &["snap_id", "email"],
            Self::Device | Self::FleetDevice => &["brand_id", "model", "serial"],
            Self::SnapDay => &["snap_id", "day", "part"],
            Self::Group | Self::Wave => &["store_id", "name"],
            Self::ProductionMap => &["store_id", "tag"],
            Self::Exposure => &["store_id", "wave", "rollout", "part"],
            Self::BundleSource => &["source", "part"],
            Self::Membership => &["brand_id", "store_id", "account_id"],
            Self::StoreInvite => &["store_id", "email"],
            Self::SigningKey => &["account_id", "name"],
            Self::Model => &["brand_id", "name"],
            Self::RemodelRule => &["brand_id", "from_model", "to_model", "from_serial"],
            Self::FactorySite => &["brand_id", "site"],
            Self::FactoryBox => &["brand_id"],
        }
    }
}
