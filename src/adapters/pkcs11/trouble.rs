//! What goes wrong with a token, by what helps against it.

use cryptoki::error::{Error, RvError};

use crate::ports::SignError;

/// Why a token did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It, or the way to it, is gone: worth a new session, and a look later.
    Lost(String),
    /// It does not let us in: worth nothing before a person has seen to it.
    Barred(String),
    /// It is there, but the key is not what it should be, or is not there.
    Key(String),
}

impl Trouble {
    /// For the caller of the signer.
    pub(super) fn of_token(self, token: &str) -> SignError {
        match self {
            Self::Lost(why) | Self::Barred(why) => SignError::Token {
                token: token.to_owned(),
                why,
            },
            Self::Key(why) => SignError::Key(why),
        }
    }
}

/// Everything that does not speak of the key itself is taken for a lost connection: modules differ in what they say
/// when the device is gone, and asking once more with a new session does no harm.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        use RvError as E;
        let text = said(&error);
        match error {
            Error::Pkcs11(
                E::KeyFunctionNotPermitted
                | E::KeySizeRange
                | E::KeyTypeInconsistent
                | E::MechanismInvalid
                | E::MechanismParamInvalid
                | E::ActionProhibited
                | E::AttributeReadOnly
                | E::AttributeTypeInvalid
                | E::AttributeValueInvalid
                | E::TemplateIncomplete
                | E::TemplateInconsistent
                | E::TokenWriteProtected
                | E::DeviceMemory
                | E::DataInvalid
                | E::DataLenRange,
                _,
            ) => Self::Key(text),
            error if refuses_pin(&error) => Self::Barred(text),
            _ => Self::Lost(text),
        }
    }
}

/// Whether a log-in failed because of the PIN, so that the next try would be one too many.
pub(super) fn refuses_pin(error: &Error) -> bool {
    use RvError as E;
    matches!(
        error,
        Error::Pkcs11(
            E::PinIncorrect
                | E::PinInvalid
                | E::PinLenRange
                | E::PinExpired
                | E::PinLocked
                | E::UserPinNotInitialized
                | E::UserTypeInvalid,
            _
        )
    )
}

/// Function and code; the library's own text repeats a page of the standard.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn codes_are_told_apart_by_what_helps() {
        let of = |code| Trouble::from(Error::Pkcs11(code, Function::Sign));
        for code in [
            RvError::SessionHandleInvalid,
            RvError::SessionClosed,
            RvError::UserNotLoggedIn,
            RvError::DeviceRemoved,
            RvError::DeviceError,
            RvError::TokenNotPresent,
            RvError::KeyHandleInvalid,
            RvError::ObjectHandleInvalid,
            RvError::CryptokiNotInitialized,
            RvError::GeneralError,
            RvError::FunctionFailed,
        ] {
            assert!(matches!(of(code), Trouble::Lost(_)), "{code:?}");
        }
        assert!(matches!(of(RvError::PinLocked), Trouble::Barred(_)));
        let key = of(RvError::KeyFunctionNotPermitted);
        assert_eq!(
            key,
            Trouble::Key("C_Sign answered KeyFunctionNotPermitted".to_owned())
        );
    }
}
