//! Rolling a wave out.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::fleet::{StoreArg, devices, in_store, texts};
use crate::cli::{CliError, Cx, Format};
use crate::domain::ident::{GroupName, WaveName};

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollout {
    /// The wave
    wave: WaveName,
    /// A group: all of it, and who joins it later, unless the selection is narrowed
    group: Option<GroupName>,
    /// The same
    #[arg(short, long = "group", value_name = "GROUP", conflicts_with = "group")]
    group_option: Option<GroupName>,
    /// At most so many devices, or such a part of those that match: 100, 5%
    #[arg(short, long, value_name = "N|N%", allow_hyphen_values = true)]
    limit: Option<String>,
    /// Out of these: uuids, MODEL/SERIAL or serials separated by commas or spaces; @FILE for a list in a file
    #[arg(long, value_name = "LIST|@FILE")]
    uuids: Option<String>,
    /// Change nothing, show who would be chosen
    #[arg(long)]
    dry_run: bool,
    /// Print the uuids of the devices
    #[arg(long)]
    print_uuids: bool,
    /// Print the names of the devices
    #[arg(long)]
    print_names: bool,
    /// The same devices and the same seed give the same choice
    #[arg(long)]
    seed: Option<u64>,
    /// Leave out listed devices that do not match, instead of refusing
    #[arg(long)]
    skip_mismatch: bool,
    /// Refuse unless so many devices could be taken
    #[arg(long, value_name = "N")]
    expect_eligible: Option<u64>,
    /// A name for this rollout: the same again is not another one
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    #[command(flatten)]
    store: StoreArg,
}

impl Rollout {
    pub(super) async fn run(self, cx: &Cx) -> Result<(), CliError> {
        let (client, store) = self.store.open().await?;
        let (limit, percentage) = match self.limit.as_deref().map(limit).transpose()? {
            Some((number, true)) => (None, Some(number)),
            Some((number, false)) => (Some(number), None),
            None => (None, None),
        };
        let mut body = json!({
            "dry-run": self.dry_run,
            "skip-mismatch": self.skip_mismatch,
            "return-uuids": self.print_uuids,
            "return-names": self.print_names,
            "seed": self.seed,
            "expect-eligible": self.expect_eligible,
            "key": self.key,
            "limit": limit,
            "percentage": percentage,
        });
        if let Some(fields) = body.as_object_mut() {
            let group = self.group.as_ref().or(self.group_option.as_ref());
            fields.extend(group.map(|group| ("group".to_owned(), json!(group))));
            let listed = self.uuids.as_deref().map(devices).transpose()?;
            fields.extend(listed.map(|listed| ("uuids".to_owned(), json!(listed))));
        }
        let path = in_store(&store, &["waves", self.wave.as_str(), "rollouts"]);
        let rolled = client.post(&path, &body).await?;
        if cx.out.format() == Format::Table {
            let printed = texts(&rolled, "device-uuids").chain(texts(&rolled, "device-names"));
            for line in printed {
                cx.out.data(format!("{line}\n").as_bytes())?;
            }
            for skipped in rolled
                .get("skipped")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let text = |name| skipped.get(name).and_then(Value::as_str).unwrap_or("-");
                cx.out
                    .warn(&format!("left out {}: {}", text("device"), text("why")));
            }
        }
        let number = |name| rolled.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (does, seed) = if self.dry_run {
            (
                "would see",
                format!("; --seed {} chooses the same devices", number("seed")),
            )
        } else {
            ("see", String::new())
        };
        cx.out.done(
            &rolled,
            &format!(
                "{} of {} eligible devices ({} match) {does} wave {}{seed}",
                number("selected"),
                number("eligible"),
                number("matching"),
                self.wave
            ),
        )
    }
}

/// A number, and whether it is a percentage. The server says which numbers are too small or too large.
fn limit(text: &str) -> Result<(i64, bool), CliError> {
    let (number, percentage) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let wrong = || {
        CliError::Usage(format!(
            "cannot use the limit {text:?}: it is a whole number, or one with %"
        ))
    };
    Ok((number.parse().map_err(|_| wrong())?, percentage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_whole_numbers_or_percentages() {
        assert_eq!(limit("100").unwrap(), (100, false));
        assert_eq!(limit("5%").unwrap(), (5, true));
        // What the server refuses with a code of its own.
        assert_eq!(limit("-3").unwrap(), (-3, false));
        for bad in ["", "%", "1.5%", "ten"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
