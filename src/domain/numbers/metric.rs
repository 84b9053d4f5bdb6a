//! What can be asked, by the names that publisher clients use.

use super::{Split, WEEK};

/// A number that is told per day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Which devices came, stayed and went, against the span before.
    Change {
        /// Days of the spans that are compared.
        span: i64,
    },
    /// How many devices have what.
    Installed {
        /// By what they are told apart.
        by: Split,
        /// Days of the span in which a device must have reported.
        span: i64,
    },
}

impl Metric {
    /// The metric of this name; none where nothing is known of it: an unknown name, and countries, which no device tells.
    pub fn named(name: &str) -> Option<Self> {
        let (span, rest) = match name {
            "daily_device_change" => return Some(Self::Change { span: 1 }),
            "weekly_device_change" => return Some(Self::Change { span: WEEK }),
            _ => match name.strip_prefix("weekly_") {
                Some(rest) => (WEEK, rest),
                None => (1, name),
            },
        };
        let by = match rest.strip_prefix("installed_base_by_")? {
            "version" => Split::Version,
            "channel" => Split::Channel,
            "architecture" => Split::Architecture,
            "operating_system" => Split::System,
            _ => return None,
        };
        Some(Self::Installed { by, span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_of_the_clients() {
        for (name, metric) in [
            ("daily_device_change", Some(Metric::Change { span: 1 })),
            ("weekly_device_change", Some(Metric::Change { span: 7 })),
            (
                "installed_base_by_version",
                Some(Metric::Installed {
                    by: Split::Version,
                    span: 1,
                }),
            ),
            (
                "weekly_installed_base_by_operating_system",
                Some(Metric::Installed {
                    by: Split::System,
                    span: 7,
                }),
            ),
            ("installed_base_by_country", None),
            ("weekly_installed_base_by_country", None),
            ("weekly_weekly_device_change", None),
            ("", None),
        ] {
            assert_eq!(Metric::named(name), metric, "{name}");
        }
    }
}
