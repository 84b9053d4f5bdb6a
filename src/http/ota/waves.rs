//! Waves: listed, looked at, rolled out, ended. Making and signing one takes TUF documents, which are not there yet.

use serde::Deserialize;

use super::view::{ListView, RolledView, StatusView, WaveView};
use super::{Factory, Input, Json, Outcome};
use crate::app::fleet::rollout::{self, Rolled, Wanted};
use crate::app::fleet::{status, waves};
use crate::app::{App, StoreCtx};
use crate::domain::access::Permission;
use crate::domain::fleet::{Act, WaveRecord, WaveStatus};
use crate::domain::ident::{GroupName, Tag, WaveName};
use crate::http::endpoint::Endpoint;
use crate::http::fault::Fault;
use crate::http::native::fleet::{Long, names};

/// What the client writes for the open wave of a store that has one.
const ACTIVE: &str = "$active$";
/// Waves on a page unless told otherwise, and at most.
const PAGE: usize = 20;
const MOST: usize = 1000;

pub(super) fn endpoints(factory: &Factory) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        factory.get(
            "/ota/factories/{store}/waves{?limit,page,status,tag}",
            P::FleetRead,
            "List the waves of a store page by page, the newest first",
            list,
        ),
        factory.get(
            "/ota/factories/{store}/waves/{wave}{?show-targets}",
            P::FleetRead,
            "Show a wave to fioctl",
            show,
        ),
        factory.get(
            "/ota/factories/{store}/waves/{wave}/status{?offline-threshold}",
            P::FleetRead,
            "Tell fioctl how far a wave has come",
            status_of,
        ),
        factory.post(
            "/ota/factories/{store}/waves/{wave}/rollout",
            P::FleetManage,
            "Roll a wave out as fioctl asks",
            roll_out,
        ),
        factory.post(
            "/ota/factories/{store}/waves/{wave}/complete",
            P::FleetManage,
            "Publish a wave to all production devices of its tag, for fioctl",
            |app, ctx, input| act(app, ctx, input, Act::Complete),
        ),
        factory.post(
            "/ota/factories/{store}/waves/{wave}/cancel",
            P::FleetManage,
            "Withdraw a wave, for fioctl",
            |app, ctx, input| act(app, ctx, input, Act::Cancel),
        ),
    ]
}

async fn named<B>(app: &App, ctx: &StoreCtx, input: &Input<B>) -> Outcome<WaveName> {
    let text: String = input.variable("wave")?;
    if text == ACTIVE {
        return Ok(waves::active(app, ctx).await?);
    }
    Ok(input.variable("wave")?)
}

/// A status to filter by, as the client names it.
#[derive(Clone, Copy, Debug)]
enum Filter {
    Active,
    Complete,
    Canceled,
}

impl Filter {
    fn fits(self, record: &WaveRecord) -> bool {
        match self {
            Self::Active => record.wave.is_open(),
            Self::Complete => record.wave.status == WaveStatus::Complete,
            Self::Canceled => record.wave.status == WaveStatus::Canceled,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Complete => "complete",
            Self::Canceled => "canceled",
        }
    }
}

impl std::str::FromStr for Filter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Active, Self::Complete, Self::Canceled];
        let found = all.into_iter().find(|filter| filter.word() == text);
        found.ok_or("a status is active, complete or canceled")
    }
}

/// A number of the query where 0 means that it was not given.
fn number(input: &Input, name: &str) -> Outcome<Option<usize>> {
    let given: Option<usize> = input.query(name)?;
    Ok(given.filter(|number| *number > 0))
}

async fn list(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<ListView>> {
    let limit = number(&input, "limit")?.unwrap_or(PAGE).min(MOST);
    let page = number(&input, "page")?.unwrap_or(1);
    let filter: Option<Filter> = input.query("status")?;
    let tag: Option<Tag> = input.query("tag")?;
    let mut all = waves::list(&app, &ctx).await?;
    all.retain(|record| {
        filter.is_none_or(|filter| filter.fits(record))
            && tag.as_ref().is_none_or(|tag| record.wave.tag == *tag)
    });
    let total = all.len();
    let before = limit.saturating_mul(page - 1);
    let shown = all.iter().skip(before).take(limit);
    let next = (before.saturating_add(limit) < total).then(|| {
        let mut path = format!(
            "/ota/factories/{}/waves/?limit={limit}&page={}",
            ctx.store().id,
            page + 1
        );
        if let Some(filter) = filter {
            path.push_str("&status=");
            path.push_str(filter.word());
        }
        if let Some(tag) = &tag {
            path.push_str("&tag=");
            path.push_str(tag.as_str());
        }
        path
    });
    Ok(Json(ListView {
        waves: shown.map(|record| WaveView::new(record, None)).collect(),
        total,
        next,
    }))
}

async fn show(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<WaveView>> {
    let with_targets = match input.query::<String>("show-targets")?.as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => {
            return Err(Fault::invalid(
                "invalid-request",
                "cannot read the query: show-targets is 0 or 1",
            ));
        }
    };
    let name = named(&app, &ctx, &input).await?;
    let record = waves::show(&app, &ctx, &name).await?;
    let catalog = app.catalog.current(&app).await?;
    Ok(Json(WaveView::new(&record, with_targets.then_some(&*catalog))))
}

async fn status_of(app: App, ctx: StoreCtx, input: Input) -> Outcome<Json<StatusView>> {
    let hours = input.query("offline-threshold")?.unwrap_or(status::ONLINE_HOURS);
    let name = named(&app, &ctx, &input).await?;
    Ok(Json(status::status(&app, &ctx, &name, hours).await?.into()))
}

async fn act(app: App, ctx: StoreCtx, input: Input, act: Act) -> Outcome<Json<WaveView>> {
    let name = named(&app, &ctx, &input).await?;
    let record = waves::act(&app, &ctx, &name, act).await?;
    Ok(Json(WaveView::new(&record, None)))
}

/// Which devices. What is 0 or empty was not given: the client leaves it out then (decisions.md 27).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RolloutBody {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    limit: Option<i64>,
    #[serde(default)]
    percentage: Option<i64>,
    #[serde(default)]
    uuids: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    return_uuids: bool,
    #[serde(default)]
    return_names: bool,
}

impl RolloutBody {
    fn wanted(&self) -> Outcome<Wanted> {
        let group = self.group.as_ref().filter(|group| !group.is_empty());
        let group = group.map(|group| group.parse::<GroupName>()).transpose();
        let devices = self.uuids.as_ref().filter(|uuids| !uuids.is_empty());
        Ok(Wanted {
            group: group.map_err(|error| {
                let message = format!("cannot roll out to this group: {error}");
                Fault::from(crate::app::Refusal::invalid("unknown-group", message))
            })?,
            limit: self.limit.filter(|limit| *limit != 0),
            percentage: self.percentage.filter(|percentage| *percentage != 0),
            devices: devices.map(|uuids| names(uuids)).transpose()?,
            dry_run: self.dry_run,
            ..Wanted::default()
        })
    }
}

async fn roll_out(app: App, ctx: StoreCtx, input: Input<Long<RolloutBody>>) -> Outcome<Json<RolledView>> {
    let name = named(&app, &ctx, &input).await?;
    let Long(body) = input.body;
    let wanted = body.wanted()?;
    let listed = body.return_uuids || body.return_names;
    let whole = wanted.group.is_some()
        && wanted.devices.is_none()
        && wanted.limit.is_none()
        && wanted.percentage.is_none();
    // A rollout to a whole group is recorded without its devices: who they are is asked before.
    let before = if whole && listed && !wanted.dry_run {
        let dry = Wanted {
            dry_run: true,
            ..wanted.clone()
        };
        Some(rollout::rollout(&app, &ctx, &name, &dry).await?.devices)
    } else {
        None
    };
    let Rolled {
        record,
        rollout,
        devices,
        ..
    } = rollout::rollout(&app, &ctx, &name, &wanted).await?;
    let devices = before.unwrap_or(devices);
    // Somebody joined or left in between: the client takes an empty list for one that cannot be shown.
    let whole_list = devices.len() as u64 == rollout.selected;
    let devices = if whole_list && listed { devices } else { Vec::new() };
    let device_names = if body.return_names {
        names_of(&app, &devices).await?
    } else {
        Vec::new()
    };
    let uuids = devices.iter().filter(|_| body.return_uuids).map(|id| uuid(*id));
    Ok(Json(RolledView {
        wave: WaveView::new(&record, None),
        device_num: rollout.selected,
        device_uuids: uuids.collect(),
        device_names,
    }))
}

fn uuid(id: u128) -> String {
    uuid::Uuid::from_u128(id).to_string()
}

/// `MODEL/SERIAL` of each; of those that are gone, their uuids.
async fn names_of(app: &App, ids: &[u128]) -> Outcome<Vec<String>> {
    let found = rollout::names(app, ids).await?;
    let named = found.into_iter().zip(ids).map(|(device, id)| match device {
        Some(device) => format!("{}/{}", device.model, device.serial),
        None => uuid(*id),
    });
    Ok(named.collect())
}
