//! The permission table (admin-api.md 1.2): the single place that says which role may do what.

use serde::{Deserialize, Serialize};

use crate::domain::ident::IdentError;

/// A role in a store; wire words (decisions.md 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Administrator.
    Admin,
    /// Reviewer.
    Review,
    /// Viewer.
    View,
    /// Publisher.
    Access,
    /// Acts for the brand account itself: holds keys, signs models. Only in a brand's base store.
    Brand,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Role] = &[Role::Admin, Role::Review, Role::View, Role::Access, Role::Brand];

    /// The wire word, as stored and as existing clients send it.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Review => "review",
            Self::View => "view",
            Self::Access => "access",
            Self::Brand => "brand",
        }
    }

    /// The word for people, as tables print it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Admin => "administrator",
            Self::Review => "reviewer",
            Self::View => "viewer",
            Self::Access => "publisher",
            Self::Brand => "brand",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = IdentError;

    /// Takes the wire word and the word for people (decisions.md 11).
    fn from_str(text: &str) -> Result<Self, IdentError> {
        let role = Self::ALL
            .iter()
            .find(|role| role.wire() == text || role.label() == text);
        role.copied().ok_or_else(|| {
            IdentError::new("role (administrator, publisher, reviewer, viewer or brand)", text)
        })
    }
}

/// What a permission is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One brand: a role in its base store counts.
    Brand,
    /// The instance: only the operator.
    Instance,
    /// The caller's own account: anyone logged in.
    Own,
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident $wire:literal $scope:ident [$($role:ident),*];)*) => {
        /// Something a caller may be allowed to do. Every route names one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Permission] = &[$(Permission::$name),*];

            /// Its name, as in token scopes and the API description.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// What it is asked for.
            pub fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }

            /// The roles that grant it. The instance operator is asked separately: see [`Permission::operator`].
            pub fn roles(self) -> &'static [Role] {
                match self { $(Self::$name => &[$(Role::$role),*],)* }
            }
        }
    };
}

permissions! {
    /// See oneself and one's brands, log out. Every good token has it, whatever its scopes.
    OwnRead "own-read" Own [];
    /// List and revoke one's tokens.
    OwnAccount "own-account" Own [];
    /// Make tokens, change one's password; persons only.
    OwnCredentials "own-credentials" Own [];
    /// Register assertion keys of one's own account.
    OwnKeys "own-keys" Own [];
    /// Have validation sets and confdb-schemas served that one's own keys, or those of a brand one acts for, have signed.
    OwnVouch "own-vouch" Own [];
    /// Create brands, list all of them.
    BrandManage "brand-manage" Instance [];
    /// See a brand.
    BrandRead "brand-read" Brand [Admin, Review, View, Access, Brand];
    /// Rename a brand.
    BrandEdit "brand-edit" Brand [Admin];
    /// Create accounts, list all of them.
    AccountManage "account-manage" Instance [];
    /// Grant and revoke roles.
    MemberManage "member-manage" Brand [Admin];
    /// Grant and revoke the role of the brand itself, on top of `member-manage`.
    BrandRoleGrant "brand-role-grant" Brand [Brand];
    /// See who has which role.
    MemberRead "member-read" Brand [Admin, Brand];
    /// Create, import, register, disable signing keys.
    KeyManage "key-manage" Brand [Brand];
    /// Make keys that sign nothing but serials, and destroy them.
    SerialKeyManage "serial-key-manage" Brand [Admin, Brand];
    /// List signing keys (public halves).
    KeyRead "key-read" Brand [Admin, Brand];
    /// Sign model assertions with a brand key.
    ModelSign "model-sign" Brand [Brand];
    /// Sign validation sets with a brand key.
    ValidationSetSign "validation-set-sign" Brand [Brand];
    /// Create models, API keys, serial policies, hooks.
    ModelManage "model-manage" Brand [Admin];
    /// See models and their policies.
    ModelRead "model-read" Brand [Admin, View, Brand];
    /// Allow-lists, denials, re-issue policy, approvals.
    SerialManage "serial-manage" Brand [Admin];
    /// Read the serial log.
    SerialRead "read-serial-log" Brand [Admin];
    /// See devices and what they reported.
    DeviceRead "device-read" Brand [Admin, View];
    /// Change tag and group of a device.
    DeviceManage "device-manage" Brand [Admin];
    /// See groups of devices and waves.
    FleetRead "fleet-read" Brand [Admin, View];
    /// Make groups and waves, roll waves out, halt and end them.
    FleetManage "fleet-manage" Brand [Admin];
    /// Remodel rules.
    RemodelManage "remodel-manage" Brand [Admin];
    /// See remodel rules.
    RemodelRead "read-remodel-allowlist" Brand [Admin];
    /// Issue system-user assertions; persons only.
    SystemUserIssue "system-user-issue" Brand [Admin];
    /// Import assertions of the brand (delegated mode).
    AssertionImport "assertion-import" Brand [Brand];
    /// Export assertions of the brand.
    AssertionRead "assertion-read" Brand [Admin, View, Brand];
    /// See private snaps of the brand's stores and download them: what building images takes.
    ImageBuild "image-build" Brand [Admin, Review, View, Access, Brand];
    /// Make device-view stores.
    StoreCreate "store-create" Brand [Admin];
    /// Change who sees a store and what happens to uploads.
    StoreManage "store-manage" Brand [Admin];
    /// Say which stores may take snaps from which, and how names of snaps begin; make base stores.
    StoreProvision "store-provision" Instance [];
    /// Say which snaps the shop window shows first.
    FeaturedManage "featured-manage" Instance [];
    /// Put single snaps into stores, and take them out again.
    InclusionManage "inclusion-manage" Brand [Admin];
    /// Pin the revisions that channels give to all who see the catalogue through a store, and see what is pinned.
    OverrideManage "override-manage" Brand [Admin];
    /// See snaps: publishers see their own, on top of it `snap-read-all` shows the others.
    SnapRead "snap-read" Brand [Admin, Review, View, Access, Brand];
    /// See everybody's snaps, on top of `snap-read`.
    SnapReadAll "snap-read-all" Brand [Admin, Review, View];
    /// Register names of snaps.
    SnapRegister "snap-register" Brand [Access];
    /// Upload revisions: of one's own snaps, the operator of all.
    SnapPublish "snap-publish" Brand [Access];
    /// Edit what people read, make tracks: of one's own snaps, the operator of all.
    SnapEdit "snap-edit" Brand [Access];
    /// Say who helps with a snap: its publisher alone, the operator for all.
    CollaboratorManage "collaborator-manage" Brand [Access];
    /// Release revisions and close channels: one's own snaps, the operator all.
    SnapRelease "snap-release" Brand [Access];
    /// Change snap-declarations: of snaps that are not one's own, the operator all.
    SnapDeclare "snap-declare" Brand [Review];
    /// Approve and reject revisions, ask for information, grant interfaces: of snaps that are not one's own.
    SnapReview "snap-review" Brand [Review];
    /// Be the second person for a grant: of snaps that are not one's own.
    GrantConfirm "grant-confirm" Brand [Admin];
    /// Say which tracks publishers may make.
    TrackManage "track-manage" Brand [Admin];
    /// Read the brand's part of the audit log.
    AuditRead "audit-read" Brand [Admin];
    /// Read and verify the whole audit log.
    AuditVerify "audit-verify" Instance [];
}

impl Permission {
    /// Whether the instance operator has it everywhere. Signing and key keeping stay with the brand (admin-api.md 1.2).
    pub fn operator(self) -> bool {
        match self {
            Self::KeyManage
            | Self::SerialKeyManage
            | Self::ModelSign
            | Self::ValidationSetSign
            | Self::SystemUserIssue => false,
            Self::OwnRead
            | Self::OwnAccount
            | Self::OwnCredentials
            | Self::OwnKeys
            | Self::OwnVouch
            | Self::BrandRoleGrant
            | Self::BrandManage
            | Self::BrandRead
            | Self::BrandEdit
            | Self::AccountManage
            | Self::MemberManage
            | Self::MemberRead
            | Self::KeyRead
            | Self::ModelManage
            | Self::ModelRead
            | Self::SerialManage
            | Self::SerialRead
            | Self::DeviceRead
            | Self::DeviceManage
            | Self::FleetRead
            | Self::FleetManage
            | Self::RemodelManage
            | Self::RemodelRead
            | Self::AssertionImport
            | Self::AssertionRead
            | Self::ImageBuild
            | Self::StoreCreate
            | Self::StoreManage
            | Self::StoreProvision
            | Self::InclusionManage
            | Self::OverrideManage
            | Self::FeaturedManage
            | Self::SnapRead
            | Self::SnapReadAll
            | Self::SnapRegister
            | Self::SnapPublish
            | Self::SnapEdit
            | Self::CollaboratorManage
            | Self::SnapRelease
            | Self::SnapDeclare
            | Self::SnapReview
            | Self::GrantConfirm
            | Self::TrackManage
            | Self::AuditRead
            | Self::AuditVerify => true,
        }
    }

    /// Whether it is an act of the operator or in the brand's own name, or gives a log-in on devices: what a setting keeps
    /// for accounts with a second factor.
    pub fn weighty(self) -> bool {
        self.scope() == Scope::Instance || self.roles() == [Role::Brand] || self == Self::SystemUserIssue
    }

    /// Whether it concerns single snaps, each of which is judged by itself: all that a token limited to snaps or
    /// channels is good for.
    pub fn about_snaps(self) -> bool {
        matches!(
            self,
            Self::OwnRead
                | Self::BrandRead
                | Self::SnapRead
                | Self::SnapReadAll
                | Self::SnapRegister
                | Self::SnapPublish
                | Self::SnapEdit
                | Self::SnapRelease
                | Self::SnapDeclare
        )
    }

    /// Whether it concerns one store and what is in it, so that roles held only in that store grant it there. All else takes
    /// a role in the brand's base store.
    pub fn within_store(self) -> bool {
        matches!(
            self,
            Self::BrandRead
                | Self::MemberManage
                | Self::MemberRead
                | Self::ImageBuild
                | Self::StoreManage
                | Self::InclusionManage
                | Self::OverrideManage
                | Self::SnapRead
                | Self::SnapReadAll
                | Self::SnapRegister
                | Self::SnapPublish
                | Self::SnapEdit
                | Self::CollaboratorManage
                | Self::SnapRelease
                | Self::SnapDeclare
                | Self::SnapReview
                | Self::GrantConfirm
                | Self::TrackManage
                | Self::FleetRead
                | Self::FleetManage
        )
    }

    /// Whether only a person who logged in has it; tokens made for programs do not.
    pub fn person_only(self) -> bool {
        matches!(self, Self::OwnCredentials | Self::SystemUserIssue)
    }
}

impl std::str::FromStr for Permission {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        let permission = Self::ALL.iter().find(|permission| permission.name() == text);
        permission
            .copied()
            .ok_or_else(|| IdentError::new("permission", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_in_both_vocabularies() {
        for role in Role::ALL {
            assert_eq!(role.wire().parse::<Role>().unwrap(), *role);
            assert_eq!(role.label().parse::<Role>().unwrap(), *role);
            assert_eq!(serde_json::to_string(role).unwrap(), format!("{:?}", role.wire()));
        }
        assert!("Admin".parse::<Role>().is_err());
    }

    #[test]
    fn permission_names_are_unique_and_parse() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse::<Permission>().unwrap(), *permission);
        }
    }

    #[test]
    fn only_brand_permissions_list_roles() {
        for permission in Permission::ALL {
            assert_eq!(
                permission.roles().is_empty(),
                permission.scope() != Scope::Brand,
                "{}",
                permission.name()
            );
        }
    }
}
