//! What publishers ask about the devices that have their snap.

use std::collections::BTreeSet;

use super::sweep::before;
use crate::app::{App, Refusal, SnapCtx};
use crate::domain::catalog::RevisionRecord;
use crate::domain::ident::SnapId;
use crate::domain::numbers::{History, KEPT, Metric, REACH, SnapDay, Split};
use crate::domain::time::Day;

/// More parts than days that are read at first: of the last days there may be several each.
const SPARE: usize = 32;

/// A question about some days.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked, as clients name it.
    pub metric: String,
    /// The first day.
    pub first: Day,
    /// The last day.
    pub last: Day,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Days of which something is known.
    pub days: Vec<Day>,
    /// Numbers, one for each of these days.
    pub series: Vec<Series>,
}

/// Numbers under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The name: a version, a channel, what changed.
    pub name: String,
    /// A number for each day.
    pub values: Vec<i64>,
    /// Of versions and channels: whether there is such a release now.
    pub released: Option<bool>,
}

/// Answers a question; none where nothing is known. Only who takes part in the snap is told, not a store that shows it.
///
/// Days before the first report are not known, neither are those older than [`KEPT`] and those to come. Of today is told
/// what it is so far; which devices a day lost or kept is known when it is over.
///
/// # Errors
/// `invalid-request` where the last day is before the first; the snap is absent to who must not know.
pub async fn tell(app: &App, ctx: &SnapCtx, question: &Question) -> Result<Option<Answer>, Refusal> {
    if !ctx.takes_part() {
        let id = &ctx.snap().id;
        return Err(Refusal::not_found(format!(
            "cannot find snap {id}: there is no such snap, or it is not yours to do this with"
        )));
    }
    if question.last < question.first {
        return Err(Refusal::invalid(
            "invalid-request",
            "cannot tell numbers: the last day is before the first",
        ));
    }
    let Some(metric) = Metric::named(&question.metric) else {
        return Ok(None);
    };
    let snap = &ctx.snap().id;
    let today = Day::of(app.clock.now());
    let Some(known) = first_day(app, snap).await? else {
        return Ok(None);
    };
    let end = match metric {
        Metric::Change { .. } => today.plus(-1),
        Metric::Installed { .. } => today,
    };
    let first = question.first.max(known).max(today.plus(-KEPT));
    let last = question.last.min(end);
    if last < first {
        return Ok(None);
    }
    let history = history(app, snap, first.plus(-REACH), last).await?;
    let series = match metric {
        Metric::Change { span } => {
            let changes = history.changes(span, first, last);
            let named = [
                ("continued", changes.continued),
                ("lost", changes.lost),
                ("new", changes.new),
            ];
            let series = named.into_iter().map(|(name, values)| Series {
                name: name.to_owned(),
                values,
                released: None,
            });
            series.collect()
        }
        Metric::Installed { by, span } => {
            let released = released(app, ctx, by, &history).await?;
            let told = history.installed(by, span, first, last);
            let series = told.into_iter().map(|(name, values)| Series {
                name: name.to_owned(),
                values,
                released: released.as_ref().map(|released| released.contains(name)),
            });
            series.collect::<Vec<_>>()
        }
    };
    let known = series
        .iter()
        .flat_map(|series| &series.values)
        .any(|value| *value > 0);
    Ok(known.then(|| Answer {
        days: first.to(last).collect(),
        series,
    }))
}

/// The first day of which there is anything.
async fn first_day(app: &App, snap: &SnapId) -> Result<Option<Day>, Refusal> {
    let found = app.storage.page::<SnapDay>([snap.as_str()], None, 1).await?;
    Ok(found.first().map(|found| found.record.day))
}

/// All parts of these days, read at one moment: between two reads, parts could become one.
async fn history(app: &App, snap: &SnapId, first: Day, last: Day) -> Result<History, Refusal> {
    let mut limit = usize::try_from(last.since(first)).unwrap_or_default() + SPARE;
    let from = before(snap, first);
    let parts = loop {
        let found = app
            .storage
            .page::<SnapDay>([snap.as_str()], Some(&from), limit)
            .await?;
        if found.len() < limit || found.last().is_some_and(|found| found.record.day > last) {
            break found;
        }
        limit *= 2;
    };
    let mut history = History::default();
    for part in parts {
        if part.record.day <= last {
            history.add(part.record);
        }
    }
    Ok(history)
}

/// The names of what is released now: versions or channels; none for what is not released at all.
async fn released(
    app: &App,
    ctx: &SnapCtx,
    by: Split,
    history: &History,
) -> Result<Option<BTreeSet<String>>, Refusal> {
    let snap = ctx.snap();
    let open = snap.releases.listed(app.clock.now());
    match by {
        Split::Architecture | Split::System => Ok(None),
        Split::Channel => Ok(Some(open.iter().map(|open| open.channel.to_string()).collect())),
        Split::Version => {
            let numbers: BTreeSet<u64> = open
                .iter()
                .flat_map(|open| {
                    let others = open.progressive.as_ref().and_then(|part| part.otherwise);
                    [Some(open.revision), others].into_iter().flatten()
                })
                .collect();
            let mut names = BTreeSet::new();
            for number in numbers {
                let known = history.versions().get(&number).cloned();
                names.extend(match known {
                    Some(known) => Some(known),
                    None => version(app, &snap.id, number).await?,
                });
            }
            Ok(Some(names))
        }
    }
}

/// The version of a revision that no device had lately.
async fn version(app: &App, snap: &SnapId, number: u64) -> Result<Option<String>, Refusal> {
    let key = [snap.as_str(), &crate::domain::catalog::revision_key(number)];
    let found = app.storage.find::<RevisionRecord>(key).await?;
    Ok(found.map(|found| found.record.version))
}
