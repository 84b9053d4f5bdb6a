//! Stores as administration clients know them: settings, members, invites, snaps (admin-api.md 2.4).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::schema::{Schema, SchemaList};
use super::{Input, Json, NoContent, Outcome, Publisher};
use crate::app::catalog::inclusions::{self, Curation};
use crate::app::catalog::shelf::{self, ShelfRow, Which};
use crate::app::catalog::stores::{self, Configured, StoreSettings};
use crate::app::invites::{self, Sent};
use crate::app::members::{self, Assignment, Confirmed, Keep, Member};
use crate::app::{App, OwnCtx, Refusal, StoreCtx, UnplacedCtx, accounts};
use crate::domain::access::{InviteAction, InviteStatus, Permission, ReviewPolicy, Role, StoreInvite};
use crate::domain::catalog::KnownPrefix;
use crate::domain::ident::{AccountId, BrandId, Email, SnapId, SnapName, StoreId, Username};
use crate::domain::time::Timestamp;
use crate::http::endpoint::Endpoint;

pub(super) fn endpoints(publisher: &Publisher) -> Vec<Endpoint> {
    use Permission as P;
    vec![
        publisher.get(
            "/api/v2/stores/{store}",
            P::BrandRead,
            "Show a store, its members and invites",
            show,
        ),
        publisher.get(
            "/api/v2/stores/{store}/snaps{?q,allowed-for-inclusion}",
            P::SnapRead,
            "List the snaps of a store, or those another store may include",
            snaps,
        ),
        publisher.post(
            "/api/v2/stores/{store}/snaps",
            P::InclusionManage,
            "Include snaps in a store, and exclude them",
            curate,
        ),
        publisher.post(
            "/api/v2/stores/{store}/users",
            P::MemberManage,
            "Change the roles of members",
            assign,
        ),
        publisher.post(
            "/api/v2/stores/{store}/invites",
            P::MemberManage,
            "Invite people into a store",
            invite,
        ),
        publisher.put(
            "/api/v2/stores/{store}/invites",
            P::MemberManage,
            "Resend, revoke or open invites",
            act,
        ),
        publisher.put(
            "/api/v2/stores/{store}/settings",
            P::StoreManage,
            "Change settings of a store",
            configure,
        ),
        publisher.patch(
            "/dev/api/account",
            P::OwnAccount,
            "Change one's own public name",
            rename,
        ),
    ]
}

/// A role the caller has in the store.
#[derive(Debug, Serialize)]
struct RoleView {
    role: Role,
    label: &'static str,
    description: &'static str,
}

/// Roles as these clients know them: the role of the brand is none of theirs.
fn role_view(role: Role) -> Option<RoleView> {
    let (label, description) = match role {
        Role::Admin => ("Admin", "manages members, settings and what the store shows"),
        Role::Review => ("Reviewer", "approves or rejects revisions"),
        Role::View => ("Viewer", "sees the store and builds images"),
        Role::Access => ("Publisher", "publishes snaps"),
        Role::Brand => return None,
    };
    Some(RoleView {
        role,
        label,
        description,
    })
}

fn known_roles(roles: impl IntoIterator<Item = Role>) -> Vec<Role> {
    roles.into_iter().filter(|role| *role != Role::Brand).collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PrefixView {
    prefix: String,
    inheritable: bool,
    parent_id: Option<StoreId>,
}

impl From<KnownPrefix> for PrefixView {
    fn from(known: KnownPrefix) -> Self {
        Self {
            prefix: known.prefix.prefix,
            inheritable: known.prefix.inheritable,
            parent_id: known.from,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct StoreView {
    id: StoreId,
    name: String,
    brand_id: BrandId,
    parent: Option<StoreId>,
    private: bool,
    manual_review_policy: ReviewPolicy,
    roles: Vec<RoleView>,
    store_whitelist: BTreeSet<StoreId>,
    allowed_inclusion_source_stores: BTreeSet<StoreId>,
    allowed_inclusion_target_stores: BTreeSet<StoreId>,
    snap_name_prefixes: Vec<PrefixView>,
}

impl StoreView {
    async fn of(app: &App, ctx: &StoreCtx) -> Result<Self, Refusal> {
        let Configured { store, prefixes } = stores::configured(app, ctx.store().clone()).await?;
        let mut roles: BTreeSet<Role> = ctx.roles().into_iter().collect();
        if ctx.may(Permission::MemberManage) {
            // The operator administers every store.
            roles.insert(Role::Admin);
        }
        Ok(Self {
            id: store.id,
            name: store.name,
            brand_id: store.brand_id,
            parent: store.parent,
            private: store.private,
            manual_review_policy: store.review_policy,
            roles: roles.into_iter().filter_map(role_view).collect(),
            store_whitelist: store.whole_stores,
            allowed_inclusion_source_stores: store.inclusion_sources,
            allowed_inclusion_target_stores: store.inclusion_targets,
            snap_name_prefixes: prefixes.into_iter().map(PrefixView::from).collect(),
        })
    }
}

#[derive(Debug, Serialize)]
struct UserView {
    id: AccountId,
    displayname: String,
    username: Username,
    email: Email,
    roles: Vec<Role>,
}

impl From<Member> for UserView {
    fn from(Member { account, membership }: Member) -> Self {
        Self {
            id: account.id,
            displayname: account.display_name,
            username: account.username,
            email: account.email,
            roles: known_roles(membership.roles),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct InviteView {
    email: Email,
    roles: Vec<Role>,
    status: InviteStatus,
    expiration_date: Timestamp,
    /// What accepts it, where it was sent just now: nobody mails it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl InviteView {
    fn of(invite: StoreInvite, now: Timestamp) -> Self {
        Self {
            status: invite.status(now),
            email: invite.email,
            roles: known_roles(invite.roles),
            expiration_date: invite.expires,
            token: None,
        }
    }

    fn sent(sent: Sent, now: Timestamp) -> Self {
        Self {
            token: sent.secret.map(|secret| secret.reveal().to_owned()),
            ..Self::of(sent.invite, now)
        }
    }
}

#[derive(Debug, Serialize)]
struct ShowView {
    store: StoreView,
    users: Vec<UserView>,
    invites: Vec<InviteView>,
}

/// Everybody sees themselves; members and invites only who may.
async fn show(app: App, ctx: StoreCtx, _input: Input) -> Outcome<Json<ShowView>> {
    let now = app.clock.now();
    let users = if ctx.may(Permission::MemberRead) {
        members::list(&app, &ctx).await?
    } else {
        members::myself(&app, &ctx).await?.into_iter().collect()
    };
    let invites = if ctx.may(Permission::MemberManage) {
        invites::list(&app, &ctx).await?
    } else {
        Vec::new()
    };
    Ok(Json(ShowView {
        store: StoreView::of(&app, &ctx).await?,
        users: users.into_iter().map(UserView::from).collect(),
        invites: invites
            .into_iter()
            .map(|invite| InviteView::of(invite, now))
            .collect(),
    }))
}

#[derive(Debug, Serialize)]
struct OwnerView {
    displayname: String,
    username: Option<String>,
    roles: [&'static str; 1],
}

/// Never null; without a release all of it is.
#[derive(Debug, Serialize)]
struct ReleaseView {
    channel: Option<String>,
    timestamp: Option<Timestamp>,
    version: Option<String>,
    revision: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SnapView {
    id: SnapId,
    name: SnapName,
    essential: bool,
    private: bool,
    store: StoreId,
    other_stores: Vec<StoreId>,
    users: [OwnerView; 1],
    latest_release: ReleaseView,
}

impl From<ShelfRow> for SnapView {
    fn from(row: ShelfRow) -> Self {
        let release = row.latest;
        Self {
            id: row.id,
            name: row.name,
            essential: row.essential,
            private: row.private,
            store: row.store,
            other_stores: row.other_stores,
            users: [OwnerView {
                displayname: row.publisher_name,
                username: row.publisher_username,
                roles: ["owner"],
            }],
            latest_release: ReleaseView {
                channel: release.as_ref().map(|latest| latest.channel.to_string()),
                timestamp: release.as_ref().map(|latest| latest.released),
                version: release.as_ref().and_then(|latest| latest.version.clone()),
                revision: release.as_ref().map(|latest| latest.revision),
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct SnapsView {
    store: StoreView,
    snaps: Vec<SnapView>,
}

async fn snaps(app: App, ctx: UnplacedCtx, input: Input) -> Outcome<Json<SnapsView>> {
    let id: StoreId = input.variable("store").map_err(|_| {
        Refusal::not_found(
            "cannot find store of this id: there is no such store, or your role in it does not allow this",
        )
    })?;
    let store = ctx.store(&app, &id).await?;
    let words: Option<String> = input.query("q")?;
    let target: Option<StoreId> = input.query("allowed-for-inclusion")?;
    let target = match target {
        None => None,
        Some(target) => Some(ctx.store(&app, &target).await?),
    };
    let which = match &target {
        None => Which::Shown,
        Some(target) => Which::FreeFor(target),
    };
    let rows = shelf::rows(&app, &store, which, words.as_deref()).await?;
    Ok(Json(SnapsView {
        store: StoreView::of(&app, &store).await?,
        snaps: rows.into_iter().map(SnapView::from).collect(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedSnap {
    name: SnapName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CurateBody {
    #[serde(default)]
    add: Vec<NamedSnap>,
    #[serde(default)]
    remove: Vec<NamedSnap>,
}

#[derive(Debug, Serialize)]
struct ShelfView {
    snaps: Vec<SnapView>,
}

async fn curate(app: App, ctx: StoreCtx, input: Input<Schema<CurateBody>>) -> Outcome<Json<ShelfView>> {
    let names = |list: Vec<NamedSnap>| list.into_iter().map(|one| one.name).collect();
    let Schema(CurateBody { add, remove }) = input.body;
    let change = Curation {
        add: names(add),
        remove: names(remove),
    };
    inclusions::curate(&app, &ctx, &change).await?;
    let rows = shelf::rows(&app, &ctx, Which::Shown, None).await?;
    Ok(Json(ShelfView {
        snaps: rows.into_iter().map(SnapView::from).collect(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesBody {
    email: String,
    roles: BTreeSet<Role>,
}

impl RolesBody {
    fn read(list: Vec<Self>) -> Result<Vec<Assignment>, Refusal> {
        list.into_iter()
            .map(|one| {
                if one.roles.contains(&Role::Brand) {
                    return Err(Refusal::invalid(
                        "api-error",
                        "cannot grant the role brand here: use `hallmark member add`",
                    ));
                }
                Ok(Assignment {
                    email: Email::normal(&one.email)?,
                    roles: one.roles,
                })
            })
            .collect()
    }
}

#[derive(Debug, Serialize)]
struct UsersView {
    users: Vec<UserView>,
}

/// Replaces the roles of each named account; none removes it. The client offers an invite when somebody has no account.
async fn assign(app: App, ctx: StoreCtx, input: Input<SchemaList<RolesBody>>) -> Outcome<Json<UsersView>> {
    let wanted = RolesBody::read(input.body.0)?;
    let unknown = members::unknown(&app, &ctx, &wanted).await?;
    if let Some(email) = unknown.first() {
        return Err(Refusal::invalid(
            "store-users-no-match",
            format!("cannot find account {email}: nobody has this e-mail address; invite them"),
        )
        .into());
    }
    members::assign(&app, &ctx, &wanted, Keep::BrandRole, Confirmed::default()).await?;
    let users = members::list(&app, &ctx).await?;
    Ok(Json(UsersView {
        users: users.into_iter().map(UserView::from).collect(),
    }))
}

#[derive(Debug, Serialize)]
struct InvitesView {
    invites: Vec<InviteView>,
}

async fn invite(app: App, ctx: StoreCtx, input: Input<SchemaList<RolesBody>>) -> Outcome<Json<InvitesView>> {
    let sent = invites::send(&app, &ctx, &RolesBody::read(input.body.0)?).await?;
    Ok(Json(sent_view(&app, sent)))
}

fn sent_view(app: &App, sent: Vec<Sent>) -> InvitesView {
    let now = app.clock.now();
    InvitesView {
        invites: sent.into_iter().map(|one| InviteView::sent(one, now)).collect(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActBody {
    email: String,
    action: InviteAction,
}

async fn act(app: App, ctx: StoreCtx, input: Input<SchemaList<ActBody>>) -> Outcome<Json<InvitesView>> {
    let wanted: Result<Vec<(Email, InviteAction)>, Refusal> = input
        .body
        .0
        .into_iter()
        .map(|one| Ok((Email::normal(&one.email)?, one.action)))
        .collect();
    let sent = invites::act(&app, &ctx, &wanted?).await?;
    Ok(Json(sent_view(&app, sent)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SettingsBody {
    #[serde(default)]
    private: Option<bool>,
    #[serde(default)]
    manual_review_policy: Option<ReviewPolicy>,
}

#[derive(Debug, Serialize)]
struct SettingsView {
    store: StoreView,
}

async fn configure(
    app: App,
    ctx: StoreCtx,
    input: Input<Schema<SettingsBody>>,
) -> Outcome<Json<SettingsView>> {
    let Schema(body) = input.body;
    let settings = StoreSettings {
        private: body.private,
        review_policy: body.manual_review_policy,
        ..StoreSettings::default()
    };
    let changed = stores::configure(&app, &ctx, settings).await?;
    let mut store = StoreView::of(&app, &ctx).await?;
    store.private = changed.private;
    store.manual_review_policy = changed.review_policy;
    Ok(Json(SettingsView { store }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameBody {
    short_namespace: Username,
}

async fn rename(app: App, ctx: OwnCtx, input: Input<Schema<RenameBody>>) -> Outcome<NoContent> {
    accounts::rename(&app, &ctx, input.body.0.short_namespace).await?;
    Ok(NoContent)
}
