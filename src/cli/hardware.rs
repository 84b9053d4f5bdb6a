//! From settings to a signer with hardware tokens, where they name some.

use std::sync::Arc;

use super::CliError;
use crate::config::Config;
use crate::ports::{Seal, Signer};

/// A signer with the tokens that the settings name beside `software`, or that alone. No token is asked for yet.
#[cfg(feature = "pkcs11")]
pub(super) fn signer(
    config: &Config,
    queue: usize,
    seal: &Arc<dyn Seal>,
    software: Arc<dyn Signer>,
) -> Result<Arc<dyn Signer>, CliError> {
    use crate::adapters::pkcs11::{Pkcs11, Pkcs11Options};

    /// More sessions than this no device gives to one client.
    const MAX_SESSIONS: usize = 64;

    let cannot = |why: &str| CliError::Failed(format!("cannot use keys in hardware: {why}"));
    let (tokens, pins) = (&config.pkcs11_token.value.0, &config.pkcs11_pin_file.value.0);
    let new_keys = config.pkcs11_new_keys.value.0.as_ref().map(|name| &name.0);
    let Some(module) = &config.pkcs11_module.value.0 else {
        return if tokens.is_empty() && pins.is_empty() && new_keys.is_none() {
            Ok(software)
        } else {
            Err(cannot("set pkcs11-module (HALLMARK_PKCS11_MODULE) too"))
        };
    };
    if tokens.is_empty() {
        return Err(cannot("set pkcs11-token (HALLMARK_PKCS11_TOKEN) too"));
    }
    if pins.len() > 1 && pins.len() != tokens.len() {
        return Err(cannot(
            "pkcs11-pin-file needs one file, or one for each token of pkcs11-token",
        ));
    }
    if new_keys.is_some_and(|wanted| tokens.iter().all(|token| token.token != wanted.token)) {
        return Err(cannot("pkcs11-new-keys is none of pkcs11-token"));
    }
    let tokens = tokens.iter().enumerate().map(|(at, token)| {
        let pin = if pins.len() == 1 {
            pins.first()
        } else {
            pins.get(at)
        };
        (token.clone(), pin.cloned())
    });
    let options = Pkcs11Options {
        module: module.0.clone(),
        tokens: tokens.collect(),
        sessions: config.pkcs11_sessions.value.0.clamp(1, MAX_SESSIONS),
        queue,
        new_keys: new_keys.cloned(),
    };
    let signer = Pkcs11::new(options, Arc::clone(seal), software)
        .map_err(|error| CliError::failed("cannot start the signer", error))?;
    Ok(Arc::new(signer))
}

/// This build has no tokens: settings that name some are refused.
#[cfg(not(feature = "pkcs11"))]
pub(super) fn signer(
    config: &Config,
    _queue: usize,
    _seal: &Arc<dyn Seal>,
    software: Arc<dyn Signer>,
) -> Result<Arc<dyn Signer>, CliError> {
    if config.pkcs11_module.value.0.is_none() && config.pkcs11_token.value.0.is_empty() {
        return Ok(software);
    }
    Err(CliError::Failed(
        "cannot use keys in hardware: this build has no support for it".to_owned(),
    ))
}
