//! `meta/gadget.yaml`: whether devices can read it at all. What it means is between the gadget and snapd.

use super::fields::SnapYamlError;
use crate::domain::yaml::{self, Node};

/// Checks the document of a gadget. Takes bounded time and memory whatever the text is.
///
/// # Errors
/// If it is too long, too deeply nested or no YAML map. One without content is fine: a gadget of a classic system need
/// not say anything.
pub fn check_gadget_yaml(text: &str) -> Result<(), SnapYamlError> {
    let why = match yaml::parse(text) {
        Ok(Node::Map(_) | Node::Null) => return Ok(()),
        Ok(Node::Text(_) | Node::List(_)) => "must be a map".to_owned(),
        Err(why) => why,
    };
    Err(SnapYamlError {
        document: "gadget.yaml",
        field: "it".to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gadget_says_must_be_a_map_within_bounds() {
        let volumes = "volumes:\n  pc:\n    bootloader: grub\n    structure:\n      - {name: mbr, type: mbr, size: 440}\n";
        for good in [
            volumes,
            "{}",
            "",
            "# nothing\n",
            "defaults: {system: {proxy: {store: x}}}\n",
        ] {
            assert_eq!(check_gadget_yaml(good), Ok(()), "{good:?}");
        }
        for bad in ["- a", "text", "a: [", "a: 1\na: 2\n", "a: !x b\n", "\0"] {
            let error = check_gadget_yaml(bad).unwrap_err().to_string();
            assert!(error.starts_with("cannot use gadget.yaml: it "), "{error}");
        }
        assert!(check_gadget_yaml(&"[".repeat(1000)).is_err());
        assert!(check_gadget_yaml(&format!("a: {}", "x".repeat(yaml::MAX_BYTES))).is_err());
    }
}
