//! The pages people use with a browser: written here, made by the server, usable without a script. A page asks
//! [`crate::app::authorize`] like every other route; what the caller may not do is not shown, and refused when it is
//! sent all the same.

mod account;
mod accounts;
mod assets;
mod audit;
mod channels;
mod collaborators;
mod cookies;
mod devices;
mod form;
mod frame;
mod grants;
mod invites;
mod keys;
mod members;
mod models;
mod multipart;
mod parts;
mod provider;
mod reset;
mod reviews;
mod route;
mod serials;
mod session;
mod sharing;
mod sign_in;
mod snaps;
mod start;
mod stores;
mod template;
mod terminal;
mod upload;

pub(in crate::http) use route::failed;
pub(in crate::http) use sign_in::front;

use warp::Filter;
use warp::path::FullPath;

use super::endpoint::{Access, Endpoint};
use crate::app::App;
use route::Web;

/// The first segments of the paths of pages.
const FIRST: &[&str] = &[
    "account", "accounts", "brands", "login", "logout", "reviewer", "start", "static", "stores",
];

/// Whether a path is one of pages.
pub(in crate::http) fn is_page(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|first| FIRST.contains(&first))
}

/// Every page, what their forms do, and their files.
pub fn endpoints(app: &App) -> Vec<Endpoint> {
    let web = Web::new(app);
    let files = warp::path::full()
        .and_then(|path: FullPath| async move {
            let answer = assets::answer(path.as_str()).map(|mut response| {
                frame::secure(response.headers_mut());
                response
            });
            answer.ok_or_else(warp::reject::not_found)
        })
        .boxed();
    let mut all = vec![Endpoint::get(
        "/static/{file}",
        Access::Open,
        "Style sheet, script and icon of the pages",
        files,
    )];
    all.extend(sign_in::endpoints(&web, app));
    all.extend(provider::endpoints(app));
    all.extend(reset::endpoints(app));
    all.extend(start::endpoints(&web));
    all.extend(account::endpoints(&web));
    all.extend(terminal::endpoints(&web));
    all.extend(sharing::endpoints(&web));
    all.extend(collaborators::endpoints(&web));
    all.extend(accounts::endpoints(&web));
    all.extend(stores::endpoints(&web));
    all.extend(members::endpoints(&web));
    all.extend(invites::endpoints(&web, app));
    all.extend(snaps::endpoints(&web));
    all.extend(channels::endpoints(&web));
    all.extend(upload::endpoints(&web));
    all.extend(reviews::endpoints(&web));
    all.extend(grants::endpoints(&web));
    all.extend(models::endpoints(&web));
    all.extend(keys::endpoints(&web));
    all.extend(devices::endpoints(&web));
    all.extend(serials::endpoints(&web));
    all.extend(audit::endpoints(&web));
    all
}
