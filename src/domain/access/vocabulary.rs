//! The words that publisher and administration clients have for rights, and what they mean here (publisher-api.md 3.6).

use super::permission::Permission;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// `package_release`: the older API, and the clients that log in there.
    Dashboard,
    /// `package-manage-releases`: the publisher gateway.
    Gateway,
}

/// One word of a vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// As clients spell it.
    pub name: &'static str,
    /// Whose it is.
    pub vocabulary: Vocabulary,
    /// What it allows; the first is what it is about. Empty = nothing that exists here.
    pub permissions: &'static [Permission],
}

impl Word {
    /// The word of this spelling.
    pub fn named(name: &str) -> Option<&'static Self> {
        WORDS.iter().find(|word| word.name == name)
    }

    /// The words of a vocabulary for what these permissions are about, each once.
    pub fn of(vocabulary: Vocabulary, permissions: &[Permission]) -> Vec<&'static str> {
        let about = |word: &&Word| {
            word.permissions
                .first()
                .is_some_and(|first| permissions.contains(first))
        };
        let words = WORDS.iter().filter(|word| word.vocabulary == vocabulary);
        words.filter(about).map(|word| word.name).collect()
    }
}

/// The permissions that a word of either vocabulary, or the name of one of ours, means; none if nobody knows it. Where a
/// word is spelt like a name of ours (`store-manage`), clients mean the word.
pub fn permissions_of(name: &str) -> Option<Vec<Permission>> {
    match Word::named(name) {
        Some(word) => Some(word.permissions.to_vec()),
        None => name.parse().ok().map(|permission| vec![permission]),
    }
}

macro_rules! words {
    ($vocabulary:ident: $($name:literal [$($permission:ident),*];)*) => {
        &[$(Word {
            name: $name,
            vocabulary: Vocabulary::$vocabulary,
            permissions: &[$(Permission::$permission),*],
        }),*]
    };
}

/// Every word.
static WORDS: std::sync::LazyLock<Vec<Word>> = std::sync::LazyLock::new(|| [DASHBOARD, GATEWAY].concat());

const DASHBOARD: &[Word] = words! { Dashboard:
    "edit_account" [OwnAccount];
    "modify_account_key" [OwnKeys, KeyRead, BrandRead];
    "package_access" [SnapRead, SnapReadAll, BrandRead, ImageBuild];
    "package_manage" [SnapEdit, CollaboratorManage, OwnVouch];
    "package_metrics" [];
    "package_purchase" [];
    "package_push" [SnapPublish, OwnVouch];
    "package_register" [SnapRegister];
    "package_release" [SnapRelease];
    "package_update" [SnapEdit];
    "package_upload" [SnapPublish];
    "package_upload_request" [];
    "store_admin" [
        MemberManage, MemberRead, BrandRead, StoreCreate, StoreManage, InclusionManage, OverrideManage, ModelManage, ModelRead,
        SerialManage, SerialRead, DeviceRead, RemodelManage, RemodelRead, KeyManage, SerialKeyManage, KeyRead,
        AssertionRead, BrandEdit, FeaturedManage, TrackManage, GrantConfirm, AuditRead, SnapRead,
        SnapReadAll
    ];
    "store_review" [SnapDeclare, SnapReview, SnapRead, SnapReadAll, BrandRead];
};

const GATEWAY: &[Word] = words! { Gateway:
    "account-manage-keys" [OwnKeys, KeyRead, BrandRead];
    "account-manage-metadata" [OwnAccount];
    "account-register-package" [SnapRegister];
    "account-view-packages" [SnapRead, SnapReadAll, BrandRead];
    "package-manage" [SnapEdit, SnapPublish, SnapRelease, CollaboratorManage, SnapRead, OwnVouch];
    "package-manage-acl" [CollaboratorManage, SnapRead];
    "package-manage-metadata" [SnapEdit, SnapRead];
    "package-manage-releases" [SnapRelease, SnapRead];
    "package-manage-revisions" [SnapPublish, SnapRead];
    "package-view" [SnapRead, SnapReadAll, BrandRead, ImageBuild];
    "package-view-acl" [SnapRead];
    "package-view-metadata" [SnapRead];
    "package-view-metrics" [];
    "package-view-releases" [SnapRead];
    "package-view-revisions" [SnapRead];
    "store-admin" [
        MemberManage, MemberRead, BrandRead, StoreCreate, StoreManage, InclusionManage, OverrideManage, ModelManage, ModelRead,
        SerialManage, SerialRead, DeviceRead, RemodelManage, RemodelRead, KeyManage, SerialKeyManage, KeyRead,
        AssertionRead, BrandEdit, FeaturedManage, TrackManage, GrantConfirm, AuditRead, SnapRead,
        SnapReadAll
    ];
    "store-manage" [
        MemberManage, MemberRead, BrandRead, StoreCreate, StoreManage, InclusionManage, OverrideManage, ModelManage, ModelRead,
        SerialManage, SerialRead, DeviceRead, RemodelManage, RemodelRead, KeyManage, SerialKeyManage, KeyRead,
        AssertionRead, BrandEdit, FeaturedManage, TrackManage, GrantConfirm, AuditRead, SnapRead,
        SnapReadAll
    ];
    "store-view" [MemberRead, BrandRead, ModelRead, SerialRead, DeviceRead, RemodelRead, KeyRead, SnapRead, SnapReadAll];
};

/// The words of the model service for what a caller may do in a brand (`brand-permissions`, admin-api.md 1.2).
pub fn brand_words(permissions: &[Permission]) -> Vec<&'static str> {
    use Permission as P;
    const WORDS: &[(&str, Permission)] = &[
        ("read-brand", P::BrandRead),
        ("update-brand", P::BrandEdit),
        ("read-model", P::ModelRead),
        ("create-model", P::ModelManage),
        ("update-model", P::ModelManage),
        ("read-serial-policy", P::ModelRead),
        ("create-serial-policy", P::ModelManage),
        ("delete-serial-policy", P::ModelManage),
        ("read-signing-key", P::KeyRead),
        ("create-signing-key", P::SerialKeyManage),
        ("delete-signing-key", P::SerialKeyManage),
        ("read-serial-log", P::SerialRead),
        ("read-remodel-allowlist", P::RemodelRead),
        ("create-remodel-allowlist", P::RemodelManage),
        ("update-remodel-allowlist", P::RemodelManage),
        ("delete-remodel-allowlist", P::RemodelManage),
    ];
    WORDS
        .iter()
        .filter(|(_, permission)| permissions.contains(permission))
        .map(|(word, _)| *word)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_unique_in_all_vocabularies_and_none_opens_what_persons_only_may() {
        let names: BTreeSet<&str> = WORDS.iter().map(|word| word.name).collect();
        assert_eq!(names.len(), WORDS.len());
        for word in WORDS.iter() {
            if let Ok(same) = word.name.parse::<Permission>() {
                assert!(word.permissions.contains(&same), "{}", word.name);
            }
            assert!(
                word.permissions
                    .iter()
                    .all(|permission| !permission.person_only())
            );
            assert_eq!(permissions_of(word.name).unwrap(), word.permissions);
        }
        assert_eq!(permissions_of("snap-read"), Some(vec![Permission::SnapRead]));
        assert_eq!(permissions_of("package_everything"), None);
    }

    #[test]
    fn words_for_a_store_cover_reviews_and_those_for_ones_own_keys_leave_the_brands_alone() {
        let of = |word: &str| permissions_of(word).unwrap();
        assert!(of("store_review").contains(&Permission::SnapReview));
        for word in ["store_admin", "store-admin", "store-manage"] {
            assert!(of(word).contains(&Permission::GrantConfirm), "{word}");
        }
        for word in ["modify_account_key", "account-manage-keys"] {
            assert!(of(word).contains(&Permission::OwnKeys), "{word}");
            assert!(!of(word).contains(&Permission::KeyManage), "{word}");
        }
        assert!(!of("package_access").contains(&Permission::OwnVouch));
    }

    #[test]
    fn permissions_are_told_in_the_words_of_the_client() {
        let permissions = [Permission::SnapRelease, Permission::SnapRead];
        assert_eq!(
            Word::of(Vocabulary::Dashboard, &permissions),
            ["package_access", "package_release"]
        );
        assert!(Word::of(Vocabulary::Gateway, &permissions).contains(&"package-manage-releases"));
        assert_eq!(brand_words(&[Permission::SerialRead]), ["read-serial-log"]);
    }
}
