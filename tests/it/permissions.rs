//! The cross-tenant matrix, generated: every endpoint of the router × every kind of caller. What is expected comes
//! from the permission table; what is forbidden must answer exactly like what is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hallmark::domain::access::{Permission, Role, Scope};
use hallmark::domain::vault::is_reserved;
use hallmark::http::endpoint::{Access, Endpoint};
use hallmark::http::metrics::Metrics;

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
}

impl Caller {
    /// The rule of admin-api.md 1.2, written down a second time.
    fn may(&self, permission: Permission) -> bool {
        let rank = match permission.scope() {
            Scope::Own => true,
            Scope::Instance => self.operator && !self.elsewhere,
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
        if caller.who.ends_with("few scopes") {
            caller.scopes = Some(scopes.clone());
        }
    }
    callers
}

/// The path with its variables filled in, for `brand`.
fn filled(endpoint: &Endpoint, brand: &str) -> String {
    let path: Vec<&str> = endpoint
        .path
        .split('/')
        .map(|part| match part.trim_end_matches("...}").trim_end_matches('}') {
            "{brand" => brand,
            "{email" => "view@acme.example",
            "{store" => BRAND,
            name if name.starts_with('{') => "sample",
            _ => part,
        })
        .collect();
    let path = path.join("/");
    match endpoint.access {
        Access::Needs(permission)
            if permission.scope() == Scope::Brand && !endpoint.path.contains("{brand}") =>
        {
            format!("{path}?brand={brand}")
        }
        Access::Needs(_) | Access::Open | Access::Device => path,
    }
}

/// Calls without a usable body: who may act gets 400 or 404 for it, and nothing changes.
async fn call(office: &Office, endpoint: &Endpoint, brand: &str, token: Option<&str>) -> Answer {
    let body = if endpoint.method == "GET" { "" } else { "no JSON" };
    office
        .call_raw(
            endpoint.method,
            &filled(endpoint, brand),
            token,
            body,
            [192, 0, 2, 1].into(),
        )
        .await
}

/// The answer without the brand's name.
fn neutral(answer: &Answer, brand: &str) -> (u16, String) {
    (answer.status, answer.body.to_string().replace(brand, "BRAND"))
}

#[tokio::test]
async fn every_endpoint_is_open_to_exactly_those_the_table_names() {
    let office = Office::new().await;
    let callers = callers(&office).await;
    let endpoints = hallmark::http::endpoints(&office.app, &Metrics::default());
    let powerless = office
        .token_with("nobody@acme.example", |token| {
            token.permissions = Some(Vec::new())
        })
        .await;
    let mut wrong = String::new();
    let mut uncovered = BTreeSet::new();
    for endpoint in &endpoints {
        let permission = match endpoint.access {
            Access::Needs(permission) => permission,
            Access::Open => continue,
            Access::Device => {
                let answer = call(&office, endpoint, BRAND, None).await;
                if answer.status != 401 {
                    let _ = writeln!(wrong, "{endpoint:?}: without a session {}", answer.status);
                }
                continue;
            }
        };
        if !endpoint.path.starts_with("/hallmark/v1/") {
            uncovered.insert(format!("{endpoint:?}"));
            continue;
        }
        let absent = call(&office, endpoint, "nosuchbrand", Some(&powerless)).await;
        for caller in &callers {
            let answer = call(&office, endpoint, BRAND, caller.token.as_deref()).await;
            let forbidden =
                neutral(&answer, BRAND) == neutral(&absent, "nosuchbrand") && answer.status == 404;
            let expected = caller.may(permission);
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
        for brand in [BRAND, "nosuchbrand", "NO BRAND"] {
            let brand = brand.replace(' ', "%20");
            for (token, code) in cases {
                let answer = call(&office, &endpoint, &brand, token).await;
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
        "| permission | for | {} | operator | persons only |\n",
        labels.join(" | ")
    );
    let _ = writeln!(table, "|---|---|{}", "---|".repeat(labels.len() + 2));
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
            "{}{}",
            mark(own || permission.operator()),
            mark(permission.person_only())
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
