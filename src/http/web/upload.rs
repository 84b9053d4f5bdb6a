//! Uploading a revision: the same intake as the API's, fed by a form. How far it is can be watched on a page of its own,
//! so that this works without a script too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::multipart::{Part, Parts};
use super::parts::{Line, at, choice, field, line, post_files, size, tick};
use super::reviews::of_revision;
use super::route::{Answer, Outcome, Visit, Web, done_at};
use super::snaps::of_snap;
use crate::app::catalog::ingest::{self, Ingested, Intake, MAX_COMPONENTS, Upload};
use crate::app::{App, BrandCtx, Refusal, brands};
use crate::domain::access::Permission;
use crate::domain::access::secret::random_letters;
use crate::domain::catalog::Channel;
use crate::domain::ident::AccountId;
use crate::http::endpoint::Endpoint;
use crate::ports::Staged;

/// Letters of the id of an upload.
const ID: usize = 32;
/// Uploads whose progress is known at a time; the oldest are forgotten.
const MAX_KNOWN: usize = 1000;
/// How long the progress of an upload is known after its last step.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// What is read on after a refusal, so that the browser gets to read why, in bytes.
const MAX_REST: u64 = 256 * 1024 * 1024;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    let known = Arc::new(Progress::default());
    let seen = Arc::clone(&known);
    vec![
        web.page(
            "/brands/{brand}/upload",
            P::SnapPublish,
            "Page: upload a revision",
            show,
        ),
        web.act(
            "/brands/{brand}/upload",
            P::SnapPublish,
            "Upload a revision of a snap; a new name is registered",
            move |visit| send(visit, Arc::clone(&known)),
        ),
        web.page(
            "/brands/{brand}/upload/{upload}",
            P::SnapPublish,
            "Page: how far an upload is",
            move |visit| watch(visit, Arc::clone(&seen)),
        ),
    ]
}

/// How far uploads are that this process takes in.
#[derive(Debug, Default)]
struct Progress(Mutex<HashMap<String, Step>>);

/// How far one is.
#[derive(Clone, Debug)]
struct Step {
    account: AccountId,
    received: u64,
    announced: Option<u64>,
    state: State,
    at: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Arriving,
    Judged,
    Done(String),
    Refused(String),
}

impl Progress {
    fn note(&self, id: &str, step: Step) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() >= MAX_KNOWN && !steps.contains_key(id) {
            steps.retain(|_, step| step.at.elapsed() < KNOWN_FOR);
            let oldest = steps
                .iter()
                .min_by_key(|(_, step)| step.at)
                .map(|(id, _)| id.clone());
            if let Some(oldest) = oldest.filter(|_| steps.len() >= MAX_KNOWN) {
                steps.remove(&oldest);
            }
        }
        steps.insert(id.to_owned(), step);
    }

    fn of(&self, id: &str, account: &AccountId) -> Option<Step> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.get(id).filter(|step| step.account == *account).cloned()
    }
}

async fn show(visit: Visit<BrandCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let id = random_letters(ID, |buffer| app.entropy.fill(buffer)).to_string();
    let path = of_brand(ctx.brand(), "upload");
    let bases: Vec<_> = brands::all_stores(app, ctx)
        .await?
        .into_iter()
        .filter(|store| store.parent.is_none())
        .collect();
    let watch = at(&["brands", ctx.brand().as_str(), "upload", &id]);
    let body = html! {
        p { "A snap file becomes the next revision of the snap its " code { "snap.yaml" } " names. A name that is not registered yet is registered with it." }
        (post_files(&session.mark, &path, html! {
            input type="hidden" name="upload" value=(id);
            (line(Line { name: "channels", label: "Release to the channels", longest: 1000,
                hint: "For example edge, or stable candidate. Empty: it is released later.", ..Line::default() }))
            (line(Line { name: "percentage", label: "Only for a part of the devices, in %", kind: "number", longest: 6, ..Line::default() }))
            details {
                summary { "For a name that is not registered yet" }
                @if bases.len() > 1 {
                    @let options: Vec<(&str, &str)> = bases.iter().map(|store| (store.id.as_str(), store.name.as_str())).collect();
                    (choice("store", "Base store", "", &options, ""))
                }
                @if ctx.operates() {
                    (line(Line { name: "publisher", label: "Publisher", longest: 254,
                        hint: "Username, e-mail address or id of an account, or the brand; you, if it is empty.", ..Line::default() }))
                }
                p { (tick("private", "yes", "Private: only for devices and people of the stores that show it", false)) }
            }
            (field("f-snap", "Snap file", html! {
                input type="file" id="f-snap" name="snap" required accept=".snap" aria-describedby="f-snap-hint";
            }, &format!("At most {}.", size(app.settings.limits.snap))))
            (field("f-component", "Component files", html! {
                input type="file" id="f-component" name="component" multiple accept=".comp" aria-describedby="f-component-hint";
            }, "Only where the snap has components."))
            p class="inline" { button class="main" { "Upload" } }
            progress hidden aria-label="Progress of the upload" {}
            p role="status" data-upload-text="" {
                "While it runs, " a href=(watch) target="_blank" rel="noopener" { "watch how far it is" } " in another tab."
            }
        }))
    };
    Ok(Page::new("Upload a revision", body)
        .below(of_brand(ctx.brand(), "snaps"), "Snaps")
        .into())
}

async fn send(visit: Visit<BrandCtx, Parts>, known: Arc<Progress>) -> Outcome {
    let Visit {
        app,
        ctx,
        session,
        body: mut parts,
        ..
    } = visit;
    let mut arrival = Arrival {
        form: Form::default(),
        known,
        step: Step {
            account: session.account.id.clone(),
            received: 0,
            announced: parts.announced(),
            state: State::Arriving,
            at: Instant::now(),
        },
    };
    let outcome = take(&app, &ctx, &mut parts, &mut arrival).await;
    match &outcome {
        Ok(Ingested { snap, revision, .. }) => {
            arrival.turn(State::Done(format!(
                "revision {} of {}",
                revision.revision, snap.name
            )));
        }
        Err(refusal) => {
            arrival.turn(State::Refused(refusal.message.clone()));
            parts.discard(MAX_REST).await;
        }
    }
    Ok(after(&ctx, &outcome?))
}

/// An upload that is arriving.
struct Arrival {
    form: Form,
    known: Arc<Progress>,
    step: Step,
}

impl Arrival {
    fn turn(&mut self, state: State) {
        self.step.state = state;
        self.note();
    }

    fn note(&mut self) {
        let id = self.form.raw("upload");
        if id.len() == ID && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            self.step.at = Instant::now();
            self.known.note(id, self.step.clone());
        }
    }
}

async fn take(
    app: &App,
    ctx: &BrandCtx,
    parts: &mut Parts,
    arrival: &mut Arrival,
) -> Result<Ingested, Refusal> {
    let mut staged: Vec<Box<dyn Staged>> = Vec::new();
    let mut upload: Option<Upload> = None;
    while let Some(part) = parts.next().await? {
        match part {
            Part::Text(name, text) => arrival.form.push(name, text),
            Part::File(file) if !file.chosen => {}
            Part::File(file) => {
                if upload.is_none() {
                    // What can be refused before the file has arrived is.
                    let wanted = wanted(&arrival.form)?;
                    ingest::foresee(app, ctx, &wanted).await?;
                    upload = Some(wanted);
                }
                let first = staged.is_empty();
                if first != (file.field == "snap") {
                    return Err(Refusal::invalid(
                        "invalid-request",
                        "cannot read the form: the snap file comes first, then its components",
                    ));
                }
                if staged.len() > MAX_COMPONENTS {
                    return Err(Refusal::invalid(
                        "too-many-components",
                        format!("cannot take the upload: it brings more than {MAX_COMPONENTS} components"),
                    ));
                }
                staged.extend(keep(app, parts, arrival).await?);
            }
        }
    }
    let (Some(upload), false) = (upload, staged.is_empty()) else {
        return Err(Refusal::invalid(
            "file-required",
            "cannot upload nothing: choose a snap file",
        ));
    };
    arrival.turn(State::Judged);
    ingest::ingest(app, ctx, &upload, staged).await
}

fn wanted(form: &Form) -> Result<Upload, Refusal> {
    Ok(Upload {
        store: form.parse("store", "Base store")?,
        publisher: form.text("publisher").map(str::to_owned),
        private: form.ticked("private"),
        channels: form.list::<Channel, _>("channels", "Release to the channels")?,
        percentage: form.parse("percentage", "Only for a part of the devices")?,
        ..Upload::default()
    })
}

/// One file, as it arrives.
async fn keep(app: &App, parts: &mut Parts, arrival: &mut Arrival) -> Result<Vec<Box<dyn Staged>>, Refusal> {
    let mut intake = Intake::begin(app, Vec::new()).await?;
    arrival.note();
    while let Some(piece) = parts.piece().await? {
        arrival.step.received += piece.len() as u64;
        intake.write(piece).await?;
        if arrival.step.at.elapsed() > Duration::from_millis(250) {
            arrival.note();
        }
    }
    intake.finish().await
}

/// On to the snap; what was left out of the files is said first.
fn after(ctx: &BrandCtx, ingested: &Ingested) -> Answer {
    let (brand, name) = (ctx.brand(), &ingested.snap.name);
    let state = ingested.revision.review;
    let (path, word) = match (state.is_approved(), state.is_open(), ingested.new) {
        (true, _, true) => (of_snap(brand, name), "uploaded"),
        (true, _, false) => (of_snap(brand, name), "known"),
        (false, true, _) => (of_revision(brand, name, ingested.revision.revision), "held"),
        (false, false, _) => (of_revision(brand, name, ingested.revision.revision), "refused"),
    };
    if ingested.remarks.is_empty() {
        return done_at(&path, word);
    }
    let body = html! {
        p class="done" role="status" { "Revision " (ingested.revision.revision) " of " (ingested.snap.name) " is there." }
        h2 { "What was left out of the files" }
        ul { @for remark in &ingested.remarks { li { (remark) } } }
        p { a class="button" href=(path) { "Go on" } }
    };
    Page::new("Uploaded, with remarks", body).into()
}

async fn watch(visit: Visit<BrandCtx>, known: Arc<Progress>) -> Outcome {
    let id: String = visit.variable("upload")?;
    let step = known.of(&id, &visit.session.account.id);
    let over = matches!(&step, Some(step) if matches!(step.state, State::Done(_) | State::Refused(_)));
    let mut page = Page::new("Upload", progress(step.as_ref(), visit.ctx.brand().as_str()))
        .below(of_brand(visit.ctx.brand(), "upload"), "Upload a revision");
    page.again = (!over).then_some(2);
    Ok(page.into())
}

fn progress(step: Option<&Step>, brand: &str) -> Markup {
    let snaps = at(&["brands", brand, "snaps"]);
    match step {
        None => html! {
            p { "Nothing has arrived yet. This page looks again every two seconds." }
            p class="quiet" { "If the server was started anew meanwhile, it does not know of the upload: send it again." }
        },
        Some(Step {
            state: State::Done(what),
            ..
        }) => html! {
            p class="done" role="status" { "Done: " (what) "." }
            p { a class="button" href=(snaps) { "To the snaps" } }
        },
        Some(Step {
            state: State::Refused(why),
            ..
        }) => html! {
            p class="wrong" { (why) }
            p { "Nothing was kept. Change it in the other tab, and send it again." }
        },
        Some(Step {
            state: State::Judged,
            received,
            ..
        }) => html! {
            p { (size(*received)) " have arrived; the file is being looked into." }
        },
        Some(Step {
            state: State::Arriving,
            received,
            announced,
            ..
        }) => html! {
            @match announced {
                Some(all) => {
                    progress max=(all) value=(received) aria-label="Progress of the upload" {}
                    p { (size(*received)) " of " (size(*all)) " have arrived." }
                }
                None => p { (size(*received)) " have arrived." }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(account: &str) -> Step {
        Step {
            account: account.parse().unwrap(),
            received: 1,
            announced: None,
            state: State::Arriving,
            at: Instant::now(),
        }
    }

    #[test]
    fn progress_is_ones_own_and_bounded() {
        let known = Progress::default();
        known.note("a", step("one"));
        assert!(known.of("a", &"one".parse().unwrap()).is_some());
        assert!(known.of("a", &"two".parse().unwrap()).is_none());
        for number in 0..MAX_KNOWN * 2 {
            known.note(&number.to_string(), step("one"));
        }
        assert_eq!(known.0.lock().unwrap().len(), MAX_KNOWN);
        assert!(
            known.of("a", &"one".parse().unwrap()).is_none(),
            "the oldest goes first"
        );
    }
}
