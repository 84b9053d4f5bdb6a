//! The mark in the forms of the web pages: it tells a form that our page made for this very log-in from one that another
//! site made in the person's name.

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq as _;

use super::Secrets;
use crate::domain::audit::hex;

/// What every form of one log-in carries: HMAC-SHA256 over the log-in under the instance's secret, lower-case hex. It
/// says nothing of the log-in's token and is no good for another one.
#[derive(Clone)]
pub struct FormMark(String);

impl std::fmt::Debug for FormMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FormMark(…)")
    }
}

impl FormMark {
    /// The mark for what `holder` names: the hash of a log-in's token, or what the visitor's browser was given before.
    pub fn of(secrets: &Secrets, holder: &str) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secrets.nonce_key));
        context.update(b"hallmark web form v1\0");
        context.update(holder.as_bytes());
        Self(hex(context.sign().as_ref()))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a form that carries `presented` is one of ours; compared in constant time.
    pub fn fits(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_fits_one_holder_of_one_instance() {
        let secrets = |byte| Secrets {
            nonce_key: [byte; 32],
            session_key: [0; 32],
            audit_seed: [0; 32],
        };
        let mark = FormMark::of(&secrets(1), "one");
        assert!(mark.fits(FormMark::of(&secrets(1), "one").text()));
        for other in [FormMark::of(&secrets(1), "two"), FormMark::of(&secrets(2), "one")] {
            assert!(!mark.fits(other.text()));
        }
        let cut = mark.text().split_at(63).0;
        assert!(!mark.fits("") && !mark.fits(cut) && !mark.fits(&format!("{}0", mark.text())));
        assert!(!format!("{mark:?}").contains(mark.text()));
    }
}
