//! The private keys that ship with the project, by id: everybody has them, so nothing they sign proves anything.

use crate::domain::ident::KeyId;

/// Ids of the test keys in this repository. A test finds any that is missing here.
const IDS: &[&str] = &[
    "7DL40s7oJOh8j6jfv3BeyUjA7I9LKqABymXnRKsMaR2TkqShHWAqsS_StMeFDKou", // tests/vectors/keys/root.pem
    "S4lR7JU-N0wcUBFO5_YyJsJloL-7hLkEfEKjkE_lLbolcXmAZa-s5uVTGqvJbuOU", // tests/vectors/keys/brand.pem
    "mwPqoB69-7EuvqGXrlR7EmisIUFlnQuQY-Vn4lIqrE9X6y6xfO2TlgoY683BWH6S", // tests/vectors/keys/brand-constrained.pem
    "pwHOedJb9eUdClH6dFV7Cba49b54YjE3_53Zr9bxIvZijqATVZBls6oSPhZZabSJ", // tests/vectors/keys/brand-expired.pem
    "ITkg1xUWc-dRI-5QpVHqriR6FJ464GMhM9o5xckmMaZ0qgbMSt3to_TRVtarbrKD", // tests/vectors/keys/brand-future.pem
    "EaI4QBiyO3Mgoj7bh0ry0T6YNarFvC--f4kGPa_z7UEf2uSwJ2j7KVz5dDFvfAgI", // tests/vectors/keys/device.pem
    "G7t9_c7Q0YkoY2FnyZ9oiOKNvbk5zwljVvDYbqf5rk6Le_D6Bg21t6pKNAb9VUc_", // tests/vectors/keys/device-2048.pem
    "ifbkfY0q1Yp7roO81W5W7yzGApMQFMiL6tqW5lZBIMZH2XcU7R1ksIucocTUyVjn", // tests/vectors/keys/other.pem
    "Z3CG_qMFZHKosePUErNQX_0WvusNobe97Zu2QMssJUq-_ceuhVyUM6eJeRPjSi5A", // tests/vectors/keys/unregistered.pem
    "1e0BdEz03GG3gM4NTeykDuUMUr-E6xsTeDXDGqqNOk_cBIORKxAdg0b-cRNersTM", // tests/data/import/gpg-plain.asc
    "G8QZIJO2a6KwWP1b3vIFeSoG4xPMYg4tsdZWUl6gb41eeumuEoHZTLASc4s-U7Gh", // tests/data/import/gpg-protected.asc
];

/// Whether the private half of `key` is published with this project (decisions.md 19).
pub fn is_throwaway(key: &KeyId) -> bool {
    IDS.contains(&key.as_str())
}
