//! Vault errors on the wire (serial-vault.md 2.1): which status, code and subcode each decision gets.

use http::StatusCode;
use serde_json::json;
use warp::reply::Response;

use super::reply;
use crate::app::IssueError;

/// The face of an error. `subcode` tells apart what older vaults had one code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VaultFault {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) subcode: &'static str,
}

impl VaultFault {
    /// Permanent: the device backs off for minutes to hours.
    const fn refused(code: &'static str, subcode: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            subcode,
        }
    }

    /// Temporary: the device tries again after a minute. Never 429 or 500, on which snapd sleeps for up to a day
    /// (decisions.md 2).
    const fn temporary(code: &'static str, subcode: &'static str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code,
            subcode,
        }
    }

    /// The face of `error`. Exhaustive on purpose: a new variant must choose its answer.
    pub(super) fn of(error: &IssueError) -> Self {
        use IssueError as E;
        match error {
            E::InvalidApiKey => Self::refused("invalid-api-key", ""),
            E::EmptyData => Self::refused("empty-data", ""),
            E::Undecodable { .. } => Self::refused("invalid-assertion", "undecodable"),
            E::NotASerialRequest(_) => Self::refused("invalid-type", ""),
            E::WrongAncillary { .. } => Self::refused("invalid-second-type", ""),
            E::TrailingData => Self::refused("invalid-assertion", "trailing-data"),
            E::RequestSignature(_) => Self::refused("invalid-assertion", "request-signature"),
            E::MismatchedModel => Self::refused("mismatched-model", ""),
            E::UnverifiedModel(_) => Self::refused("invalid-assertion", "model-signature"),
            E::UnexpectedSerial => Self::refused("invalid-assertion", "unexpected-serial"),
            E::InvalidRemodel(_) => Self::refused("invalid-assertion", "remodel"),
            E::NoRemodelRule => Self::refused("invalid-substore", ""),
            E::StaleRequest => Self::refused("invalid-nonce", ""),
            E::UnknownBrand => Self::refused("error-account", ""),
            E::UnknownModel => Self::refused("invalid-model", ""),
            E::UnusableKey(_) => Self::refused("invalid-model", "signing-key"),
            E::Proposal(_) => Self::refused("create-assertion", "serial"),
            E::Unsignable(_) => Self::refused("create-assertion", "content"),
            E::Duplicate => Self::refused("duplicate-assertion", "already-issued"),
            E::NotAllowed => Self::refused("duplicate-assertion", "not-allowed"),
            E::Denied => Self::refused("duplicate-assertion", "denied"),
            E::QuotaReached(_) => Self::refused("duplicate-assertion", "quota-reached"),
            E::GivenAway { .. } => Self::refused("duplicate-assertion", "given-to-site"),
            E::OutOfRange(_) => Self::refused("duplicate-assertion", "out-of-range"),
            E::InvalidJson(_) => Self::refused("error-decode-json", ""),
            E::NoModelAssertion(_) => Self::refused("create-assertion", "no-model-assertion"),
            E::LockedOut => Self::temporary("invalid-api-key", "locked-out"),
            E::Signer(_) => Self::temporary("signing-assertion", "signer"),
            E::SigningBroke => Self::temporary("signing-assertion", ""),
            E::Unrecorded(_) => Self::temporary("logging-assertion", "storage"),
            E::Store(_) => Self::temporary("storage-unavailable", ""),
        }
    }
}

/// The answer: exactly `application/json`, else snapd does not show the message; all five keys.
pub(super) fn render(fault: &VaultFault, error: &IssueError) -> Response {
    if fault.status.is_server_error() {
        tracing::error!(%error, code = fault.code, "cannot serve a device now");
    } else {
        tracing::info!(%error, code = fault.code, "device refused");
    }
    let body = json!({
        "success": false,
        "error_code": fault.code,
        "error_subcode": fault.subcode,
        "message": error.to_string(),
        "StatusCode": fault.status.as_u16(),
    });
    reply::bytes(fault.status, "application/json", body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::vault::ProposalError;
    use crate::ports::{SignError, StoreError};

    /// One of every variant, and where it stands: a variant that is missing here does not compile in `place`.
    fn every() -> Vec<IssueError> {
        use IssueError as E;
        let key = "a".repeat(64).parse().unwrap();
        vec![
            E::InvalidApiKey,
            E::EmptyData,
            E::Undecodable {
                number: 1,
                reason: String::new(),
            },
            E::NotASerialRequest("model"),
            E::WrongAncillary {
                number: 2,
                found: "serial",
                wanted: "model",
            },
            E::TrailingData,
            E::RequestSignature(String::new()),
            E::MismatchedModel,
            E::UnverifiedModel(String::new()),
            E::UnexpectedSerial,
            E::InvalidRemodel(String::new()),
            E::NoRemodelRule,
            E::StaleRequest,
            E::UnknownBrand,
            E::UnknownModel,
            E::UnusableKey(String::new()),
            E::Proposal(ProposalError::Missing),
            E::Unsignable(String::new()),
            E::Duplicate,
            E::NotAllowed,
            E::Denied,
            E::QuotaReached(1),
            E::GivenAway {
                site: "ulm".parse().unwrap(),
                until: crate::domain::time::Timestamp::from_unix(0),
            },
            E::OutOfRange("factory-ulm".parse().unwrap()),
            E::InvalidJson(String::new()),
            E::NoModelAssertion(String::new()),
            E::LockedOut,
            E::Signer(SignError::Saturated),
            E::Signer(SignError::UnknownKey(key)),
            E::Signer(SignError::Key(String::new())),
            E::Signer(SignError::Offline(String::new())),
            E::Signer(SignError::Token {
                token: String::new(),
                why: String::new(),
            }),
            E::SigningBroke,
            E::Unrecorded(StoreError::Saturated),
            E::Store(StoreError::Unavailable(String::new())),
            E::Store(StoreError::Corrupt(String::new())),
            E::Store(StoreError::Saturated),
        ]
    }

    /// The place of a variant and whether its cause passes with time.
    fn place(error: &IssueError) -> (usize, bool) {
        use IssueError as E;
        match error {
            E::InvalidApiKey => (0, false),
            E::EmptyData => (1, false),
            E::Undecodable { .. } => (2, false),
            E::NotASerialRequest(_) => (3, false),
            E::WrongAncillary { .. } => (4, false),
            E::TrailingData => (5, false),
            E::RequestSignature(_) => (6, false),
            E::MismatchedModel => (7, false),
            E::UnverifiedModel(_) => (8, false),
            E::UnexpectedSerial => (9, false),
            E::InvalidRemodel(_) => (10, false),
            E::NoRemodelRule => (11, false),
            E::StaleRequest => (12, false),
            E::UnknownBrand => (13, false),
            E::UnknownModel => (14, false),
            E::UnusableKey(_) => (15, false),
            E::Proposal(_) => (16, false),
            E::Unsignable(_) => (17, false),
            E::Duplicate => (18, false),
            E::NotAllowed => (19, false),
            E::Denied => (20, false),
            E::QuotaReached(_) => (21, false),
            E::InvalidJson(_) => (22, false),
            E::NoModelAssertion(_) => (23, false),
            E::LockedOut => (24, true),
            E::Signer(_) => (25, true),
            E::SigningBroke => (26, true),
            E::Unrecorded(_) => (27, true),
            E::Store(_) => (28, true),
            E::GivenAway { .. } => (29, false),
            E::OutOfRange(_) => (30, false),
        }
    }

    #[tokio::test]
    async fn every_error_is_400_for_good_or_503_for_now_and_says_so_in_five_keys() {
        let mut seen = std::collections::BTreeSet::new();
        for error in every() {
            let (number, temporary) = place(&error);
            seen.insert(number);
            let fault = VaultFault::of(&error);
            assert_eq!(
                fault.status.as_u16(),
                if temporary { 503 } else { 400 },
                "{error:?}"
            );
            let response = render(&fault, &error);
            assert_eq!(response.headers()["content-type"], "application/json");
            let body = http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap()
                .to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys.len(), 5, "{keys:?}");
            assert_eq!(body["success"], false);
            assert_eq!(body["StatusCode"], fault.status.as_u16());
            assert!(body["message"].as_str().unwrap().starts_with("cannot "), "{body}");
        }
        assert_eq!(seen.len(), 31);
        assert_eq!(seen.last(), Some(&30));
    }
}
