//! The cross-tenant matrix, generated: every endpoint of the router × every kind of caller. What is expected comes
//! from the permission table; what is forbidden must answer exactly like what is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hallmark::domain::access::{Permission, Role, Scope, Token};
use hallmark::domain::vault::is_reserved;
use hallmark::http::endpoint::{Access, Endpoint};
use hallmark::http::metrics::Metrics;
use hallmark::http::router::Family;

use crate::office::{Answer, BRAND, OTHER, Office};

/// Somebody who calls, and what they are.
struct Caller {
    who: String,
    token: Option<String>,
    /// Roles in [`BRAND`].
    roles: Vec<Role>,
    operator: bool,
    person: bool,
    /// Scopes of the token.
    scopes: Option<Vec<Permission>>,
    /// Whether the token is limited to another brand.
    elsewhere: bool,
    /// Whether the token is limited to the base store.
    one_store: bool,
}

impl Caller {
    /// The rule of admin-api.md 1.2, written down a second time.
    fn may(&self, permission: Permission) -> bool {
        let rank = match permission.scope() {
            Scope::Own => true,
            Scope::Instance => self.operator && !self.elsewhere && !self.one_store,
            Scope::Brand => {
                let role = permission.roles().iter().any(|role| self.roles.contains(role));
                !self.elsewhere && (role || self.operator && permission.operator())
            }
        };
        let scopes = self
            .scopes
            .as_ref()
            .is_none_or(|scopes| scopes.contains(&permission));
        permission == Permission::OwnRead || rank && scopes && (self.person || !permission.person_only())
    }
}

impl Caller {
    /// Whether only the limits of the token stand against it.
    fn only_limited(&self, permission: Permission) -> bool {
        let unlimited = Self {
            who: String::new(),
            token: None,
            roles: self.roles.clone(),
            scopes: None,
            one_store: false,
            ..*self
        };
        !self.may(permission) && unlimited.may(permission)
    }
}

async fn callers(office: &Office) -> Vec<Caller> {
    let mut callers = Vec::new();
    let mut add = |who: &str, token, roles: &[Role], operator| {
        let (who, roles) = (who.to_owned(), roles.to_vec());
        callers.push(Caller {
            who,
            token: Some(token),
            roles,
            operator,
            person: true,
            scopes: None,
            elsewhere: false,
            one_store: false,
        });
    };
    for role in Role::ALL {
        add(
            role.label(),
            office.token(&format!("{}@acme.example", role.wire())).await,
            &[*role],
            false,
        );
    }
    add(
        "an account without a role",
        office.token("nobody@acme.example").await,
        &[],
        false,
    );
    add(
        "every role of another brand",
        office.token("all@globex.example").await,
        &[],
        false,
    );
    add(
        "operator",
        office.token("operator@hallmark.example").await,
        &[],
        true,
    );

    office.add_account("all@acme.example", |_| ()).await;
    office.add_member(BRAND, "all@acme.example", Role::ALL).await;
    let program = office
        .token_with("all@acme.example", |token| token.person = false)
        .await;
    let scopes = vec![Permission::BrandRead, Permission::SystemUserIssue];
    let scoped = office
        .token_with("all@acme.example", |token| {
            token.permissions = Some(scopes.iter().map(|scope| scope.name().to_owned()).collect());
        })
        .await;
    let elsewhere = office
        .token_with("all@acme.example", |token| {
            token.brand_id = Some(OTHER.parse().unwrap())
        })
        .await;
    let operator_elsewhere = office
        .token_with("operator@hallmark.example", |token| {
            token.brand_id = Some(OTHER.parse().unwrap())
        })
        .await;
    let one_store = |token: &mut Token| token.limits.stores = Some([BRAND.parse().unwrap()].into());
    let operator_one_store = office.token_with("operator@hallmark.example", one_store).await;
    let all_one_store = office.token_with("all@acme.example", one_store).await;
    add("operator, token of one store", operator_one_store, &[], true);
    add("every role, token of one store", all_one_store, Role::ALL, false);
    add(
        "every role",
        office.token("all@acme.example").await,
        Role::ALL,
        false,
    );
    add("every role, by a program", program, Role::ALL, false);
    add("every role, few scopes", scoped, Role::ALL, false);
    add("every role, token of another brand", elsewhere, Role::ALL, false);
    add("operator, token of another brand", operator_elsewhere, &[], true);
    for caller in &mut callers {
        caller.person = !caller.who.ends_with("by a program");
        caller.elsewhere = caller.who.ends_with("token of another brand");
        caller.one_store = caller.who.ends_with("token of one store");
        if caller.who.ends_with("few scopes") {
            caller.scopes = Some(scopes.clone());
        }
    }
    callers
}

/// What a call is about: a brand with its base store and a snap of it.
#[derive(Clone, Copy)]
struct About {
    brand: &'static str,
    store: &'static str,
    snap: &'static str,
    snap_id: &'static str,
}

/// A snap of the brand, with which the publisher helps: its own to all who have the roles for it.
const OWN: About = About {
    brand: BRAND,
    store: BRAND,
    snap: "acme-own",
    snap_id: "aCmEoWn0000000000000000000000000",
};
/// A snap of somebody without a role: reviewers decide about it.
const FOREIGN: About = About {
    brand: BRAND,
    store: BRAND,
    snap: "acme-other",
    snap_id: "aCmEoThEr00000000000000000000000",
};
const ABSENT: About = About {
    brand: "nosuchbrand",
    store: "nosuchbrand",
    snap: "no-such-snap",
    snap_id: "nOsUcHsNaP0000000000000000000000",
};

/// A snap of the publisher's alone.
const PUBLISHERS: About = About {
    brand: BRAND,
    store: BRAND,
    snap: "acme-publishers",
    snap_id: "aCmEpUbLiShErS000000000000000000",
};

/// The snap on which the caller's role alone decides about `permission`.
fn about(permission: Permission, who: &str) -> About {
    match permission {
        Permission::SnapDeclare | Permission::SnapReview | Permission::GrantConfirm => FOREIGN,
        // Not for who only helps with a snap.
        Permission::SnapRegister | Permission::CollaboratorManage if who == "publisher" => PUBLISHERS,
        _ => OWN,
    }
}

/// The path with its variables filled in.
fn filled(endpoint: &Endpoint, about: About) -> String {
    let path: Vec<&str> = endpoint
        .path
        .split('/')
        .map(|part| match part.trim_end_matches("...}").trim_end_matches('}') {
            "{brand" => about.brand,
            "{email" => "view@acme.example",
            "{store" => about.store,
            "{snap" => about.snap,
            "{snap-id" => about.snap_id,
            name if name.starts_with('{') => "sample",
            _ => part,
        })
        .collect();
    let path = path.join("/");
    match endpoint.access {
        Access::Needs(permission)
            if permission.scope() == Scope::Brand
                && !endpoint.path.contains("{brand}")
                && !is_publishing(endpoint) =>
        {
            format!("{path}?brand={}", about.brand)
        }
        Access::Needs(_) | Access::Open | Access::Device => path,
    }
}

/// Whether what a call is about follows from its path or body, and the token's own limits are told apart.
fn is_publishing(endpoint: &Endpoint) -> bool {
    Family::of(endpoint.path) == Family::Publisher
}

/// A body that says what the call is about, for endpoints whose path does not.
fn body(endpoint: &Endpoint, about: About) -> String {
    let name = about.snap;
    match (endpoint.method, endpoint.path) {
        ("GET", _) => String::new(),
        (_, "/dev/api/snap-push") => format!("{{\"name\": \"{name}\"}}"),
        (_, "/dev/api/snap-release") => {
            format!("{{\"name\": \"{name}\", \"revision\": \"none\", \"channels\": []}}")
        }
        (_, "/dev/api/snaps/metrics") => format!(
            "{{\"filters\": [{{\"snap_id\": \"{}\", \"metric_name\": \"No\"}}]}}",
            about.snap_id
        ),
        (_, "/dev/api/register-name") => {
            format!("{{\"snap_name\": \"no name\", \"store\": \"{}\"}}", about.brand)
        }
        (_, "/v2/metadata/overrides") => format!(
            "[{{\"snap_name\": \"{name}\", \"revision\": null, \"channel\": \"stable\", \"series\": \"16\"}}]"
        ),
        ("POST", "/v1/snap") => format!("{{\"name\": \"no name\", \"store\": \"{}\"}}", about.brand),
        _ => "no JSON".to_owned(),
    }
}

/// Calls without a usable body: who may act gets 400 or 404 for it, and nothing changes.
async fn call(office: &Office, endpoint: &Endpoint, about: About, token: Option<&str>) -> Answer {
    office
        .call_raw(
            endpoint.method,
            &filled(endpoint, about),
            token,
            &body(endpoint, about),
            [192, 0, 2, 1].into(),
        )
        .await
}

/// The answer without the names of what it is about.
fn neutral(answer: &Answer, about: About) -> (u16, String) {
    let text = answer.body.to_string();
    let text = text.replace(about.snap, "SNAP").replace(about.snap_id, "SNAP");
    // The store first: its name may begin with that of its brand.
    let text = text.replace(about.store, "NAME").replace(about.brand, "NAME");
    (answer.status, text)
}

/// The same for a page: it opens to exactly those the table names, and only with a person's log-in. Forms are sent
/// without their mark, so nothing is done; what is forbidden is refused before that.
async fn judge_page(
    office: &Office,
    endpoint: &Endpoint,
    permission: Permission,
    callers: &[Caller],
    powerless: &str,
    wrong: &mut String,
) {
    let absent = office.browse("GET", "/brands/nosuchbrand", Some(powerless)).await;
    assert_eq!(absent.0, 404);
    for caller in callers {
        let (status, location, main) = office
            .browse(
                endpoint.method,
                &filled(endpoint, about(permission, &caller.who)),
                caller.token.as_deref(),
            )
            .await;
        let fits = if caller.person {
            page_fits(
                endpoint,
                &(status, &location, &main),
                caller.may(permission),
                &absent.2,
            )
        } else {
            status == 303 && location.starts_with("/login")
        };
        if !fits {
            let who = &caller.who;
            let _ = writeln!(wrong, "{endpoint:?}: {who}, but got {status} {location} {main}");
        }
    }
}

/// Whether status, location and content of a page are what they must be for who may, or may not, see it. `absent` is the
/// content of the page for what is not there.
fn page_fits(endpoint: &Endpoint, seen: &(u16, &str, &str), may: bool, absent: &str) -> bool {
    let (status, location, main) = *seen;
    if may {
        main != absent
            && !location.starts_with("/login")
            && ([200, 404].contains(&status)
                || endpoint.method == "POST" && status == 403
                || status == 303 && location.starts_with("/brands/"))
    } else {
        (status, main) == (404, absent)
    }
}

#[tokio::test]
async fn every_endpoint_is_open_to_exactly_those_the_table_names() {
    let office = Office::new().await;
    let callers = callers(&office).await;
    let nobody = office.token("nobody@acme.example").await;
    let endpoints = hallmark::http::endpoints(&office.app, &Metrics::default());
    // Whoever they are, what is not there is not there; with a token for nothing nor is anything of one's own.
    let powerless = office
        .token_with("nobody@acme.example", |token| {
            token.permissions = Some(Vec::new())
        })
        .await;
    office.add_account("publisher@elsewhere.example", |_| ()).await;
    let stranger = "publisher@elsewhere.example";
    let publisher = "access@acme.example";
    office
        .add_snap(BRAND, OWN.snap, OWN.snap_id, BRAND, &[publisher])
        .await;
    office
        .add_snap(BRAND, PUBLISHERS.snap, PUBLISHERS.snap_id, publisher, &[])
        .await;
    office
        .add_snap(BRAND, FOREIGN.snap, FOREIGN.snap_id, stranger, &[])
        .await;
    let mut wrong = String::new();
    let mut uncovered = BTreeSet::new();
    for endpoint in &endpoints {
        let permission = match endpoint.access {
            Access::Needs(permission) => permission,
            Access::Open => continue,
            Access::Device => {
                let answer = call(&office, endpoint, OWN, None).await;
                if answer.status != 401 {
                    let _ = writeln!(wrong, "{endpoint:?}: without a session {}", answer.status);
                }
                continue;
            }
        };
        if Family::of(endpoint.path) == Family::Web {
            judge_page(&office, endpoint, permission, &callers, &powerless, &mut wrong).await;
            continue;
        }
        let native = endpoint.path.starts_with("/hallmark/v1/") || endpoint.path.starts_with("/ota/");
        if !native && !is_publishing(endpoint) {
            uncovered.insert(format!("{endpoint:?}"));
            continue;
        }
        let whose = if is_publishing(endpoint) {
            &nobody
        } else {
            &powerless
        };
        let absent = call(&office, endpoint, ABSENT, Some(whose)).await;
        for caller in &callers {
            let about = about(permission, &caller.who);
            let answer = call(&office, endpoint, about, caller.token.as_deref()).await;
            let expected = caller.may(permission);
            let forbidden = if is_publishing(endpoint) && caller.only_limited(permission) {
                (answer.status, answer.code()) == (403, "macaroon-permission-required")
            } else {
                permission != Permission::OwnRead
                    && answer.status == 404
                    && neutral(&answer, about) == neutral(&absent, ABSENT)
            };
            if answer.status == 401 || answer.status >= 500 || forbidden == expected {
                let _ = writeln!(
                    wrong,
                    "{endpoint:?}: {} {}, but got {} {}",
                    caller.who,
                    if expected { "may" } else { "may not" },
                    answer.status,
                    answer.body
                );
            }
        }
    }
    assert_eq!(wrong, "");
    assert_eq!(uncovered, BTreeSet::new(), "endpoints this test cannot judge");
}

/// A view of the brand's base store, and a snap that was put into it.
const VIEW: About = About {
    brand: BRAND,
    store: "acme-partner",
    snap: "acme-shown",
    snap_id: "aCmEsHoWn00000000000000000000000",
};
/// Another view of the same base store, and a snap that neither shows.
const SIBLING: About = About {
    brand: BRAND,
    store: "acme-sibling",
    snap: "acme-hidden",
    snap_id: "aCmEhIdDeN0000000000000000000000",
};
/// What is not there, in a brand that is.
const ABSENT_HERE: About = About {
    brand: BRAND,
    store: "no-such-store",
    snap: "no-such-snap",
    snap_id: "nOsUcHsNaP0000000000000000000000",
};

/// What an endpoint is about, told from its path.
#[derive(Debug, PartialEq)]
enum Concern {
    OneStore,
    OneSnap,
    ListOfStores,
    Brand,
}

fn concern(endpoint: &Endpoint) -> Concern {
    // The body names the snap.
    let named = [
        "/dev/api/snap-push",
        "/dev/api/snap-release",
        "/dev/api/snaps/metrics",
        "/v2/metadata/overrides",
    ];
    if endpoint.path.contains("/{snap}")
        || endpoint.path.contains("/{snap-id}")
        || named.contains(&endpoint.path)
    {
        Concern::OneSnap
    } else if endpoint.path.contains("/{store}") {
        Concern::OneStore
    } else if (endpoint.method, endpoint.path) == ("GET", "/hallmark/v1/stores") {
        Concern::ListOfStores
    } else {
        Concern::Brand
    }
}

/// Whether a role in [`VIEW`] alone opens the endpoint about `about`: the rule of admin-api.md 1.2 and 1.3 for stores of
/// partners, written down a second time.
fn opens(endpoint: &Endpoint, permission: Permission, role: Role, about: About) -> bool {
    if permission.scope() != Scope::Brand || !permission.roles().contains(&role) {
        return false;
    }
    let in_view = about.store == VIEW.store;
    match concern(endpoint) {
        Concern::OneStore => in_view,
        // What is done to a snap is decided where it is registered; who sees the store sees the snap. Publishers see
        // only their own.
        // Pins are a store's own, whosever the snap is; no store is named, and this is the caller's only one.
        Concern::OneSnap if permission == Permission::OverrideManage => in_view,
        Concern::OneSnap => in_view && permission == Permission::SnapRead && role_sees_all(role),
        Concern::ListOfStores => true,
        Concern::Brand => false,
    }
}

fn role_sees_all(role: Role) -> bool {
    Permission::SnapReadAll.roles().contains(&role)
}

#[tokio::test]
async fn a_role_in_one_store_opens_that_store_and_nothing_else_of_the_brand() {
    let office = Office::new().await;
    office.add_account("publisher@elsewhere.example", |_| ()).await;
    for about in [VIEW, SIBLING] {
        office.add_view(about.store).await;
        office
            .add_snap(
                BRAND,
                about.snap,
                about.snap_id,
                "publisher@elsewhere.example",
                &[],
            )
            .await;
    }
    office.include(VIEW.store, VIEW.snap_id).await;
    let mut partners = Vec::new();
    for role in Role::ALL {
        let email = format!("{}@partner.example", role.wire());
        office.add_account(&email, |_| ()).await;
        office.add_role(BRAND, VIEW.store, &email, &[*role]).await;
        partners.push((*role, office.token(&email).await));
    }
    let powerless = office
        .token_with("nobody@acme.example", |token| {
            token.permissions = Some(Vec::new())
        })
        .await;
    let nobody = office.token("nobody@acme.example").await;
    let mut wrong = String::new();
    let mut opened = BTreeSet::new();
    let absent_page = office
        .browse("GET", "/brands/nosuchbrand", Some(&powerless))
        .await
        .2;
    for endpoint in hallmark::http::endpoints(&office.app, &Metrics::default()) {
        let Access::Needs(permission) = endpoint.access else {
            continue;
        };
        if permission.scope() == Scope::Own {
            continue;
        }
        if Family::of(endpoint.path) == Family::Web {
            for (role, token) in &partners {
                for about in [VIEW, SIBLING, FOREIGN] {
                    let path = filled(&endpoint, about);
                    let (status, location, main) = office.browse(endpoint.method, &path, Some(token)).await;
                    let expected = opens(&endpoint, permission, *role, about);
                    if !page_fits(&endpoint, &(status, &location, &main), expected, &absent_page) {
                        let (who, what) = (role.label(), about.store);
                        let _ = writeln!(
                            wrong,
                            "{endpoint:?} {what}: {who} of a view, but got {status} {location} {main}"
                        );
                    }
                    if expected {
                        opened.insert((endpoint.path, permission.name()));
                    }
                }
            }
            continue;
        }
        let publishing = is_publishing(&endpoint);
        let whose = if publishing { &nobody } else { &powerless };
        let absent = call(&office, &endpoint, ABSENT_HERE, Some(whose)).await;
        for (role, token) in &partners {
            for about in [VIEW, SIBLING, FOREIGN] {
                let answer = call(&office, &endpoint, about, Some(token)).await;
                let expected = opens(&endpoint, permission, *role, about);
                let forbidden =
                    answer.status == 404 && neutral(&answer, about) == neutral(&absent, ABSENT_HERE);
                if answer.status == 401 || answer.status >= 500 || forbidden == expected {
                    let _ = writeln!(
                        wrong,
                        "{endpoint:?} {}: {} of a view {}, but got {} {}; absent is {}",
                        about.store,
                        role.label(),
                        if expected { "may" } else { "may not" },
                        answer.status,
                        answer.body,
                        absent.body,
                    );
                }
                if expected {
                    opened.insert((endpoint.path, permission.name()));
                }
            }
        }
    }
    assert_eq!(wrong, "");
    assert!(opened.len() >= 9, "{opened:?}");
    // The list of stores holds theirs, and no other.
    for (role, token) in &partners {
        let list = office
            .call("GET", "/hallmark/v1/stores", Some(token), serde_json::Value::Null)
            .await;
        assert_eq!(list.status, 200, "{role:?}");
        let ids: Vec<&str> = list
            .body
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, [VIEW.store], "{role:?}");
    }
}

#[tokio::test]
async fn no_endpoint_answers_without_a_good_credential() {
    let office = Office::new().await;
    office
        .add_account("gone@acme.example", |account| account.disabled = true)
        .await;
    office.add_member(BRAND, "gone@acme.example", Role::ALL).await;
    let now = office.now();
    let expired = office
        .token_with("admin@acme.example", |token| token.expires = now)
        .await;
    let disabled = office.token("gone@acme.example").await;
    let unknown = hallmark::domain::access::TokenText::generate(|buffer| buffer.fill(77))
        .reveal()
        .to_owned();
    let cases = [
        (None, "login-required"),
        (Some(expired.as_str()), "token-expired"),
        (Some(disabled.as_str()), "invalid-token"),
        (Some(unknown.as_str()), "invalid-token"),
        (Some("hmk_nonsense"), "invalid-token"),
    ];
    for endpoint in hallmark::http::endpoints(&office.app, &Metrics::default()) {
        let Access::Needs(_) = endpoint.access else {
            continue;
        };
        if Family::of(endpoint.path) == Family::Web {
            for (token, _) in cases {
                let path = filled(&endpoint, OWN);
                let (status, location, main) = office.browse(endpoint.method, &path, token).await;
                assert!(
                    location.starts_with("/login") && main.is_empty(),
                    "{endpoint:?} {token:?}"
                );
                assert_eq!(status, 303);
            }
            continue;
        }
        let impossible = About {
            brand: "NO%20BRAND",
            store: "NO%20STORE",
            snap: "NO%20SNAP",
            snap_id: "-",
        };
        for about in [OWN, ABSENT, impossible] {
            for (token, code) in cases {
                let answer = call(&office, &endpoint, about, token).await;
                assert_eq!(
                    (answer.status, answer.code()),
                    (401, code),
                    "{endpoint:?} {token:?}"
                );
                assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"hallmark\"");
            }
        }
    }
}

#[tokio::test]
async fn no_brand_can_be_named_like_the_first_segment_of_a_path() {
    let office = Office::new().await;
    let first = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
    let names: BTreeSet<String> = hallmark::http::endpoints(&office.app, &Metrics::default())
        .iter()
        .map(|e| first(e.path))
        .collect();
    let free: Vec<&String> = names
        .iter()
        .filter(|name| name.parse().is_ok_and(|brand| !is_reserved(&brand)))
        .collect();
    assert_eq!(free, [""; 0]);
}

#[tokio::test]
async fn the_open_endpoints_are_these() {
    let office = Office::new().await;
    let open: Vec<String> = hallmark::http::endpoints(&office.app, &Metrics::default())
        .iter()
        .filter(|endpoint| endpoint.access == Access::Open)
        .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    golden("open-endpoints", &open.join("\n"));
}

#[test]
fn the_table_of_permissions_is_the_documented_one() {
    let labels: Vec<&str> = Role::ALL.iter().map(|role| role.label()).collect();
    let mut table = format!(
        "| permission | for | {} | operator | persons only | one store |\n",
        labels.join(" | ")
    );
    let _ = writeln!(table, "|---|---|{}", "---|".repeat(labels.len() + 3));
    for permission in Permission::ALL {
        let mark = |yes| if yes { " yes |" } else { "  |" };
        let own = permission.scope() == Scope::Own;
        let _ = write!(
            table,
            "| `{}` | {} |",
            permission.name(),
            format!("{:?}", permission.scope()).to_lowercase()
        );
        for role in Role::ALL {
            table.push_str(mark(own || permission.roles().contains(role)));
        }
        let _ = writeln!(
            table,
            "{}{}{}",
            mark(own || permission.operator()),
            mark(permission.person_only()),
            mark(permission.within_store())
        );
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/people.md")).unwrap();
    assert!(
        page.contains(&table),
        "docs/people.md must hold this table:\n{table}"
    );
}

/// Compares with `tests/golden/<name>.snap`; run with `INSTA_UPDATE=always` to accept a change that is meant.
fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
