//! The words with a fixed list of values.

use std::fmt;
use std::str::FromStr;

use crate::domain::ident::IdentError;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them, the default first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire and in `snap.yaml`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = IdentError;
            fn from_str(text: &str) -> Result<Self, IdentError> {
                let found = Self::ALL.iter().find(|word| word.as_str() == text);
                found.copied().ok_or_else(|| IdentError::new($what, text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(
    /// What a snap is for.
    SnapType, "snap type (app, gadget, kernel, base, os or snapd)", {
        /// Applications and services.
        #[default]
        App = "app",
        /// What a model's board needs: layout of the disk, defaults, boot loader.
        Gadget = "gadget",
        /// A kernel with its modules and firmware.
        Kernel = "kernel",
        /// A root file system for other snaps.
        Base = "base",
        /// The snap `core`: base and snapd in one.
        Os = "os",
        /// The snap `snapd`.
        Snapd = "snapd",
    }
);

words!(
    /// How much a snap is shut in.
    Confinement, "confinement (strict, devmode or classic)", {
        /// Only what its interfaces allow.
        #[default]
        Strict = "strict",
        /// Offences are logged, not stopped; installed only on request.
        Devmode = "devmode",
        /// Not at all; installed only on request, on classic systems.
        Classic = "classic",
    }
);

words!(
    /// What a component of a snap holds.
    ComponentType, "component type (standard, test or kernel-modules)", {
        /// Files for the snap.
        #[default]
        Standard = "standard",
        /// Files for tests of the snap.
        Test = "test",
        /// Modules of a kernel snap.
        KernelModules = "kernel-modules",
    }
);

words!(
    /// Whether the publisher takes a build for fit to release.
    Grade, "grade (stable or devel)", {
        /// For all channels.
        #[default]
        Stable = "stable",
        /// For the channels edge and beta only.
        Devel = "devel",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_alike() {
        for kind in SnapType::ALL {
            assert_eq!(kind.as_str().parse::<SnapType>().as_ref(), Ok(kind));
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<SnapType>(&json).unwrap(), *kind);
        }
        assert_eq!(
            serde_json::to_string(&ComponentType::KernelModules).unwrap(),
            "\"kernel-modules\""
        );
        assert_eq!(SnapType::default(), SnapType::App);
        assert_eq!(Confinement::default(), Confinement::Strict);
        for bad in ["", "App", "core", "application"] {
            assert!(bad.parse::<SnapType>().is_err(), "{bad}");
        }
    }
}
