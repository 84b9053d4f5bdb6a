//! How serials of a model are issued, as arguments: shared by `model create` and `serial policy`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::domain::fleet::ProductionRule;
use crate::domain::vault::{DeviceAuth, Reissue};

/// How serials of a model are issued; what is left out stays as it is.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// Serials issued before: allow, same-key-only, deny, approve
    #[arg(long, value_name = "POLICY")]
    reissue: Option<Reissue>,
    /// How devices prove themselves: api-key, allow-list, none
    #[arg(long, value_name = "HOW")]
    auth: Option<DeviceAuth>,
    /// Whether only serials on the allow-list are issued: on, off
    #[arg(long, value_name = "SWITCH", value_parser = switch)]
    allow_list: Option<bool>,
    /// Most distinct serials of the model, or none
    #[arg(long, value_name = "N", value_parser = quota)]
    quota: Option<Quota>,
}

/// What devices of a model become when they register; what is left out stays as it is.
#[derive(Debug, Args)]
pub(super) struct Registering {
    /// Whether they are production devices: no, yes, allow-list (those whose serial is on it)
    #[arg(long, value_name = "RULE")]
    production: Option<ProductionRule>,
    /// The tag they follow at first, or none
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

impl Registering {
    /// Adds what was given to a body for the server.
    pub(super) fn add_to(&self, body: &mut Map<String, Value>) {
        if let Some(production) = self.production {
            body.insert("production".to_owned(), json!(production));
        }
        if let Some(tag) = &self.tag {
            let tag = (tag != "none").then_some(tag);
            body.insert("tag".to_owned(), json!(tag));
        }
    }

    /// Whether nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        self.production.is_none() && self.tag.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Quota(Option<u64>);

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("say on or off".to_owned()),
    }
}

fn quota(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota(None)),
        number => number
            .parse()
            .map(|n| Quota(Some(n)))
            .map_err(|_| "say a number, or none".to_owned()),
    }
}

impl Settings {
    /// The settings that were given, as the server reads them.
    pub(super) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("reissue", self.reissue.map(|reissue| json!(reissue)));
        put("auth", self.auth.map(|auth| json!(auth)));
        put("allow-list", self.allow_list.map(Value::from));
        put("quota", self.quota.map(|quota| json!(quota.0)));
        body
    }
}
