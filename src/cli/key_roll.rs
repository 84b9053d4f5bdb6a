//! `key roll`: replaces a signing key, guided. Every step can be repeated: what is done stays done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::remote::{Client, native};
use super::{BrandArg, CliError, Column, Cx};
use crate::domain::ident::KeyName;
use crate::domain::vault::TokenUri;

#[derive(Debug, Args)]
pub(super) struct Roll {
    /// Name of the key that goes
    name: KeyName,
    /// Name of the key that takes over; made with the same purposes if there is none. NAME-2 and so on when omitted
    #[arg(long, value_name = "NAME")]
    to: Option<KeyName>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Write the new account-key and everything signed again into this directory, one file each
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What becomes of the old key when all is done; it stays as it is when omitted
    #[arg(long, value_enum, value_name = "HOW")]
    retire: Option<Retire>,
    /// Yes to --retire revoke: serials signed with the old key become worthless too
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    brand: BrandArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Retire {
    /// Switch it off: what it signed stays good
    Disable,
    /// Revoke it for good: devices refuse everything it ever signed
    Revoke,
}

const CARD: &[Column] = &[
    Column::field("Key", "key"),
    Column::field("Replaced by", "to"),
    Column::field("Serial policies", "policies"),
    Column::with("Signed again", signed),
    Column::field("System users left", "system-users"),
    Column::field("Old key", "retired"),
    Column::field("Files", "files"),
];

fn signed(roll: &Value) -> String {
    let all = roll.get("assertions").and_then(Value::as_array);
    all.map_or_else(|| "0".to_owned(), |all| all.len().to_string())
}

impl Roll {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        if self.retire == Some(Retire::Revoke) && !self.yes {
            return Err(CliError::Usage(format!(
                "cannot revoke key {} just like that: serials it signed are worthless then, and their devices have to \
                 register again; repeat with --yes",
                self.name
            )));
        }
        let client = Client::open(&self.brand)?;
        let old = client.get(&native(&["keys", self.name.as_str()]), &[]).await?;
        let path = native(&["keys", self.name.as_str(), "roll"]);
        let plan = client.get(&path, &[]).await?;
        let to = match &self.to {
            Some(to) => to.clone(),
            None => next_name(&self.name)?,
        };
        let mut done = json!({
            "key": self.name, "to": to, "policies": list(&plan, "policies"), "assertions": list(&plan, "assertions"),
            "system-users": plan.get("system-users"), "retired": null, "files": [],
        });
        if self.dry_run {
            cx.out.item(&done, CARD)?;
            cx.out.note("nothing was changed: this is what would be");
            return Ok(());
        }
        let mut files = Vec::new();
        if let Some(request) = self.successor(cx, &client, &old, &to, &mut files).await? {
            return Err(CliError::Failed(request));
        }
        let (mut policies, mut signed) = (Vec::new(), Vec::new());
        loop {
            let part = client.post(&path, &json!({"to": to})).await?;
            policies.extend(list(&part, "policies"));
            for mut assertion in list(&part, "assertions") {
                let text = assertion
                    .as_object_mut()
                    .and_then(|fields| fields.remove("assertion"));
                if let (Some(dir), Some(Value::String(text))) = (&self.out, text) {
                    files.push(keep(dir, &file_name(&assertion), &text)?);
                }
                signed.push(assertion);
            }
            let left = part.get("left").and_then(Value::as_u64).unwrap_or_default();
            if left == 0 {
                break;
            }
            cx.out
                .note(&format!("signed {} again, {left} left", signed.len()));
        }
        let retired = self.retire(cx, &client).await?;
        if let Some(fields) = done.as_object_mut() {
            fields.insert("policies".to_owned(), policies.into());
            fields.insert("assertions".to_owned(), signed.into());
            fields.insert("retired".to_owned(), retired.into());
            fields.insert("files".to_owned(), files.into());
        }
        cx.out.item(&done, CARD)?;
        cx.out.note(&self.next_steps(&to));
        Ok(())
    }

    /// Makes the key that takes over, unless it is there. The answer is why it cannot sign yet, if so.
    async fn successor(
        &self,
        cx: &Cx,
        client: &Client,
        old: &Value,
        to: &KeyName,
        files: &mut Vec<String>,
    ) -> Result<Option<String>, CliError> {
        let keys = client.get(&native(&["keys"]), &[]).await?;
        let known = |key: &&Value| key.get("name").and_then(Value::as_str) == Some(to.as_str());
        let key = match keys.as_array().into_iter().flatten().find(known) {
            Some(key) => {
                cx.out.note(&format!("key {to} is there already: it takes over"));
                key.clone()
            }
            None => {
                cx.out.note("making an RSA-4096 key; this takes a while");
                let mut new = json!({
                    "name": to, "purposes": old.get("purposes"), "models": old.get("models"),
                    "constrained": old.get("constrained"), "since": null, "until": null,
                    "external": old.get("external"),
                });
                // What was in hardware stays in hardware.
                let place = old.get("token").and_then(Value::as_str);
                if let (Some(place), Some(fields)) = (place, new.as_object_mut()) {
                    let place = TokenUri::key(place)
                        .map_err(|error| CliError::failed("cannot read the answer", error))?;
                    fields.insert("token".to_owned(), json!(place.home()));
                }
                client.post(&native(&["keys"]), &new).await?
            }
        };
        let path = native(&["keys", to.as_str(), "register"]);
        let registered = client.post(&path, &json!({"until": null})).await?;
        let text = |field| registered.get(field).and_then(Value::as_str);
        if let (Some(dir), Some(account_key)) = (&self.out, text("account-key")) {
            let id = key.get("public-key-sha3-384").and_then(Value::as_str);
            files.push(keep(
                dir,
                &format!("account-key-{}", id.unwrap_or("new")),
                account_key,
            )?);
        }
        let Some(request) = text("account-key-request") else {
            return Ok(None);
        };
        let place = match &self.out {
            Some(dir) => keep(dir, &format!("account-key-request-{to}"), request)?,
            None => format!("what `hallmark key register {to}` prints"),
        };
        Ok(Some(format!(
            "cannot replace key {} yet: another root has to sign the account-key of {to}; send it {place}, \
             import its answer with `hallmark assertion import`, then run this again with --to {to}",
            self.name
        )))
    }

    async fn retire(&self, cx: &Cx, client: &Client) -> Result<Option<&'static str>, CliError> {
        let Some(how) = self.retire else { return Ok(None) };
        let (verb, done) = match how {
            Retire::Disable => ("disable", "disabled"),
            Retire::Revoke => ("revoke", "revoked"),
        };
        let path = native(&["keys", self.name.as_str(), verb]);
        let answer = client.post(&path, &json!({})).await?;
        if let (Some(dir), Some(Value::String(text))) = (&self.out, answer.get("account-key")) {
            let file = keep(dir, &format!("account-key-{}-revoked", self.name), text)?;
            cx.out
                .note(&format!("the last account-key of {} is in {file}", self.name));
        }
        Ok(Some(done))
    }

    fn next_steps(&self, to: &KeyName) -> String {
        let rest = match self.retire {
            None => format!(
                "; when that is done: `hallmark key disable {name}`, or `hallmark key revoke {name} --yes` if it leaked",
                name = self.name
            ),
            Some(_) => String::new(),
        };
        format!(
            "devices and `snap` fetch what was signed again, and the account-key of {to}, from this server; images are \
             built from the new model assertions from now on, and whoever signs with {} elsewhere (`snap sign -k`) \
             changes to {to}{rest}",
            self.name
        )
    }
}

/// `serial` -> `serial-2` -> `serial-3`.
fn next_name(name: &KeyName) -> Result<KeyName, CliError> {
    let (stem, number) = match name.as_str().rsplit_once('-') {
        Some((stem, number)) => match number.parse::<u32>() {
            Ok(number) => (stem, number),
            Err(_) => (name.as_str(), 1),
        },
        None => (name.as_str(), 1),
    };
    format!("{stem}-{}", number.saturating_add(1))
        .parse()
        .map_err(|error| CliError::Usage(format!("cannot name the new key: {error}; use --to")))
}

fn list(answer: &Value, field: &str) -> Vec<Value> {
    let items = answer.get(field).and_then(Value::as_array);
    items.cloned().unwrap_or_default()
}

/// `model-16-acme-gate`: what cannot be in a file name everywhere is left out.
fn file_name(assertion: &Value) -> String {
    let kind = assertion
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("assertion");
    let key = list(assertion, "primary-key");
    let parts = std::iter::once(kind).chain(key.iter().filter_map(Value::as_str));
    let name = parts.collect::<Vec<_>>().join("-");
    let allowed: BTreeSet<char> = "-_.".chars().collect();
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || allowed.contains(&c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn keep(dir: &Path, name: &str, text: &str) -> Result<String, CliError> {
    let path = dir.join(format!("{name}.assert"));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| CliError::failed(format!("cannot write {}", path.display()), error))?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_counts_up() {
        let next = |name: &str| next_name(&name.parse().unwrap()).unwrap().to_string();
        assert_eq!(next("serial"), "serial-2");
        assert_eq!(next("serial-2"), "serial-3");
        assert_eq!(next("serial-x"), "serial-x-2");
    }

    #[test]
    fn file_names_stay_in_their_directory() {
        let name = file_name(&json!({"type": "model", "primary-key": ["16", "../a b", "x/y"]}));
        assert_eq!(name, "model-16-.._a_b-x_y");
    }
}
