//! The permission table (admin-api.md 1.2): the single place that says which role may do what.

use serde::{Deserialize, Serialize};

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
    /// Log out, see oneself, change one's password, list and revoke one's tokens, make new ones.
    OwnAccount "own-account" Own [];
    /// Create brands, list all of them.
    BrandManage "brand-manage" Instance [];
    /// See a brand.
    BrandRead "brand-read" Brand [Admin, Review, View, Access, Brand];
    /// Create accounts, list all of them.
    AccountManage "account-manage" Instance [];
    /// Grant and revoke roles.
    MemberManage "member-manage" Brand [Admin];
    /// See who has which role.
    MemberRead "member-read" Brand [Admin, Brand];
    /// Create, import, register, disable signing keys.
    KeyManage "key-manage" Brand [Brand];
    /// List signing keys (public halves).
    KeyRead "key-read" Brand [Admin, Brand];
    /// Sign model assertions with a brand key.
    ModelSign "model-sign" Brand [Brand];
    /// Create models, API keys, serial policies, hooks.
    ModelManage "model-manage" Brand [Admin];
    /// See models and their policies.
    ModelRead "model-read" Brand [Admin, View, Brand];
    /// Allow-lists, denials, re-issue policy, approvals.
    SerialManage "serial-manage" Brand [Admin];
    /// Read the serial log.
    SerialRead "read-serial-log" Brand [Admin];
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
    /// Read the brand's part of the audit log.
    AuditRead "audit-read" Brand [Admin];
    /// Read and verify the whole audit log.
    AuditVerify "audit-verify" Instance [];
}

impl Permission {
    /// Whether the instance operator has it everywhere. Signing and key keeping stay with the brand (admin-api.md 1.2).
    pub fn operator(self) -> bool {
        match self {
            Self::KeyManage | Self::ModelSign | Self::SystemUserIssue => false,
            Self::OwnAccount
            | Self::BrandManage
            | Self::BrandRead
            | Self::AccountManage
            | Self::MemberManage
            | Self::MemberRead
            | Self::KeyRead
            | Self::ModelManage
            | Self::ModelRead
            | Self::SerialManage
            | Self::SerialRead
            | Self::RemodelManage
            | Self::RemodelRead
            | Self::AssertionImport
            | Self::AssertionRead
            | Self::AuditRead
            | Self::AuditVerify => true,
        }
    }
}
