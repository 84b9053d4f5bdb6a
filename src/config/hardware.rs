//! The kinds of values that settings of hardware tokens have.

use std::path::PathBuf;
use std::str::FromStr;

use super::values::{Shown, ValueError};
use crate::domain::vault::TokenUri;

const TOKEN: &str = "the label of a token, or a URI like pkcs11:token=LABEL;serial=NUMBER without a PIN";

/// The name of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName(pub TokenUri);

impl FromStr for TokenName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // The text itself is not repeated: somebody may have put a PIN into it.
        let shown = if text.contains("pin") { "pkcs11:..." } else { text };
        TokenUri::token(text)
            .map(Self)
            .map_err(|_| ValueError::new(TOKEN, shown))
    }
}

/// Tokens, separated by commas; each label once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenNames(pub Vec<TokenUri>);

impl FromStr for TokenNames {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut tokens: Vec<TokenUri> = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let TokenName(token) = part.trim().parse()?;
            if tokens.iter().any(|known| known.token == token.token) {
                return Err(ValueError::new("a list of tokens with different labels", part));
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }
}

/// Files, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePaths(pub Vec<PathBuf>);

impl FromStr for FilePaths {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts = text.split(',').map(str::trim);
        let files: Vec<PathBuf> = parts.filter(|part| !part.is_empty()).map(PathBuf::from).collect();
        Ok(Self(files))
    }
}

impl Shown for TokenName {
    fn shown(&self) -> String {
        self.0.to_string()
    }
}

impl Shown for TokenNames {
    fn shown(&self) -> String {
        let shown: Vec<String> = self.0.iter().map(TokenUri::to_string).collect();
        shown.join(",")
    }
}

impl Shown for FilePaths {
    fn shown(&self) -> String {
        let shown: Vec<String> = self.0.iter().map(|file| file.display().to_string()).collect();
        shown.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_list_without_pins_and_twins() {
        let two: TokenNames = "Brand keys, pkcs11:token=b;serial=7".parse().unwrap();
        assert_eq!(two.shown(), "pkcs11:token=Brand%20keys,pkcs11:token=b;serial=7");
        assert_eq!("".parse::<TokenNames>().unwrap().0, []);
        for bad in ["a,a", "pkcs11:serial=7", "pkcs11:token=a;object=x"] {
            assert!(bad.parse::<TokenNames>().is_err(), "{bad}");
        }
        let error = "pkcs11:token=a?pin-value=hunter2"
            .parse::<TokenNames>()
            .unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn files_are_a_list() {
        let two: FilePaths = "/etc/a, b".parse().unwrap();
        assert_eq!(two.shown(), "/etc/a,b");
    }
}
