//! Devices, what they last reported, and the history of their serials.

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{
    ROWS, at, empty, facts, mark, maybe_time, onward, post_button, search, table, time, with_query,
};
use super::route::{Outcome, Visit, Web, done_at};
use super::serials::{model_links, state};
use crate::app::devices::{self, DeviceName, DeviceStory, Place};
use crate::app::serials::{self, SerialQuery};
use crate::app::{App, BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::catalog::ReportedSnap;
use crate::domain::ident::{BrandId, ModelName, SerialNumber, SnapId};
use crate::domain::vault::{SerialState, Standing};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page("/brands/{brand}/devices", P::DeviceRead, "Page: devices", list),
        web.page(
            "/brands/{brand}/devices/{model}/{serial}",
            P::DeviceRead,
            "Page: a device",
            show,
        ),
        web.act(
            "/brands/{brand}/devices/{model}/{serial}/standing",
            P::SerialManage,
            "Allow or deny the serial of a device",
            judge,
        ),
    ]
}

/// The path of the page of a device.
pub(super) fn of_device(brand: &BrandId, model: &ModelName, serial: &SerialNumber) -> String {
    at(&[
        "brands",
        brand.as_str(),
        "devices",
        model.as_str(),
        serial.as_str(),
    ])
}

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit { app, ctx, .. } = &visit;
    let path = of_brand(ctx.brand(), "devices");
    let model: Option<ModelName> = visit.asked("model", "model")?;
    let query = SerialQuery {
        models: model.iter().cloned().collect(),
        serial_prefix: Some(visit.query("q").to_owned()).filter(|text| !text.is_empty()),
        limit: Some(ROWS),
        ..SerialQuery::default()
    };
    let from: Option<Place> = visit.asked("from", "page")?;
    let begun = from.is_some();
    let page = devices::list(app, ctx, query, from).await?;
    let kept = [("q", visit.query("q")), ("model", visit.query("model"))];
    let next = page.next.map(|place| {
        let place = match place {
            Place::Log(position) => position.to_string(),
            Place::Of(name) => name,
        };
        with_query(&path, &[&kept[..], &[("from", place.as_str())]].concat())
    });
    let rows = html! {
        @for story in &page.devices {
            @let device = &story.device;
            @let report = story.report.as_ref();
            tr {
                th scope="row" { a href=(of_device(ctx.brand(), &device.model, &device.serial)) { (device.serial) } }
                td { (maybe_time(report.map(|report| report.seen), "never")) }
                td { (device.model) }
                td { (standing(story)) }
                td { (report.and_then(|report| report.store.as_deref()).unwrap_or("")) }
                td { (report.and_then(|report| report.client.as_deref()).unwrap_or("")) }
                td class="number" { @if let Some(report) = report { (report.snaps.len()) } }
            }
        }
    };
    let body = html! {
        (search(&path, "Serials that begin with", visit.query("q"), &[("model", visit.query("model"))]))
        (model_links(app, ctx, &path, model.as_ref(), visit.query("q")).await?)
        @if page.devices.is_empty() {
            (empty(if begun || !visit.query("q").is_empty() || model.is_some() {
                "No device fits."
            } else {
                "No device yet. Devices stand here once they have a serial: give their gadget the hook of a model, and boot one."
            }))
        } @else {
            (table("Devices", &["Serial", "Last seen", "Model", "Standing", "Store", "Client", "Snaps"], rows))
        }
        (onward(&with_query(&path, &kept), next, begun))
    };
    Ok(Page::new("Devices", body).into())
}

fn standing(story: &DeviceStory) -> Markup {
    html! {
        @match story.standing {
            Some(Standing::Denied) => (mark("denied", "bad")),
            Some(Standing::Allowed) => (mark("allowed", "good")),
            None => @if story.serial.is_some() { "issued here" } @else { "serial of another vault" },
        }
    }
}

async fn show(visit: Visit<BrandCtx>) -> Outcome {
    let Visit { app, ctx, .. } = &visit;
    let (model, serial): (ModelName, SerialNumber) = (visit.variable("model")?, visit.variable("serial")?);
    let story = match devices::show(app, ctx, &DeviceName::Of(model.clone(), serial.clone())).await {
        Ok(story) => Some(story),
        // A serial may be judged, or have been asked for in vain, before there is a device.
        Err(_) if ctx.may(Permission::SerialRead) => None,
        Err(refusal) => return Err(refusal),
    };
    let history = if ctx.may(Permission::SerialRead) {
        match serials::show(app, ctx, &model, &serial).await {
            Ok(found) => Some(found),
            Err(refusal) if story.is_none() => return Err(refusal),
            Err(_) => None,
        }
    } else {
        None
    };
    let judged = story.as_ref().and_then(|story| story.standing);
    let judged = judged.or_else(|| history.as_ref().and_then(|found| found.standing));
    let body = html! {
        @if let Some(story) = &story { (reported(app, story).await?) }
        @if let Some(found) = &history { (revisions(&found.rows)) }
        @if ctx.may(Permission::SerialManage) { (judgement(&visit, &of_device(ctx.brand(), &model, &serial), &serial, judged)) }
    };
    Ok(Page::new(serial.to_string(), body)
        .below(of_brand(ctx.brand(), "devices"), "Devices")
        .below(
            with_query(&of_brand(ctx.brand(), "devices"), &[("model", model.as_str())]),
            model.to_string(),
        )
        .into())
}

async fn reported(app: &App, story: &DeviceStory) -> Result<Markup, Refusal> {
    let catalog = app.catalog.current(app).await?;
    let named = |snap: &ReportedSnap| {
        let id: Option<SnapId> = snap.snap_id.parse().ok();
        let known = id.and_then(|id| catalog.name_of(&id).map(ToString::to_string));
        known.unwrap_or_else(|| snap.snap_id.clone())
    };
    let report = story.report.as_ref();
    let rows = html! {
        @for snap in report.map(|report| report.snaps.as_slice()).unwrap_or_default() {
            tr {
                th scope="row" { (named(snap)) @if let Some(instance) = &snap.instance { " (" (instance) ")" } }
                td class="number" { (snap.revision) }
                td { (snap.channel.as_deref().unwrap_or("")) }
            }
        }
    };
    Ok(html! {
        (facts(&[
            ("Uuid", html! { code { (devices::uuid(&story.device)) } }),
            ("Standing", standing(story)),
            ("Store", html! { (report.and_then(|report| report.store.as_deref()).unwrap_or("not reported")) }),
            ("Architecture", html! { @match report { Some(report) => (report.architecture), None => "not reported" } }),
            ("Client", html! { (report.and_then(|report| report.client.as_deref()).unwrap_or("not reported")) }),
            ("Last seen", maybe_time(report.map(|report| report.seen), "never")),
        ]))
        h2 { "Snaps" }
        @if report.is_none_or(|report| report.snaps.is_empty()) {
            (empty("The device has not reported its snaps. It does so when it next looks for updates."))
        } @else { (table("Snaps on the device", &["Snap", "Revision", "Follows"], rows)) }
    })
}

fn revisions(rows: &[crate::domain::vault::SerialRow]) -> Markup {
    let latest = rows
        .iter()
        .find(|row| row.state == SerialState::Issued && !row.assertion.is_empty());
    let list = html! {
        @for row in rows {
            tr {
                th scope="row" class="number" { (row.revision) }
                td { (state(row.state)) }
                td { (time(row.created_at)) }
                td { details { summary { "Keys" }
                    (facts(&[
                        ("Device key", html! { code class="long" { (row.device_key) } }),
                        ("Signed with", html! { code class="long" { (row.sign_key.as_ref().map_or("", |key| key.as_str())) } }),
                    ]))
                } }
            }
        }
    };
    html! {
        h2 { "Serial" }
        @if rows.is_empty() { (empty("No serial was issued here.")) } @else {
            (table("Revisions of the serial, the newest first", &["Revision", "State", "When", "Keys"], list))
        }
        @if let Some(row) = latest {
            details {
                summary { "The assertion" }
                pre tabindex="0" role="region" aria-label="Serial assertion" { (String::from_utf8_lossy(&row.assertion)) }
            }
        }
    }
}

fn judgement(visit: &Visit<BrandCtx>, path: &str, serial: &SerialNumber, judged: Option<Standing>) -> Markup {
    let action = format!("{path}/standing");
    let button = |label: &str, class: &str, word: &str| {
        post_button(
            &visit.session.mark,
            &action,
            label,
            serial.as_str(),
            class,
            &[("standing", word)],
        )
    };
    html! {
        h2 { "Judgement" }
        p { "A denied device gets no serial and loses its sessions at once. The allow-list counts where the model asks for it." }
        div class="inline" {
            @if judged != Some(Standing::Denied) { (button("Deny", "danger", "denied")) }
            @if judged != Some(Standing::Allowed) { (button("Put on the allow-list", "", "allowed")) }
            @if judged.is_some() { (button("Take the judgement back", "", "none")) }
        }
    }
}

async fn judge(visit: Visit<BrandCtx, Form>) -> Outcome {
    let (model, serial): (ModelName, SerialNumber) = (visit.variable("model")?, visit.variable("serial")?);
    let standing = match visit.body.raw("standing") {
        "allowed" => Some(Standing::Allowed),
        "denied" => Some(Standing::Denied),
        "none" => None,
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: a serial is allowed, denied or neither",
            ));
        }
    };
    serials::judge(
        &visit.app,
        &visit.ctx,
        &model,
        std::slice::from_ref(&serial),
        standing,
    )
    .await?;
    Ok(done_at(&of_device(visit.ctx.brand(), &model, &serial), "judged"))
}
