//! Models as the vault serves them: API keys, serial policies, settings, the hook for the gadget.

use maud::{Markup, html};
use zeroize::Zeroizing;

use super::account::secret;
use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{
    Cut, Line, at, choice, empty, facts, field, line, mark, maybe_time, post_button, post_form, table, tick,
    time,
};
use super::route::{Outcome, Visit, Web, done_at};
use crate::app::keys::{self, KeyView};
use crate::app::models::{self, HookKey, ModelSettings, NewModel, ShownOnce};
use crate::app::sign_model::sign_model;
use crate::app::{App, BrandCtx, FormMark, Refusal};
use crate::domain::access::Permission;
use crate::domain::assertion::types::compat_warnings;
use crate::domain::ident::{BrandId, KeyName, ModelName};
use crate::domain::vault::claim::Reissue;
use crate::domain::vault::{DeviceAuth, KeyPurpose, ModelRecord};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page(
            "/brands/{brand}/models",
            P::ModelRead,
            "Page: models the vault serves",
            list,
        ),
        web.act(
            "/brands/{brand}/models",
            P::ModelManage,
            "Let the vault serve a model",
            create,
        ),
        web.act(
            "/brands/{brand}/model-assertions",
            P::ModelSign,
            "Sign a model assertion",
            sign,
        ),
        web.page(
            "/brands/{brand}/models/{name}",
            P::ModelRead,
            "Page: a model",
            show,
        ),
        web.act(
            "/brands/{brand}/models/{name}/settings",
            P::ModelManage,
            "Change how a model is served",
            configure,
        ),
        web.act(
            "/brands/{brand}/models/{name}/issuing",
            P::SerialManage,
            "Change how serials of a model are issued",
            set_issuing,
        ),
        web.act(
            "/brands/{brand}/models/{name}/policies",
            P::ModelManage,
            "Let another key sign the serials of a model",
            add_policy,
        ),
        web.act(
            "/brands/{brand}/models/{name}/api-keys",
            P::ModelManage,
            "Add an API key",
            add_api_key,
        ),
        web.act(
            "/brands/{brand}/models/{name}/api-keys/revoke",
            P::ModelManage,
            "Revoke an API key",
            revoke_api_key,
        ),
    ]
}

/// The path of the page of a model.
pub(super) fn of_model(brand: &BrandId, name: &ModelName) -> String {
    at(&["brands", brand.as_str(), "models", name.as_str()])
}

/// Names of the brand's keys that may sign serials.
async fn serial_keys(app: &App, ctx: &BrandCtx) -> Result<Vec<String>, Refusal> {
    if !ctx.may(Permission::KeyRead) {
        return Ok(Vec::new());
    }
    let signs = |key: &KeyView| key.purposes.contains(&KeyPurpose::Serial);
    let names = keys::list(app, ctx).await?.into_iter().filter(signs);
    Ok(names.map(|key| key.name.to_string()).collect())
}

fn key_choice(keys: &[String], chosen: &str) -> Markup {
    let options: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), key.as_str())).collect();
    choice("key", "Key that signs its serials", "", &options, chosen)
}

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let path = of_brand(ctx.brand(), "models");
    let (cut, part) = Cut::of(models::list(app, ctx).await?, visit.page());
    let rows = html! {
        @for model in &part {
            tr {
                th scope="row" { a href=(of_model(ctx.brand(), &model.name)) { (model.name) } }
                td { (model.policy().map_or("", |policy| policy.key.as_str())) }
                td { (auth(model.auth).1) }
                td class="number" { (model.api_keys.len()) }
                td { @if model.disabled { (mark("switched off", "bad")) } @else { "served" } }
                td { (time(model.created)) }
            }
        }
    };
    let body = html! {
        @if part.is_empty() {
            (empty("The vault serves no model yet. Make one below, or with `hallmark model create`; devices of it get serials then."))
        } @else {
            (table("Models", &["Model", "Key for serials", "Devices prove themselves by", "API keys", "Standing", "Since"], rows))
        }
        (cut.links(&path, &[]))
        @if ctx.may(Permission::ModelManage) {
            h2 { "New model" }
            (post_form(&session.mark, &path, html! {
                (line(Line { name: "name", label: "Model", required: true, longest: 128,
                    hint: "As in the model assertion: words of a-z and 0-9 joined by single dashes.", ..Line::default() }))
                (key_choice(&serial_keys(app, ctx).await?, models::DEFAULT_KEY))
                button class="main" { "Create model" }
                p class="hint" { "It gets an API key, which is shown once, and a hook for its gadget." }
            }))
        }
        @if ctx.may(Permission::ModelSign) {
            h2 { "Sign a model assertion" }
            (post_form(&session.mark, &of_brand(ctx.brand(), "model-assertions"), html! {
                (field("f-statement", "Headers", html! {
                    textarea id="f-statement" name="statement" rows="10" required aria-describedby="f-statement-hint" spellcheck="false" {}
                }, "YAML or JSON; assertions/templates has some to begin with."))
                (line(Line { name: "key", label: "Key", value: "model", longest: 128, ..Line::default() }))
                button { "Sign" }
            }))
        }
    };
    Ok(Page::new("Models", body).into())
}

async fn create(visit: Visit<BrandCtx, Form>) -> Outcome {
    let form = &visit.body;
    let new = NewModel {
        name: form.need("name", "Model")?,
        api_key: None,
        key: form.parse("key", "Key")?,
        settings: ModelSettings::default(),
    };
    let (model, shown) = models::create(&visit.app, &visit.ctx, new).await?;
    new_key_page(&visit.app, &visit.ctx, &model.name, shown).await
}

/// The page that shows a new API key, and the hook with it, once.
async fn new_key_page(app: &App, ctx: &BrandCtx, name: &ModelName, shown: ShownOnce) -> Outcome {
    let hook = models::hook(
        app,
        ctx,
        name,
        HookKey::Given(Zeroizing::new(shown.key.to_string())),
    )
    .await?;
    let path = of_model(ctx.brand(), name);
    let body = html! {
        p { "Copy the API key now: it is shown this once, and only its hash is kept." }
        (secret("api-key", "API key", &shown.key))
        (script_text("hook", "prepare-device hook for the gadget, with this key", &hook))
        p { "Put it at " code { "meta/hooks/prepare-device" } " (mode 0755) of the gadget, name the place of the serial in its last line, and pack the gadget." }
        p { a class="button" href=(path) { "To the model" } }
    };
    Ok(Page::new(format!("New API key of {name}"), body)
        .below(of_brand(ctx.brand(), "models"), "Models")
        .below(path, name.to_string())
        .into())
}

/// A text of several lines, to be copied.
fn script_text(id: &str, label: &str, text: &str) -> Markup {
    html! {
        h2 id={ (id) "-label" } { (label) }
        pre id=(id) tabindex="0" role="region" aria-labelledby={ (id) "-label" } { (text) }
        button type="button" class="copy" data-copy=(id) hidden { "Copy" }
    }
}

fn auth(auth: DeviceAuth) -> (&'static str, &'static str) {
    match auth {
        DeviceAuth::ApiKey => ("api-key", "an API key"),
        DeviceAuth::AllowList => ("allow-list", "the allow-list"),
        DeviceAuth::None => ("none", "nothing (closed networks only)"),
    }
}

fn reissue(reissue: Reissue) -> (&'static str, &'static str) {
    match reissue {
        Reissue::Allow => ("allow", "a new revision for whoever asks"),
        Reissue::SameKeyOnly => ("same-key-only", "a new revision for the same device key"),
        Reissue::Deny => ("deny", "never a second time"),
        Reissue::Approve => ("approve", "after a person approves"),
    }
}

async fn show(visit: Visit<BrandCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let model = models::show(app, ctx, &visit.variable("name")?).await?;
    let path = of_model(ctx.brand(), &model.name);
    let manages = ctx.may(Permission::ModelManage);
    let hook = if manages {
        Some(models::hook(app, ctx, &model.name, HookKey::Placeholder).await?)
    } else {
        None
    };
    let body = html! {
        (facts(&[
            ("Standing", html! { @if model.disabled { (mark("switched off", "bad")) " no serials, no sessions" } @else { "served" } }),
            ("Devices prove themselves by", html! { (auth(model.auth).1) }),
            ("A serial asked for again", html! { (reissue(model.reissue).1) }),
            ("Only serials of the allow-list", html! { (if model.allow_list { "yes" } else { "no" }) }),
            ("Most serials", html! { @match model.quota { Some(quota) => (quota), None => "no limit" } }),
            ("Since", time(model.created)),
        ]))
        p class="inline" {
            @if ctx.may(Permission::DeviceRead) { a class="button" href={ (of_brand(ctx.brand(), "devices")) "?model=" (model.name) } { "Its devices" } " " }
            @if ctx.may(Permission::SerialRead) { a class="button" href={ (of_brand(ctx.brand(), "serials")) "?model=" (model.name) } { "Its serials" } }
        }
        (policies(&model))
        @if manages {
            (post_form(&session.mark, &format!("{path}/policies"), html! {
                (key_choice(&serial_keys(app, ctx).await?, model.policy().map_or("", |policy| policy.key.as_str())))
                button { "Let this key sign from now on" }
            }))
        }
        (api_keys(app, &model, &path, manages.then_some(&session.mark)))
        @if let Some(hook) = &hook {
            (script_text("hook", "prepare-device hook for the gadget", hook))
            p class="hint" { "The API key has to be put in; a new key comes with a hook that has it." }
        }
        @if manages { (serving(&session.mark, &model, &path)) }
        @if ctx.may(Permission::SerialManage) { (issuing(&session.mark, &model, &path)) }
    };
    Ok(Page::new(model.name.to_string(), body)
        .below(of_brand(ctx.brand(), "models"), "Models")
        .into())
}

fn policies(model: &ModelRecord) -> Markup {
    let rows = html! {
        @for (place, policy) in model.policies.iter().rev().enumerate() {
            tr {
                th scope="row" class="number" { (policy.revision) }
                td { (policy.key) @if place == 0 { " " (mark("in force", "good")) } }
                td { (time(policy.created)) }
            }
        }
    };
    html! {
        h2 { "Serial policies" }
        (table("Serial policies, the newest first", &["Revision", "Key", "Since"], rows))
    }
}

fn api_keys(app: &App, model: &ModelRecord, path: &str, mark: Option<&FormMark>) -> Markup {
    let now = app.clock.now();
    let rows = html! {
        @for key in &model.api_keys {
            tr {
                th scope="row" { code { (key.id) } @if key.expired(now) { " " (self::mark("ended", "bad")) } }
                td { (time(key.created)) }
                td { (maybe_time(key.expires, "never")) }
                @if let Some(mark) = mark {
                    td { (post_button(mark, &format!("{path}/api-keys/revoke"), "Revoke", &key.id,
                        "danger", &[("id", key.id.as_str())])) }
                }
            }
        }
    };
    html! {
        h2 { "API keys" }
        @if model.api_keys.is_empty() { (empty("No API key: devices cannot register with one. Add a key.")) } @else {
            (table("API keys", if mark.is_some() { &["Id", "Made", "Ends", ""] } else { &["Id", "Made", "Ends"] }, rows))
        }
        @if let Some(mark) = mark {
            (post_form(mark, &format!("{path}/api-keys"), html! {
                (line(Line { name: "hours", label: "Hours until the other keys end", kind: "number", longest: 6,
                    hint: "Empty: they stay good. Images in the field carry them.", ..Line::default() }))
                button { "Add an API key" }
            }))
        }
    }
}

fn serving(mark: &FormMark, model: &ModelRecord, path: &str) -> Markup {
    let options = [DeviceAuth::ApiKey, DeviceAuth::AllowList, DeviceAuth::None].map(auth);
    html! {
        h2 { "How it is served" }
        (post_form(mark, &format!("{path}/settings"), html! {
            (choice("auth", "Devices prove themselves by", "", &options, auth(model.auth).0))
            p { (tick("disabled", "yes", "Switched off: no serials and no sessions", model.disabled)) }
            button { "Save" }
        }))
    }
}

fn issuing(mark: &FormMark, model: &ModelRecord, path: &str) -> Markup {
    let options = [
        Reissue::Allow,
        Reissue::SameKeyOnly,
        Reissue::Deny,
        Reissue::Approve,
    ]
    .map(reissue);
    let quota = model.quota.map_or_else(String::new, |quota| quota.to_string());
    html! {
        h2 { "How serials are issued" }
        (post_form(mark, &format!("{path}/issuing"), html! {
            (choice("reissue", "A serial asked for again", "", &options, reissue(model.reissue).0))
            (line(Line { name: "quota", label: "Most serials", kind: "number", value: &quota, longest: 18,
                hint: "Empty: no limit.", ..Line::default() }))
            p { (tick("allow-list", "yes", "Only serials of the allow-list", model.allow_list)) }
            button { "Save" }
        }))
    }
}

async fn configure(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: ModelName = visit.variable("name")?;
    let settings = ModelSettings {
        auth: Some(visit.body.need("auth", "Devices prove themselves by")?),
        disabled: Some(visit.body.ticked("disabled")),
        ..ModelSettings::default()
    };
    models::configure(&visit.app, &visit.ctx, &name, settings).await?;
    Ok(done_at(&of_model(visit.ctx.brand(), &name), "saved"))
}

async fn set_issuing(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: ModelName = visit.variable("name")?;
    let form = &visit.body;
    let settings = ModelSettings {
        reissue: Some(form.need("reissue", "A serial asked for again")?),
        allow_list: Some(form.ticked("allow-list")),
        quota: Some(form.parse("quota", "Most serials")?),
        ..ModelSettings::default()
    };
    models::configure(&visit.app, &visit.ctx, &name, settings).await?;
    Ok(done_at(&of_model(visit.ctx.brand(), &name), "saved"))
}

async fn add_policy(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: ModelName = visit.variable("name")?;
    let key: KeyName = visit.body.need("key", "Key")?;
    models::set_policy(&visit.app, &visit.ctx, &name, key).await?;
    Ok(done_at(&of_model(visit.ctx.brand(), &name), "policy"))
}

async fn add_api_key(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: ModelName = visit.variable("name")?;
    let hours: Option<u32> = visit.body.parse("hours", "Hours until the other keys end")?;
    let retire = hours.map(|hours| visit.app.clock.now().plus_seconds(i64::from(hours) * 3600));
    let (_, shown) = models::add_api_key(&visit.app, &visit.ctx, &name, None, None, retire).await?;
    new_key_page(&visit.app, &visit.ctx, &name, shown).await
}

async fn revoke_api_key(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: ModelName = visit.variable("name")?;
    let id: String = visit.body.need("id", "API key")?;
    models::revoke_api_key(&visit.app, &visit.ctx, &name, &id).await?;
    Ok(done_at(&of_model(visit.ctx.brand(), &name), "api-key-revoked"))
}

async fn sign(visit: Visit<BrandCtx, Form>) -> Outcome {
    let form = &visit.body;
    let statement = form.raw("statement").replace("\r\n", "\n");
    if statement.trim().is_empty() {
        return Err(Refusal::invalid(
            "invalid-request",
            "cannot sign a model: fill in its headers",
        ));
    }
    let signed = sign_model(&visit.app, &visit.ctx, &statement, form.parse("key", "Key")?).await?;
    let warnings = compat_warnings(&signed);
    let body = html! {
        p { "Signed and kept. This is what " code { "snap prepare-image" } " and " code { "ubuntu-image" } " take." }
        @if !warnings.is_empty() { ul { @for warning in &warnings { li { (warning) } } } }
        (script_text("assertion", "Model assertion", &String::from_utf8_lossy(signed.encoded())))
    };
    Ok(Page::new("Model assertion", body)
        .below(of_brand(visit.ctx.brand(), "models"), "Models")
        .into())
}
