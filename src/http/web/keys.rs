//! A brand's signing keys. Private halves never leave the vault; they are brought in with the command line.

use maud::{Markup, html};

use super::form::Form;
use super::frame::{Page, of_brand};
use super::parts::{
    Cut, Line, at, empty, facts, line, mark, maybe_time, post_button, post_form, table, tick, time,
};
use super::route::{Outcome, Visit, Web, done_at};
use crate::app::account_keys::{self, Registration};
use crate::app::keys::{self, KeyRequest, KeyView};
use crate::app::{BrandCtx, Refusal};
use crate::domain::access::Permission;
use crate::domain::ident::{KeyName, ModelName};
use crate::domain::vault::{KeyPurpose, KeyState};
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page("/brands/{brand}/keys", P::KeyRead, "Page: signing keys", list),
        web.act(
            "/brands/{brand}/keys",
            P::KeyManage,
            "Make an RSA-4096 signing key and register it",
            create,
        ),
        web.act(
            "/brands/{brand}/keys/{key}/register",
            P::KeyManage,
            "Show the key's account-key",
            register,
        ),
        web.act(
            "/brands/{brand}/keys/{key}/state",
            P::KeyManage,
            "Switch a key off or on",
            switch,
        ),
    ]
}

async fn list(visit: Visit<BrandCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let path = of_brand(ctx.brand(), "keys");
    let manages = ctx.may(Permission::KeyManage);
    let (cut, part) = Cut::of(keys::list(app, ctx).await?, visit.page());
    let rows = html! {
        @for key in &part {
            tr {
                th scope="row" { (key.name) }
                td { (purposes(key)) }
                td { @if key.state == KeyState::Active { "in use" } @else { (mark("switched off", "bad")) } }
                td { @match key.account_key_revision {
                    Some(revision) => { "revision " (revision) },
                    None => (mark("not registered", "bad")),
                } }
                td { (time(key.since)) " to " (maybe_time(key.until, "no end")) }
                td { details { summary { "Id" } code class="long" { (key.public_key_sha3_384) } } }
                @if manages {
                    td class="acts" {
                        @let own = at(&["brands", ctx.brand().as_str(), "keys", key.name.as_str()]);
                        (post_button(&session.mark, &format!("{own}/register"), "Account-key", key.name.as_str(), "", &[]))
                        @if key.state == KeyState::Active {
                            (post_button(&session.mark, &format!("{own}/state"), "Switch off", key.name.as_str(), "danger", &[("state", "off")]))
                        } @else {
                            (post_button(&session.mark, &format!("{own}/state"), "Switch on", key.name.as_str(), "", &[("state", "on")]))
                        }
                    }
                }
            }
        }
    };
    let mut heads = vec!["Name", "May sign", "Standing", "Account-key", "Good", "Key id"];
    if manages {
        heads.push("");
    }
    let body = html! {
        @if part.is_empty() { (empty("The brand has no key: nothing can be signed for it. Whoever has the role brand makes one.")) } @else {
            (table("Signing keys", &heads, rows))
        }
        (cut.links(&path, &[]))
        @if manages {
            h2 { "New key" }
            (post_form(&session.mark, &path, new_key()))
            p class="quiet" { "Keys of your own come in with " code { "hallmark key import" } "; a key is revoked for good with " code { "hallmark key revoke" } "." }
        }
    };
    Ok(Page::new("Keys", body).into())
}

fn purposes(key: &KeyView) -> Markup {
    let names: Vec<&str> = key.purposes.iter().map(|purpose| purpose.name()).collect();
    let models: Vec<&str> = key.models.iter().map(ModelName::as_str).collect();
    html! {
        (names.join(", "))
        @if !models.is_empty() { " of " (models.join(", ")) }
        @if key.constrained { " " (mark("constrained", "")) }
        @if key.external { " " (mark("external", "")) }
    }
}

fn new_key() -> Markup {
    html! {
        (line(Line { name: "name", label: "Name", required: true, longest: 128,
            hint: "Words of a-z and 0-9 joined by single dashes.", ..Line::default() }))
        fieldset {
            legend { "May sign" }
            @for purpose in KeyPurpose::ALL {
                @if *purpose != KeyPurpose::Root {
                    (tick("purpose", purpose.name(), purpose.name(), *purpose == KeyPurpose::Model))
                }
            }
        }
        (line(Line { name: "models", label: "Only for these models", longest: 4000, hint: "Empty: for all.", ..Line::default() }))
        button { "Make key" }
        p class="hint" { "RSA-4096; this takes some seconds." }
    }
}

async fn create(visit: Visit<BrandCtx, Form>) -> Outcome {
    let form = &visit.body;
    let request = KeyRequest {
        name: form.need("name", "Name")?,
        purposes: form.list("purpose", "May sign")?,
        models: form.list("models", "Only for these models")?,
        constrained: None,
        since: None,
        until: None,
        external: false,
        token: None,
    };
    keys::create(&visit.app, &visit.ctx, request).await?;
    Ok(done_at(&of_brand(visit.ctx.brand(), "keys"), "created"))
}

async fn register(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: KeyName = visit.variable("key")?;
    let registration = account_keys::register(&visit.app, &visit.ctx, &name, None).await?;
    let (title, what, assertion) = match &registration {
        Registration::Registered(assertion) => (
            "Account-key",
            "Devices believe the key because of this.",
            assertion,
        ),
        Registration::Requested(assertion) => (
            "Request for an account-key",
            "Send this to whoever keeps the root of your brand, and import the answer with `hallmark assertion import`.",
            assertion,
        ),
    };
    let body = html! {
        p { (what) }
        (facts(&[("Key", html! { (name) }), ("Key id", html! { code { (assertion.primary_key().0.last().map_or("", String::as_str)) } })]))
        h2 id="assertion-label" { (title) }
        pre id="assertion" tabindex="0" role="region" aria-labelledby="assertion-label" { (String::from_utf8_lossy(assertion.encoded())) }
        button type="button" class="copy" data-copy="assertion" hidden { "Copy" }
    };
    Ok(Page::new(format!("Key {name}"), body)
        .below(of_brand(visit.ctx.brand(), "keys"), "Keys")
        .into())
}

async fn switch(visit: Visit<BrandCtx, Form>) -> Outcome {
    let name: KeyName = visit.variable("key")?;
    let word = match visit.body.raw("state") {
        "off" => {
            keys::disable(&visit.app, &visit.ctx, &name).await?;
            "key-disabled"
        }
        "on" => {
            keys::enable(&visit.app, &visit.ctx, &name).await?;
            "key-enabled"
        }
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: it says neither off nor on",
            ));
        }
    };
    Ok(done_at(&of_brand(visit.ctx.brand(), "keys"), word))
}
