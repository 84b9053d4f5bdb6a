//! The check of one assertion, in the order of assertions.md 4.3.

use super::super::decode::Assertion;
use super::super::envelope::Ref;
use super::super::public_key::PublicKey;
use super::super::registry::AssertionType;
use super::super::types::{AccountKey, ConfdbControl, Typed};
use super::{Backstore, CheckError, Database, as_account_key, consistency};
use crate::domain::time::Timestamp;

impl<S: Backstore> Database<S> {
    /// Whether `assertion` is properly signed and agrees with everything known. The signing key is judged at `now`,
    /// not at the time of signing: nothing a revoked key signed passes any more.
    pub fn check(&self, assertion: &Assertion, now: Timestamp) -> Result<(), CheckError> {
        let supported = assertion.kind().info().max_format;
        if assertion.format() > supported {
            let (reference, format) = (assertion.reference(), assertion.format());
            return Err(CheckError::UnsupportedFormat {
                reference,
                format,
                supported,
            });
        }
        if assertion.kind().info().has_authority {
            self.check_authority(assertion, now)?;
        } else {
            self.own_key(assertion)?.verify_assertion(assertion)?;
        }
        consistency::check(self, assertion)
    }

    /// Steps 2 to 5: the key of the authority, and what it vouches for.
    fn check_authority(&self, assertion: &Assertion, now: Timestamp) -> Result<(), CheckError> {
        let authority = assertion.authority_id().unwrap_or_default();
        let id = assertion.sign_key();
        let found = self.resolve(&Ref::new(AssertionType::AccountKey, [id.as_str()]));
        let Some(key) = found.as_ref().and_then(as_account_key) else {
            return Err(CheckError::KeyUnknown {
                key: id.clone(),
                authority: authority.to_owned(),
            });
        };
        let AccountKey {
            account_id: owner,
            validity,
            public_key,
            ..
        } = key;
        if owner != authority {
            let (key, owner, authority) = (id.clone(), owner.clone(), authority.to_owned());
            return Err(CheckError::KeyOfOther {
                key,
                owner,
                authority,
            });
        }
        if !validity.covers(now) {
            let (key, authority, validity) = (id.clone(), authority.to_owned(), *validity);
            return Err(CheckError::KeyNotValid {
                key,
                authority,
                validity,
                now,
            });
        }
        if !key.may_sign(assertion.headers()) {
            return Err(CheckError::KeyConstraints {
                key: id.clone(),
                authority: authority.to_owned(),
            });
        }
        public_key.verify_assertion(assertion)?;
        match assertion.typed().timestamp_in_key() {
            Some(timestamp) if !validity.covers(timestamp) => Err(CheckError::TimestampOutsideKey {
                timestamp,
                validity: *validity,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The key of an assertion without authority: the one it carries, or that of the device it is about.
    fn own_key(&self, assertion: &Assertion) -> Result<PublicKey, CheckError> {
        if let Typed::AccountKeyRequest(request) = assertion.typed() {
            Ok(request.public_key.clone())
        } else if let Typed::ConfdbControl(control) = assertion.typed() {
            self.device_key(control, assertion)
        } else {
            Err(CheckError::NotCheckable(assertion.kind()))
        }
    }

    fn device_key(&self, control: &ConfdbControl, assertion: &Assertion) -> Result<PublicKey, CheckError> {
        let reference = Ref::new(
            AssertionType::Serial,
            [&control.brand_id, &control.model, &control.serial],
        );
        let Some(found) = self.resolve(&reference) else {
            return Err(CheckError::DeviceUnknown(reference));
        };
        if let Typed::Serial(serial) = found.typed()
            && serial.device_key.id() == assertion.sign_key()
        {
            Ok(serial.device_key.clone())
        } else {
            Err(CheckError::OtherDeviceKey(reference))
        }
    }
}
