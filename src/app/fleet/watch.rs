//! Waves that go on, or stop, by themselves: their devices are judged again and again (waves-and-registration.md A.8).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::follow::look;
use super::index::{Shown, State};
use super::rollout::{Asking, Wanted, roll};
use super::waves::{self, Doer};
use super::{act, status};
use crate::app::{App, Refusal};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::fleet::{Act, OnError, OnSuccess, Verdict, WaveRecord, WaveStatus};
use crate::domain::ident::{BrandId, StoreId, WaveName};
use crate::domain::time::Timestamp;

/// How often waves are judged.
const EVERY: Duration = Duration::from_secs(5);

/// Judges open waves until `stop` is ready.
pub async fn watch(app: App, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        if tokio::time::timeout(EVERY, &mut stop).await.is_ok() {
            return;
        }
        if let Err(error) = judge_all(&app).await {
            tracing::error!(%error, "cannot judge waves");
        }
    }
}

/// Judges all open waves once.
///
/// # Errors
/// If the database is out of reach.
pub async fn judge_all(app: &App) -> Result<(), Refusal> {
    look(app).await?;
    let now = app.clock.now();
    let due: Vec<(StoreId, WaveName)> = {
        let state = app.fleet.read();
        let due = state
            .open_waves()
            .filter(|shown| verdict(&state, shown, now) != Verdict::Open);
        due.map(|shown| (shown.wave().store.clone(), shown.wave().name.clone()))
            .collect()
    };
    for (store, name) in due {
        match follow(app, &store, &name).await {
            // Another process was faster; what is left to do is judged anew in the next round.
            Err(error) if error.code == "changed-meanwhile" => {}
            Err(error) => {
                tracing::error!(%error, %store, wave = %name, "cannot do what the policy of a wave says");
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// What the devices of a wave say together, where it goes on.
fn verdict(state: &State, shown: &Shown, now: Timestamp) -> Verdict {
    let wave = shown.wave();
    if wave.status != WaveStatus::Active || !wave.is_offered(now) || wave.rollouts == 0 {
        return Verdict::Open;
    }
    status::of(state, shown, now, status::ONLINE_HOURS).verdict
}

/// Does what the policy of a wave says about its verdict.
async fn follow(app: &App, store: &StoreId, name: &WaveName) -> Result<(), Refusal> {
    let catalog = app.catalog.current(app).await?;
    let Some(brand) = catalog.brand_of(store).cloned() else {
        return Ok(());
    };
    let _one_at_a_time = act(app).await?;
    // Judged by what is so now: it may have been acted upon already.
    let (record, verdict) = {
        let state = app.fleet.read();
        let Some(shown) = state.wave(store, name) else {
            return Ok(());
        };
        (Arc::clone(&shown.record), verdict(&state, shown, app.clock.now()))
    };
    match verdict {
        Verdict::Open => Ok(()),
        Verdict::Bad { errors, judged } => {
            let why = format!("{errors} of {judged} devices with a verdict fell back");
            let (what, action) = match record.policy.on_error {
                OnError::Halt => (Act::Halt, "wave.halt"),
                OnError::Cancel => (Act::Cancel, "wave.cancel"),
            };
            tracing::warn!(%store, wave = %name, %why, action, "a wave is stopped by its policy");
            by_itself(app, &brand, &record, what, action, Some(why)).await
        }
        Verdict::Good { healthy, exposed } => good(app, &brand, &record, healthy, exposed).await,
    }
}

async fn good(
    app: &App,
    brand: &BrandId,
    record: &WaveRecord,
    healthy: u64,
    exposed: u64,
) -> Result<(), Refusal> {
    let why = format!("{healthy} of {exposed} devices are healthy");
    let taken = record
        .history
        .iter()
        .filter(|rollout| rollout.key.as_deref().is_some_and(is_step))
        .count();
    match (record.policy.on_success, record.policy.steps.get(taken)) {
        (OnSuccess::Nothing, _) | (OnSuccess::NextStep, None) => Ok(()),
        (OnSuccess::NextStep | OnSuccess::Complete, Some(step)) => {
            let wanted = Wanted {
                group: step.group.clone(),
                limit: step.limit,
                percentage: step.percent,
                key: Some(step_key(taken)),
                ..Wanted::default()
            };
            let asking = Asking {
                store: &record.wave.store,
                brand,
                models: Vec::new(),
                account: None,
                event: event(app, brand, record, "wave.rollout"),
            };
            let rolled = roll(app, &record.wave.name, &wanted, &asking).await?;
            tracing::info!(wave = %record.wave.name, %why, selected = rolled.rollout.selected, "the next step of a wave");
            Ok(())
        }
        (OnSuccess::Complete, None) => {
            by_itself(app, brand, record, Act::Complete, "wave.complete", Some(why)).await
        }
    }
}

/// What a rollout is named that is a step of the policy.
fn step_key(step: usize) -> String {
    format!("step-{}", step + 1)
}

fn is_step(key: &str) -> bool {
    key.strip_prefix("step-")
        .is_some_and(|number| number.parse::<usize>().is_ok())
}

fn event(app: &App, brand: &BrandId, record: &WaveRecord, action: &str) -> AuditEvent {
    AuditEvent {
        time: app.clock.now(),
        actor: Actor::System,
        brand: Some(brand.clone().into()),
        action: action.to_owned(),
        subject: record.wave.store.to_string(),
        detail: json!({}).as_object().cloned().unwrap_or_default(),
    }
}

async fn by_itself(
    app: &App,
    brand: &BrandId,
    record: &WaveRecord,
    act: Act,
    action: &str,
    why: Option<String>,
) -> Result<(), Refusal> {
    let doer = Doer {
        account: None,
        event: event(app, brand, record, action),
        why,
    };
    waves::apply(app, &record.wave.store, &record.wave.name, act, doer)
        .await
        .map(drop)
}
