//! `confdb-schema` and `confdb-control`. hallmark carries them for devices: the shape of views is checked, their
//! paths and the storage schema in the body are left to devices.

use super::super::headers::Value;
use super::super::json;
use super::Parts;
use super::checks::{Checked, Fields};
use super::names;
use super::serial::model_name;
use crate::domain::time::Timestamp;

/// A well-formed confdb-schema.
#[derive(Clone, Debug)]
pub struct ConfdbSchema {
    /// The account that issues it.
    pub account_id: String,
    /// Its name.
    pub name: String,
    /// Names of its views.
    pub views: Vec<String>,
    /// When it was issued.
    pub timestamp: Timestamp,
}

pub(super) fn assemble_schema(parts: &Parts<'_>) -> Checked<ConfdbSchema> {
    let fields = &parts.fields;
    let account_id = fields.filled("account-id")?;
    // The schemas of the system are the platform's, not an account's.
    let signer = if account_id == "system" {
        "canonical"
    } else {
        account_id
    };
    if fields.filled("authority-id")? != signer {
        return Err(fields.wrong(
            "authority-id",
            format!("must be {signer:?} for a schema of {account_id:?}"),
        ));
    }
    let name = fields.named("name", "the name of a confdb", names::is_confdb_name)?;
    let views = fields
        .optional_map("views")?
        .ok_or_else(|| fields.wrong("views", "is mandatory"))?;
    fields.optional("summary")?;
    check_body(parts)?;
    for (view, value) in views.map() {
        check_view(&views, view, value)?;
    }
    Ok(ConfdbSchema {
        account_id: account_id.to_owned(),
        name: name.to_owned(),
        views: views.map().keys().cloned().collect(),
        timestamp: fields.time("timestamp")?,
    })
}

/// The body: a JSON object with a `storage` object that has a `schema`. The decoders saw to its form.
fn check_body(parts: &Parts<'_>) -> Checked<()> {
    let wrong = |problem: &str| parts.fields.wrong("body", problem);
    let text = std::str::from_utf8(parts.body).unwrap_or_default();
    let body = json::object(text).map_err(|problem| wrong(&problem))?;
    let storage = body
        .get("storage")
        .ok_or_else(|| wrong("must have a \"storage\""))?;
    match storage.get("type").map(serde_json::Value::as_str) {
        None | Some(Some("map")) => {}
        Some(Some(_) | None) => return Err(wrong("must have a \"storage\" of type map")),
    }
    if storage.get("schema").is_some() {
        Ok(())
    } else {
        Err(wrong("must have a \"storage\" with a \"schema\""))
    }
}

fn check_view(views: &Fields<'_>, name: &str, value: &Value) -> Checked<()> {
    if !names::is_confdb_name(name) {
        return Err(views.wrong(name, "is not the name of a view"));
    }
    let Value::Map(map) = value else {
        return Err(views.wrong(name, "must be a map"));
    };
    let view = Fields::nested(map, views.path(name));
    view.optional("summary")?;
    if let Some(parameters) = view.optional_map("parameters")? {
        for (name, value) in parameters.map() {
            let Value::Map(map) = value else {
                return Err(parameters.wrong(name, "must be a map"));
            };
            Fields::nested(map, parameters.path(name)).choice(
                "presence",
                &["optional", "required-on-write", "required-on-read", "required"],
            )?;
        }
    }
    check_rules(&view, "rules", Nesting::Top)
}

/// Whether rules stand in a view or in the `content` of another rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Top,
    Inner,
}

fn check_rules(fields: &Fields<'_>, name: &str, nesting: Nesting) -> Checked<()> {
    let rules = fields.maps(name)?;
    if rules.is_empty() {
        return Err(fields.wrong(name, "must be a non-empty list"));
    }
    for rule in rules {
        rule.filled("storage")?;
        if rule.has("request") {
            rule.filled("request")?;
        }
        if nesting == Nesting::Inner {
            rule.absent("access", "must not be given inside \"content\"")?;
        }
        rule.choice("access", &["read-write", "read", "write"])?;
        if rule.has("content") {
            check_rules(&rule, "content", Nesting::Inner)?;
        }
    }
    Ok(())
}

/// A well-formed confdb-control. Signed by the device key of the serial it names.
#[derive(Clone, Debug)]
pub struct ConfdbControl {
    /// The brand of the device.
    pub brand_id: String,
    /// The model of the device.
    pub model: String,
    /// The serial of the device.
    pub serial: String,
}

pub(super) fn assemble_control(parts: &Parts<'_>) -> Checked<ConfdbControl> {
    let fields = &parts.fields;
    let brand_id = fields.named("brand-id", "an account id", names::is_account_id)?;
    let model = model_name(fields)?;
    let serial = fields.named(
        "serial",
        "a serial of letters, digits and single : + -",
        names::is_strict_serial,
    )?;
    for group in fields.maps("groups")? {
        check_group(&group)?;
    }
    Ok(ConfdbControl {
        brand_id: brand_id.to_owned(),
        model,
        serial: serial.to_owned(),
    })
}

fn check_group(group: &Fields<'_>) -> Checked<()> {
    let known = |method: &str| matches!(method, "operator-key" | "store");
    let listed = [
        (
            "authentications",
            group.names("authentications", "operator-key and store", known)?,
        ),
        (
            "operators",
            group.names("operators", "account ids", names::is_account_id)?,
        ),
        (
            "views",
            group.names("views", "views (ACCOUNT/CONFDB/VIEW)", is_view)?,
        ),
    ];
    match listed.iter().find(|(_, list)| list.is_empty()) {
        Some((name, _)) => Err(group.wrong(name, "is mandatory")),
        None => Ok(()),
    }
}

fn is_view(text: &str) -> bool {
    let mut parts = text.split('/');
    parts.next().is_some_and(names::is_account_id)
        && parts.next().is_some_and(names::is_confdb_name)
        && parts.next().is_some_and(names::is_confdb_name)
        && parts.next().is_none()
}
