//! `system-user`: a login a brand puts on devices. Who may sign it and on which devices it counts is decided where
//! the login is made, not here.

use super::super::headers::Headers;
use super::Parts;
use super::checks::{Checked, Fields, shown};
use super::{email, names};
use crate::domain::time::Timestamp;

/// A well-formed system-user.
#[derive(Clone)]
pub struct SystemUser {
    /// The brand whose devices it is for.
    pub brand_id: String,
    /// The e-mail address it belongs to.
    pub email: String,
    /// The login name.
    pub username: String,
    /// The person's name.
    pub name: Option<String>,
    /// Series it is for; empty = all.
    pub series: Vec<String>,
    /// Models it is for; empty = all.
    pub models: Vec<String>,
    /// Serials it is for; empty = all. Goes with exactly one model.
    pub serials: Vec<String>,
    /// The hashed password, in the form of crypt(3).
    password: Option<String>,
    /// Whether the password must be changed at the first login.
    pub force_password_change: bool,
    /// Public SSH keys that may log in.
    pub ssh_keys: Vec<String>,
    /// First moment the login may be made.
    pub since: Timestamp,
    /// First moment it may be made no more.
    pub until: Timestamp,
    /// Whether the login goes away at `until`.
    pub expires: bool,
}

impl SystemUser {
    /// Whether it comes with a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether a login may be made at `time`.
    pub fn valid_at(&self, time: Timestamp) -> bool {
        self.since <= time && time < self.until
    }
}

impl std::fmt::Debug for SystemUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemUser")
            .field("brand_id", &self.brand_id)
            .field("email", &self.email)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

pub(super) fn assemble(parts: &Parts<'_>) -> Checked<SystemUser> {
    let fields = &parts.fields;
    let email = fields.named("email", "an e-mail address", email::is_address)?;
    let (series, models, serials) = (
        fields.texts("series")?,
        fields.texts("models")?,
        fields.texts("serials")?,
    );
    if !serials.is_empty() {
        if parts.format < 1 {
            return Err(fields.wrong("serials", "needs format 1 or higher"));
        }
        if models.len() != 1 {
            return Err(fields.wrong("serials", "needs exactly one entry in \"models\""));
        }
    }
    let username = fields.named(
        "username",
        "a login name ([a-z0-9], then - . _ too)",
        names::is_username,
    )?;
    let password = password(fields)?;
    let force_password_change = fields.flag("force-password-change")?;
    if force_password_change && password.is_none() {
        return Err(fields.wrong("force-password-change", "needs a \"password\""));
    }
    let (since, until) = (fields.time("since")?, fields.time("until")?);
    fields.in_order("until", since, Some(until))?;
    let expires = expires(fields, parts.format)?;
    if models.is_empty() && year_later(fields.filled("since")?).is_some_and(|limit| until > limit) {
        return Err(fields.wrong(
            "until",
            "must be at most a year after \"since\" where no \"models\" are given",
        ));
    }
    Ok(SystemUser {
        brand_id: fields.filled("brand-id")?.to_owned(),
        email: email.to_owned(),
        username: username.to_owned(),
        name: fields.optional_filled("name")?.map(str::to_owned),
        series,
        models,
        serials,
        password,
        force_password_change,
        ssh_keys: fields.texts("ssh-keys")?,
        since,
        until,
        expires,
    })
}

/// The format iteration that system-user headers need.
pub(super) fn needed_format(headers: &Headers) -> u32 {
    let fields = Fields::of(headers);
    if fields
        .optional_filled("user-presence")
        .is_ok_and(|text| text.is_some())
    {
        2
    } else {
        u32::from(fields.texts("serials").is_ok_and(|serials| !serials.is_empty()))
    }
}

/// `user-presence`: `until-expiration` makes the login go away at `until`.
fn expires(fields: &Fields<'_>, format: u32) -> Checked<bool> {
    match fields.choice("user-presence", &["until-expiration"])? {
        None => Ok(false),
        Some(_) if format >= 2 => Ok(true),
        Some(_) => Err(fields.wrong("user-presence", "needs format 2 or higher")),
    }
}

/// The moment one calendar year after the RFC 3339 text `since`, in its own time zone: 29 February leads to 1 March.
/// None from the year 9999 on.
fn year_later(since: &str) -> Option<Timestamp> {
    let (year, rest) = since.split_at_checked(4)?;
    let next = year.parse::<u32>().ok()? + 1;
    let leap = next.is_multiple_of(4) && (!next.is_multiple_of(100) || next.is_multiple_of(400));
    let moved = match rest.strip_prefix("-02-29") {
        Some(time) if !leap => format!("{next:04}-03-01{time}"),
        Some(_) | None => format!("{next:04}{rest}"),
    };
    moved.parse().ok()
}

/// `password`: `$id$salt$hash` or `$id$rounds=N$salt$hash` with an id of at least 6. The messages keep the password
/// to themselves.
fn password(fields: &Fields<'_>) -> Checked<Option<String>> {
    const NAME: &str = "password";
    let Some(password) = fields.optional_filled(NAME)? else {
        return Ok(None);
    };
    let wrong = |problem: &str| Err(fields.wrong(NAME, problem));
    let parts: Vec<&str> = password.splitn(5, '$').collect();
    let (id, rounds, salt, hash) = match parts.as_slice() {
        [_, _, rounds, _] if rounds.starts_with("rounds=") => return wrong("lacks its hash"),
        [_, id, salt, hash] => (*id, None, *salt, *hash),
        [_, id, rounds, salt, hash] => (*id, rounds.strip_prefix("rounds="), *salt, *hash),
        _ => return wrong("must have the form \"$id$salt$hash\", see crypt(3)"),
    };
    match id.parse::<i64>() {
        Ok(6..) => {}
        Ok(_) => return wrong("must have an id of 6 (sha512crypt) or higher"),
        Err(_) => {
            return wrong(&format!(
                "must start with a number between dollar signs, not {:?}",
                shown(id)
            ));
        }
    }
    if rounds.is_some_and(|rounds| {
        !rounds
            .parse::<i64>()
            .is_ok_and(|count| (5000..=999_999_999).contains(&count))
    }) {
        return wrong("must have between 5000 and 999999999 rounds");
    }
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
    };
    if !plain(salt) || !plain(hash) {
        return wrong("may have letters, digits, '.' and '/' only in salt and hash");
    }
    Ok(Some(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_later_is_counted_in_the_calendar_of_its_own_zone() {
        let moved = |text| year_later(text).map(|time| time.to_string());
        assert_eq!(
            moved("2024-02-29T10:00:00Z").as_deref(),
            Some("2025-03-01T10:00:00Z")
        );
        assert_eq!(
            moved("2023-02-28T23:30:00-05:00").as_deref(),
            Some("2024-02-29T04:30:00Z")
        );
        assert_eq!(
            moved("2023-03-01T00:00:00Z").as_deref(),
            Some("2024-03-01T00:00:00Z")
        );
        assert_eq!(moved("9999-01-01T00:00:00Z"), None);
    }
}
