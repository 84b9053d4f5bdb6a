//! `snap declare`: what a snap may do, as its snap-declaration says it to devices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::changes::apply;
use super::register::{declaration_of, declares};
use super::{signed, snap};
use crate::app::instance::root;
use crate::app::sign::sign;
use crate::app::{App, BrandCtx, Refusal, brands, vault_event};
use crate::domain::access::Permission;
use crate::domain::assertion::types::{compat_warnings, needed_format};
use crate::domain::assertion::{Assertion, AssertionType, Headers, Statement, StatementError, Typed, Value};
use crate::domain::catalog::{Changed, RevisionRecord, SnapRecord};
use crate::domain::ident::{SnapId, SnapName};
use crate::domain::review::newly_guarded;
use crate::ports::{Change, Commit, PutRule};

/// The headers that may be declared.
pub const KEYS: [&str; 6] = [
    "plugs",
    "slots",
    "aliases",
    "auto-aliases",
    "refresh-control",
    "revision-authority",
];
/// Those whose entries can be changed one by one.
const BY_INTERFACE: [&str; 2] = ["plugs", "slots"];

/// What becomes of what stands in the declaration already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Keys that the text names are replaced as a whole, the others stay. An empty key goes.
    #[default]
    Keys,
    /// Like that, but of `plugs` and `slots` only the interfaces that the text names are replaced.
    Merge,
    /// Only what the text names is left.
    Replace,
}

/// A new declaration.
#[derive(Clone, Debug)]
pub struct Declared {
    /// It.
    pub assertion: Assertion,
    /// What older clients would trip over, and aliases that lead nowhere yet.
    pub warnings: Vec<String>,
}

/// Declares what `text` (YAML or JSON, with some of [`KEYS`]) says, by the next revision of the snap-declaration. What
/// devices would refuse is refused here.
///
/// # Errors
/// `two-persons-required` for plugs of class C, unless the operator declares; `invalid-declaration` with the header that is wrong; `declaration-imported` where another root declares the brand's
/// snaps; `unchanged` where nothing would change.
pub async fn declare(
    app: &App,
    ctx: &BrandCtx,
    name: &SnapName,
    text: &str,
    mode: Mode,
) -> Result<Declared, Refusal> {
    let given = read(text)?;
    let mut found = snap(app, ctx, name, Permission::SnapDeclare).await?;
    ours(app, ctx, name).await?;
    let current = declaration_of(app, &found.record).await?;
    let headers = next(current.headers(), &given, mode);
    if KEYS
        .iter()
        .all(|name| headers.get(name) == current.headers().get(name))
    {
        return Err(Refusal::conflict(
            "unchanged",
            format!("cannot declare {name}: it says so already"),
        ));
    }
    if !ctx.operates() {
        let grown = newly_guarded(current.headers(), &headers);
        if !grown.is_empty() {
            return Err(Refusal::conflict(
                "two-persons-required",
                format!(
                    "cannot declare {name}: plugs of {} take two persons; ask for them with `hallmark snap grant \
                     enable`, an administrator confirms",
                    grown.join(", ")
                ),
            ));
        }
    }
    let assertion = signed_next(app, &current, headers).await?;
    let mut warnings = compat_warnings(&assertion);
    warnings.extend(aimless(app, &found.record, &assertion).await?);
    declares(&mut found.record, &assertion);
    let detail = json!({ "revision": assertion.revision(), "mode": mode });
    let mut commit = Commit {
        // The record takes part: what the caller was judged by must still hold.
        records: vec![Change::replace(&found.record, found.version)],
        audit: vec![vault_event(app, ctx, "snap.declare", name.as_str(), &detail)],
        ..Commit::default()
    };
    signed(app, ctx, &mut commit, &assertion, PutRule::Newer);
    let changed = [Changed::Snap(found.record.id.clone())];
    App::settle(&apply(app, commit, &changed).await?)?;
    Ok(Declared { assertion, warnings })
}

/// The declarations of the brand's snaps must be ours to sign.
pub(super) async fn ours(app: &App, ctx: &BrandCtx, name: &SnapName) -> Result<(), Refusal> {
    if !brands::show(app, ctx).await?.delegated {
        return Ok(());
    }
    Err(Refusal::conflict(
        "declaration-imported",
        format!(
            "cannot declare {name}: another root signs for brand {}; import the new snap-declaration instead",
            ctx.brand()
        ),
    ))
}

/// The declaration after `current`, with these headers, signed.
pub(super) async fn signed_next(
    app: &App,
    current: &Assertion,
    mut headers: Headers,
) -> Result<Assertion, Refusal> {
    let root = root(app).await?;
    headers.set("authority-id", root.account_id.as_str());
    headers.set("revision", current.revision().saturating_add(1).to_string());
    headers.set("timestamp", app.clock.now().to_string());
    let kind = AssertionType::SnapDeclaration;
    let format = needed_format(kind, &headers);
    if format > 0 {
        headers.set("format", format.to_string());
    }
    sign(app, &root, Statement::new(kind, headers, Vec::new()))
        .await
        .map_err(|refusal| match refusal.code {
            "invalid-statement" => Refusal::invalid(
                "invalid-declaration",
                refusal.message.replacen("cannot sign", "cannot declare this", 1),
            ),
            _ => refusal,
        })
}

/// Aliases whose target is an app of no revision. The next one may bring it, so they are not refused.
async fn aimless(app: &App, snap: &SnapRecord, declaration: &Assertion) -> Result<Vec<String>, Refusal> {
    let aliases = match declaration.typed() {
        Typed::SnapDeclaration(view) if !view.aliases.is_empty() => &view.aliases,
        _ => return Ok(Vec::new()),
    };
    let revisions = app.storage.all::<RevisionRecord>([snap.id.as_str()]).await?;
    let apps: BTreeSet<&String> = revisions.iter().flat_map(|found| &found.record.apps).collect();
    Ok(aliases
        .iter()
        .filter(|(_, target)| !apps.contains(target))
        .map(|(alias, target)| {
            format!(
                "alias {alias} leads nowhere: no revision of {} has an app {target}",
                snap.name
            )
        })
        .collect())
}

/// The headers of the text, checked for what the grammar of assertions leaves open.
fn read(text: &str) -> Result<Headers, Refusal> {
    let refuse = |message: String| Refusal::invalid("invalid-declaration", message);
    let unreadable = |error: StatementError| refuse(format!("cannot read the declaration: {error}"));
    let mut complement = Headers::default();
    complement.set("type", AssertionType::SnapDeclaration.name());
    let statement = if text.trim_start().starts_with('{') {
        Statement::from_json_with(text, &complement)
    } else {
        Statement::from_yaml_with(text, &complement)
    };
    let mut statement = statement.map_err(unreadable)?;
    let headers = statement.headers_mut();
    headers.remove("type");
    if let Some((name, _)) = headers.iter().find(|(name, _)| !KEYS.contains(name)) {
        return Err(refuse(format!(
            "cannot declare {name:?}: a declaration may have {}",
            KEYS.join(", ")
        )));
    }
    if headers.iter().next().is_none() {
        return Err(refuse(format!(
            "cannot read the declaration: it has none of {}",
            KEYS.join(", ")
        )));
    }
    for gated in headers
        .get("refresh-control")
        .and_then(Value::as_list)
        .unwrap_or_default()
    {
        let text = gated.as_text().unwrap_or_default();
        if let Err(error) = text.parse::<SnapId>() {
            return Err(refuse(format!(
                "cannot declare this: \"refresh-control\" header: {error}"
            )));
        }
    }
    Ok(headers.clone())
}

/// The headers that the next declaration takes over: all but those that are made anew.
pub(super) fn carried(current: &Headers) -> Headers {
    let mut headers = current.clone();
    for name in ["type", "format", "sign-key-sha3-384", "body-length"] {
        headers.remove(name);
    }
    headers
}

/// The headers of the next declaration.
fn next(current: &Headers, given: &Headers, mode: Mode) -> Headers {
    let mut headers = carried(current);
    if mode == Mode::Replace {
        for name in KEYS {
            headers.remove(name);
        }
    }
    for (name, value) in given.iter() {
        let value = match (mode, headers.get(name), value) {
            (Mode::Merge, Some(Value::Map(before)), Value::Map(rules)) if BY_INTERFACE.contains(&name) => {
                let mut merged: BTreeMap<String, Value> = before.clone();
                merged.extend(rules.clone());
                Value::Map(merged)
            }
            _ => value.clone(),
        };
        if is_empty(&value) {
            headers.remove(name);
        } else {
            headers.set(name, value);
        }
    }
    headers
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> Headers {
        read(text).unwrap()
    }

    fn interfaces(headers: &Headers, name: &str) -> Vec<String> {
        let map = headers.get(name).and_then(Value::as_map);
        map.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn what_is_not_named_stays_unless_all_is_replaced() {
        let current = headers("plugs: {a: 'true', b: 'true'}\nslots: {c: 'true'}\n");
        let given = headers("plugs: {b: 'false', d: 'true'}\n");
        let keys = next(&current, &given, Mode::Keys);
        assert_eq!(interfaces(&keys, "plugs"), ["b", "d"]);
        assert_eq!(interfaces(&keys, "slots"), ["c"]);
        let merged = next(&current, &given, Mode::Merge);
        assert_eq!(interfaces(&merged, "plugs"), ["a", "b", "d"]);
        let plugs = merged.get("plugs").and_then(Value::as_map).unwrap();
        assert_eq!(plugs["b"].as_text(), Some("false"));
        let replaced = next(&current, &given, Mode::Replace);
        assert_eq!(interfaces(&replaced, "slots"), Vec::<String>::new());
        let emptied = next(&current, &headers("slots: {}\n"), Mode::Keys);
        assert!(!emptied.contains("slots"));
        assert_eq!(interfaces(&emptied, "plugs"), ["a", "b"]);
    }

    #[test]
    fn only_what_belongs_there_is_read() {
        for bad in [
            "",
            "{}",
            "plugs",
            "publisher-id: acme",
            "type: model",
            "plugs: {a: true}\nsnap-name: x",
            "refresh-control: [short]",
            "plugs:\n",
        ] {
            assert_eq!(read(bad).unwrap_err().code, "invalid-declaration", "{bad:?}");
        }
        assert!(read(r#"{"plugs": {"network-control": {"allow-auto-connection": "true"}}}"#).is_ok());
    }
}
