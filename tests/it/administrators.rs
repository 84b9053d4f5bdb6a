//! A base store keeps an administrator who can log in, whoever is removed or switched off, also at the same time.

use std::sync::Arc;

use hallmark::app::members::{Assignment, Confirmed, Keep};
use hallmark::app::{InstanceCtx, Refusal, StoreCtx, accounts, members};
use hallmark::domain::access::Role;
use serde_json::json;

use crate::office::{BRAND, Office};
use crate::people::{actions, race};

const OPERATOR: &str = "operator@hallmark.example";

/// The e-mail addresses of those who administer the base store and may log in.
async fn administrators(office: &Office) -> Vec<String> {
    let ctx = StoreCtx::local(&office.app, &BRAND.parse().unwrap())
        .await
        .unwrap();
    let all = members::list(&office.app, &ctx).await.unwrap();
    all.into_iter()
        .filter(|member| member.membership.roles.contains(&Role::Admin) && !member.account.disabled)
        .map(|member| member.account.email.to_string())
        .collect()
}

#[tokio::test]
async fn the_last_one_is_not_switched_off() {
    let office = Office::new().await;
    let operator = office.token(OPERATOR).await;
    let disable = async |email: &str| {
        let path = format!("/hallmark/v1/accounts/{email}/disable");
        office.call("POST", &path, Some(&operator), json!({})).await
    };
    let refused = disable("admin@acme.example").await;
    assert_eq!((refused.status, refused.code()), (409, "last-administrator"));
    assert_eq!(administrators(&office).await, ["admin@acme.example"]);
    assert!(
        actions(&office).await.is_empty(),
        "what was refused is not in the audit log"
    );
    // An administrator of a view is none of the base store.
    office.add_store(BRAND, "acme-gate", Some(BRAND)).await;
    office.add_account("gate@acme.example", |_| ()).await;
    office
        .add_role(BRAND, "acme-gate", "gate@acme.example", &[Role::Admin])
        .await;
    assert_eq!(disable("admin@acme.example").await.code(), "last-administrator");
    assert_eq!(disable("gate@acme.example").await.status, 200);
    office.add_account("second@acme.example", |_| ()).await;
    office
        .add_member(BRAND, "second@acme.example", &[Role::Admin])
        .await;
    assert_eq!(disable("admin@acme.example").await.status, 200);
    assert_eq!(disable("second@acme.example").await.code(), "last-administrator");
    assert_eq!(administrators(&office).await, ["second@acme.example"]);
}

#[tokio::test]
async fn switching_one_off_while_the_other_is_removed_leaves_one() {
    for _ in 0..40 {
        let office = Arc::new(Office::new().await);
        office.add_account("second@acme.example", |_| ()).await;
        office
            .add_member(BRAND, "second@acme.example", &[Role::Admin])
            .await;
        let outcomes = race(&office, 2, |office, turn| async move {
            if turn == 0 {
                let email = "admin@acme.example".parse().unwrap();
                let ctx = InstanceCtx::local();
                let off = accounts::Standing::Disabled;
                return accounts::set_standing(&office.app, &ctx, &email, off)
                    .await
                    .map(|_| ());
            }
            let ctx = StoreCtx::local(&office.app, &BRAND.parse().unwrap())
                .await
                .unwrap();
            members::remove(&office.app, &ctx, &"second@acme.example".parse().unwrap()).await
        })
        .await;
        let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(administrators(&office).await.len(), 2 - done, "{outcomes:?}");
        assert!(done <= 1, "{outcomes:?}");
        let codes = ["last-administrator", "changed-meanwhile"];
        let told = |refusal: &Refusal| codes.contains(&refusal.code);
        assert!(
            outcomes
                .iter()
                .filter_map(|outcome| outcome.as_ref().err())
                .all(told),
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn switching_one_off_while_they_succeed_the_other_leaves_one() {
    for _ in 0..40 {
        let office = Arc::new(Office::new().await);
        office.add_account("second@acme.example", |_| ()).await;
        let outcomes = race(&office, 2, |office, turn| async move {
            if turn == 0 {
                let email = "second@acme.example".parse().unwrap();
                let off = accounts::Standing::Disabled;
                let done = accounts::set_standing(&office.app, &InstanceCtx::local(), &email, off).await;
                return done.map(|_| ());
            }
            let ctx = StoreCtx::local(&office.app, &BRAND.parse().unwrap())
                .await
                .unwrap();
            let wanted = [
                ("admin@acme.example", vec![]),
                ("second@acme.example", vec![Role::Admin]),
            ];
            let wanted = wanted.map(|(email, roles)| Assignment {
                email: email.parse().unwrap(),
                roles: roles.into_iter().collect(),
            });
            let done = members::assign(&office.app, &ctx, &wanted, Keep::Nothing, Confirmed::default()).await;
            done.map(|_| ())
        })
        .await;
        assert_eq!(administrators(&office).await.len(), 1, "{outcomes:?}");
    }
}
