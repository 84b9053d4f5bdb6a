//! All accounts of the instance, for its operator.

use maud::html;

use super::account::secret;
use super::form::Form;
use super::frame::Page;
use super::parts::{Cut, Line, at, empty, line, mark, post_button, post_form, search, table, time};
use super::route::{Outcome, Visit, Web, done_at};
use crate::app::accounts::{self, NewAccount, Standing};
use crate::app::{InstanceCtx, Refusal, password_reset, provider};
use crate::domain::access::Permission;
use crate::domain::ident::Email;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(web: &Web) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        web.page("/accounts", P::AccountManage, "Page: all accounts", list),
        web.act("/accounts", P::AccountManage, "Create an account", create),
        web.act(
            "/accounts/{email}/standing",
            P::AccountManage,
            "Switch an account off or on",
            stand,
        ),
        web.act(
            "/accounts/{email}/reset-password",
            P::AccountManage,
            "Make a link that sets somebody's password, once",
            reset_password,
        ),
        web.act(
            "/accounts/{email}/unbind",
            P::AccountManage,
            "Unbind an account from the provider of log-ins",
            unbind,
        ),
    ]
}

async fn list(visit: Visit<InstanceCtx>) -> Outcome {
    let Visit {
        app, ctx, session, ..
    } = &visit;
    let wanted = visit.query("q").to_lowercase();
    let mut found = accounts::list(app, ctx).await?;
    found.retain(|account| {
        account.email.as_str().contains(&wanted)
            || account.username.as_str().contains(&wanted)
            || account.display_name.to_lowercase().contains(&wanted)
    });
    let (cut, part) = Cut::of(found, visit.page());
    let rows = html! {
        @for account in &part {
            tr {
                th scope="row" { (account.email) }
                td { (account.display_name) }
                td { code { (account.username) } }
                td {
                    @if account.operator { (mark("operator", "strong")) " " }
                    @if account.disabled { (mark("switched off", "bad")) } @else { "may log in" }
                    @if account.provider.is_some() { " " (mark("signs in with a provider", "")) }
                }
                td { (time(account.created)) }
                td {
                    @if account.provider.is_some() {
                        (post_button(&session.mark, &at(&["accounts", account.email.as_str(), "unbind"]),
                            "Unbind from the provider", account.email.as_str(), "", &[]))
                    }
                    @if account.id != session.account.id {
                        @let action = at(&["accounts", account.email.as_str(), "standing"]);
                        @if account.disabled {
                            (post_button(&session.mark, &action, "Switch on",
                                account.email.as_str(), "", &[("disabled", "no")]))
                        } @else {
                            (post_button(&session.mark, &at(&["accounts", account.email.as_str(), "reset-password"]),
                                "Link for a new password", account.email.as_str(), "", &[]))
                            (post_button(&session.mark, &action, "Switch off",
                                account.email.as_str(), "danger", &[("disabled", "yes")]))
                        }
                    }
                }
            }
        }
    };
    let body = html! {
        (search("/accounts", "Name or e-mail address", visit.query("q"), &[]))
        @if part.is_empty() { (empty("No account has this in its name.")) } @else {
            (table("Accounts", &["E-mail address", "Name", "Username", "Standing", "Since", ""], rows))
        }
        (cut.links("/accounts", &[("q", visit.query("q"))]))
        h2 { "New account" }
        (post_form(&session.mark, "/accounts", html! {
            (line(Line { name: "email", label: "E-mail address", kind: "email", required: true, longest: 254,
                ..Line::default() }))
            (line(Line { name: "name", label: "Name for people", longest: 128, ..Line::default() }))
            (line(Line { name: "username", label: "Username", longest: 28, hint: "Made from the address if it is empty.",
                ..Line::default() }))
            button { "Create account" }
            p class="hint" { "A first password is made and shown once. Then give the account roles in a store." }
        }))
    };
    Ok(Page::new("Accounts", body).into())
}

async fn create(visit: Visit<InstanceCtx, Form>) -> Outcome {
    let form = &visit.body;
    let email = Email::normal(form.raw("email")).map_err(Refusal::from)?;
    let new = NewAccount {
        email,
        username: form.parse("username", "Username")?,
        display_name: form.text("name").map(str::to_owned),
        password: None,
        operator: false,
    };
    let (account, password) = accounts::create(&visit.app, &visit.ctx, new).await?;
    let body = html! {
        p { "Give this password to " (account.email) ": it is shown this once. They change it under their name, above." }
        @if let Some(password) = &password { (secret("password", "First password", password.reveal())) }
        p { a href="/accounts" { "To all accounts" } }
    };
    Ok(Page::new("Account created", body)
        .below("/accounts".to_owned(), "Accounts")
        .into())
}

async fn reset_password(visit: Visit<InstanceCtx, Form>) -> Outcome {
    let email: Email = visit.variable("email")?;
    let link = password_reset::issue(&visit.app, &visit.ctx, &email).await?;
    let body = html! {
        p { "Hand this link to " strong { (email) } ": it is shown this once, sets their password once, and ends all log-ins "
            "and tokens of the account. The one before it is void." }
        (secret("link", "Link", &link.url(&visit.app)))
        p { "Good until " (time(link.expires)) "." }
        p { a href="/accounts" { "To all accounts" } }
    };
    Ok(Page::new("Link for a new password", body)
        .below("/accounts".to_owned(), "Accounts")
        .into())
}

/// Their next sign-in with the provider binds the account anew, by its e-mail address.
async fn unbind(visit: Visit<InstanceCtx, Form>) -> Outcome {
    let email: Email = visit.variable("email")?;
    provider::unbind(&visit.app, &visit.ctx, &email).await?;
    Ok(done_at("/accounts", "unbound"))
}

async fn stand(visit: Visit<InstanceCtx, Form>) -> Outcome {
    let email: Email = visit.variable("email")?;
    let (standing, word) = match visit.body.raw("disabled") {
        "yes" => (Standing::Disabled, "disabled"),
        "no" => (Standing::Enabled, "enabled"),
        _ => {
            return Err(Refusal::invalid(
                "invalid-request",
                "cannot read the form: it says neither off nor on",
            ));
        }
    };
    accounts::set_standing(&visit.app, &visit.ctx, &email, standing).await?;
    Ok(done_at("/accounts", word))
}
