//! What people read about a snap: texts, default track, icon, screenshots (publisher-api.md 6.12).

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Fault, Form, Input, Json, Outcome, Publisher};
use crate::app::catalog::metadata::{self, MetadataTrouble};
use crate::app::catalog::pictures::{self, Pictures, Wanted};
use crate::app::catalog::snaps::Edit;
use crate::app::{App, Refusal, SnapCtx};
use crate::domain::access::Permission;
use crate::domain::catalog::{Screenshot, SnapRecord, Track};
use crate::http::device::picture_url;
use crate::http::endpoint::Endpoint;

/// Longest list of what is sent, in bytes.
const MAX_INFO: usize = 256 * 1024;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    let texts = "/dev/api/snaps/{snap-id}/metadata{?conflict_on_update}";
    let media = "/dev/api/snaps/{snap-id}/binary-metadata";
    vec![
        publisher.get(texts, P::SnapRead, "Show the texts about a snap", show),
        publisher.post(
            texts,
            P::SnapEdit,
            "Change the texts about a snap that no person edited",
            post,
        ),
        publisher.put(texts, P::SnapEdit, "Change the texts about a snap", put),
        publisher.get(media, P::SnapRead, "List the pictures of a snap", media_of),
        publisher.post(media, P::SnapEdit, "Change the pictures of a snap", change_media),
        publisher.put(media, P::SnapEdit, "Replace the pictures of a snap", change_media),
    ]
}

#[derive(Debug, Deserialize)]
struct TextsBody {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    website: Option<String>,
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    default_track: Option<Option<Track>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Track>>, D::Error> {
    Option::<Track>::deserialize(deserializer).map(Some)
}

impl TextsBody {
    fn edit(self, by_tools: bool) -> Edit {
        Edit {
            private: self.private,
            default_track: self.default_track,
            title: self.title,
            summary: self.summary,
            description: self.description,
            license: self.license,
            website: self.website,
            contact: self.contact,
            by_tools,
            ..Edit::default()
        }
    }
}

fn texts(snap: &SnapRecord) -> Value {
    let listing = &snap.listing;
    json!({
        "title": listing.title, "summary": listing.summary, "description": listing.description,
        "license": listing.license, "website": listing.website, "contact": listing.contact,
        "private": snap.private, "default_track": snap.default_track.as_ref().map(Track::as_str),
    })
}

async fn show(_app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    Ok(Json(texts(ctx.snap())))
}

fn trouble(trouble: MetadataTrouble) -> Fault {
    let conflicts = match trouble {
        MetadataTrouble::Refused(refusal) => return refusal.into(),
        MetadataTrouble::Conflicts(conflicts) => conflicts,
    };
    let message = |name| {
        format!("cannot change the {name}: somebody edited it in the store; insist (--force) to replace it")
    };
    let mut conflicts = conflicts.into_iter();
    let Some(first) = conflicts.next() else {
        return Fault::internal(&"a conflict about nothing");
    };
    let tell = |fault: Fault, name: &str, current: String| {
        fault.with_extra("name", name).with_extra("current", current)
    };
    let fault = Fault::new(StatusCode::CONFLICT, "conflict", message(first.name));
    conflicts.fold(tell(fault, first.name, first.current), |fault, next| {
        tell(fault.and("conflict", message(next.name)), next.name, next.current)
    })
}

async fn change(app: &App, ctx: &SnapCtx, edit: &Edit, force: bool) -> Outcome<Json<Value>> {
    let snap = metadata::update(app, ctx, edit, force).await.map_err(trouble)?;
    Ok(Json(texts(&snap)))
}

async fn post(app: App, ctx: SnapCtx, input: Input<Json<TextsBody>>) -> Outcome<Json<Value>> {
    change(&app, &ctx, &input.body.0.edit(true), false).await
}

/// Pages where people edit send `conflict_on_update`, which tools do not.
async fn put(app: App, ctx: SnapCtx, input: Input<Json<TextsBody>>) -> Outcome<Json<Value>> {
    let by_tools = input.query::<String>("conflict_on_update")?.is_none();
    change(&app, &ctx, &input.body.0.edit(by_tools), true).await
}

async fn listed(app: &App, snap: &SnapRecord) -> Outcome<Json<Value>> {
    let url = |blob| picture_url(app, &snap.id, blob);
    let hash = pictures::icon_hash(app, snap).await?;
    let icon = snap.listing.icon.as_ref().zip(hash).map(|(icon, hash)| {
        json!({"type": "icon", "hash": hash, "url": url(icon.blob), "key": "icon", "filename": ""})
    });
    let shots = snap.listing.screenshots.iter().map(|shot| {
        json!({
            "type": "screenshot", "hash": shot.sha256, "url": url(shot.blob), "filename": "",
            "width": shot.width, "height": shot.height,
        })
    });
    Ok(Json(icon.into_iter().chain(shots).collect()))
}

async fn media_of(app: App, ctx: SnapCtx, _input: Input) -> Outcome<Json<Value>> {
    listed(&app, ctx.snap()).await
}

/// One picture of the list. The name of its file is the client's own matter: nothing is done with it.
#[derive(Debug, Deserialize)]
struct MediaBody {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    hash: Option<String>,
}

fn refuse(why: &str) -> Refusal {
    Refusal::invalid("invalid-media", format!("cannot change the pictures: {why}"))
}

impl MediaBody {
    /// The picture it means: the file of its key, if one came; else the one of its hash, which is there already.
    fn wanted(self, files: &mut Vec<(String, Bytes)>) -> Result<Wanted, Refusal> {
        let key = self.key.as_deref().unwrap_or(&self.kind);
        let Some(at) = files.iter().position(|(name, _)| name == key) else {
            let hash = self.hash.filter(|hash| !hash.is_empty());
            return hash
                .map(Wanted::Kept)
                .ok_or_else(|| refuse(&format!("the file of {key:.64} is missing")));
        };
        let (_, file) = files.swap_remove(at);
        if self.hash.is_some_and(|said| said != pictures::sha256(&file)) {
            return Err(refuse("a picture is not the file its hash says"));
        }
        Ok(Wanted::New(file))
    }
}

/// What a list of pictures means, with the files that came with it.
fn wanted(list: Vec<MediaBody>, mut files: Vec<(String, Bytes)>) -> Result<Pictures, Refusal> {
    let mut wanted = Pictures::default();
    for media in list {
        match media.kind.as_str() {
            "icon" if wanted.icon.is_none() => wanted.icon = Some(media.wanted(&mut files)?),
            "icon" => return Err(refuse("a snap has one icon")),
            "screenshot" => wanted.screenshots.push(media.wanted(&mut files)?),
            _other => return Err(refuse("only an icon and screenshots are known here, no banners")),
        }
    }
    match files.first() {
        None => Ok(wanted),
        Some((name, _)) => Err(refuse(&format!("the list does not name the file {name:.64}"))),
    }
}

/// The list says what there is to be; what is new comes as a part of the name it gives.
async fn change_media(app: App, ctx: SnapCtx, input: Input<Form>) -> Outcome<Json<Value>> {
    let Form(mut form) = input.body;
    let mut list: Option<Vec<MediaBody>> = None;
    let mut files: Vec<(String, Bytes)> = Vec::new();
    while let Some(part) = form.next().await? {
        if part.name == "info" {
            let text = form.whole(&part, MAX_INFO).await?;
            let read =
                serde_json::from_slice(&text).map_err(|_| refuse("the part info is no list of pictures"))?;
            list = Some(read);
        } else if files.len() <= Screenshot::MOST {
            let file = form.whole(&part, Screenshot::MAX_BYTES).await?;
            files.push((part.name, file));
        } else {
            return Err(refuse("more files came than a snap has pictures").into());
        }
    }
    let list = list.ok_or_else(|| refuse("the part info is missing"))?;
    let snap = pictures::show(&app, &ctx, &wanted(list, files)?).await?;
    listed(&app, &snap).await
}
