//! A browser without a script: it keeps cookies, reads forms, sends them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use http::HeaderMap;
use regex::Regex;

use crate::store::shop::{Shop, token};

/// A browser with somebody before it, or nobody.
pub struct Browser<'s> {
    pub shop: &'s Shop,
    cookies: RefCell<BTreeMap<String, String>>,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Seen {
    /// Where it leads on to.
    pub fn location(&self) -> &str {
        self.headers
            .get("location")
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The part of the page that is not around every page.
    pub fn main(&self) -> &str {
        let from = self.text.find("<main").unwrap_or_default();
        let to = self.text.find("</main>").unwrap_or(self.text.len());
        &self.text[from..to]
    }

    /// Whether it is the page for what is not there, or not the caller's.
    pub fn absent(&self) -> bool {
        self.status == 404 && self.text.contains("There is no such page")
    }

    /// Where the forms of the page lead that change something, but for the one that signs out.
    pub fn controls(&self) -> BTreeSet<String> {
        let form = Regex::new(r#"(?:<form method="post" action|<button formaction)="([^"]*)""#).unwrap();
        let actions = form.captures_iter(&self.text).map(|found| found[1].to_owned());
        actions.filter(|action| action != "/logout").collect()
    }

    /// The mark in the forms of the page.
    pub fn mark(&self) -> Option<String> {
        let field = Regex::new(r#"name="mark" value="([0-9a-f]{64})""#).unwrap();
        field.captures(&self.text).map(|found| found[1].to_owned())
    }

    /// It must be a page with this text.
    pub fn shows(&self, text: &str) -> &Self {
        assert!(
            self.status == 200 && self.text.contains(text),
            "{text:?} is not in {self:?}"
        );
        self
    }
}

impl<'s> Browser<'s> {
    /// Nobody is logged in.
    pub fn new(shop: &'s Shop) -> Self {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            shop,
            cookies: RefCell::default(),
            client,
        }
    }

    /// One of the shop's people is logged in.
    pub fn of(shop: &'s Shop, who: &str) -> Self {
        let browser = Self::new(shop);
        browser.cookie("hallmark", token(who).reveal());
        browser
    }

    pub fn cookie(&self, name: &str, value: &str) {
        self.cookies
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
    }

    pub fn cookies(&self) -> BTreeMap<String, String> {
        self.cookies.borrow().clone()
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.shop.address)
    }

    /// Opens a page.
    pub async fn get(&self, path: &str) -> Seen {
        self.send(self.client.get(format!("{}{path}", self.origin())))
            .await
    }

    /// Sends a form with the mark of this log-in, as a browser does, and goes on to where it leads.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Seen {
        let seen = self.submit(path, fields).await;
        if seen.status == 303 {
            return self.get(seen.location()).await;
        }
        seen
    }

    /// Sends a form with the mark of this log-in.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Seen {
        let mark = self.get("/account").await.mark().unwrap_or_default();
        let fields = [&[("mark", mark.as_str())], fields].concat();
        self.submit_raw(
            path,
            &fields,
            &[("origin", &self.origin()), ("sec-fetch-site", "same-origin")],
        )
        .await
    }

    /// Sends exactly these fields with these headers.
    pub async fn submit_raw(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Seen {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request = self
            .client
            .post(format!("{}{path}", self.origin()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// Sends any request with the cookies, and keeps those that come back.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Seen {
        let cookies: Vec<String> = self
            .cookies
            .borrow()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        let request = if cookies.is_empty() {
            request
        } else {
            request.header("cookie", cookies.join("; "))
        };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for line in headers.get_all("set-cookie") {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.cookie(name, value);
            }
        }
        Seen {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    /// A request by this browser's client, to be sent with [`Browser::send`].
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.origin());
        self.client.request(method.parse().unwrap(), url)
    }
}
