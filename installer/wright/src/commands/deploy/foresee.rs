//! A check run of the roles: what a deployment would do now. Nothing is changed, on no node.
use super::hosts::{self, Sources};
use super::roles::{self, Order};
use super::{binary, certificates, state_error, world};
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use chrono::{SecondsFormat, Utc};
use state::{EnvironmentFolder, EnvironmentLock, Secrets, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use task_engine::plan_file::{FORMAT, Foresight, PlanFile, Selection};
use task_engine::{HostSpec, Mode};

pub async fn foresee(
    settings: &Settings,
    selection: Selection,
    diff: bool,
    printer: &Printer,
) -> Result<PlanFile, CommandError> {
    let folder =
        EnvironmentFolder::create(&settings.state_dir, &settings.env).map_err(state_error)?;
    // While nodes are worked on, a plan would be stale before it is made.
    let _lock = EnvironmentLock::acquire(&folder, "deploy").map_err(state_error)?;
    let store = Store::open(&folder).await.map_err(state_error)?;
    let environment = environment::plan(settings, Some(&store), printer).await?;
    let secrets = Secrets::open(&folder).map_err(state_error)?;
    let playbook = roles::parse(&selection.playbook)?;
    let world = world::now(settings, &store, &playbook).await?;
    let wright = binary::compressed(settings).await?;
    let url = hosts::deploy_url(&environment)?;
    let certificates = certificates::up_to_date(&folder, &environment, &secrets, printer)?;
    let hosts = hosts::specs(&Sources {
        settings,
        environment: &environment,
        store: &store,
        secrets: &secrets,
        certificates: &certificates,
        deploy_url: &url,
        wright: &wright,
        playbook: &playbook,
    })
    .await?;
    let old_facts = old_facts(&store, &hosts, &selection, printer).await?;

    let foresight: Arc<Mutex<Foresight>> = Arc::default();
    let watching = foresight.clone();
    let order = Order {
        selection: &selection,
        mode: Mode::Check,
        diff,
        world: &world,
        name: None,
        watch: Box::new(move |event| {
            let mut foresight = watching.lock().unwrap_or_else(PoisonError::into_inner);
            foresight.take(event);
        }),
    };
    roles::run(order, &folder, &store, hosts, playbook, printer).await?;
    let foresight = std::mem::take(&mut *foresight.lock().unwrap_or_else(PoisonError::into_inner));
    let (entries, faults) = foresight.finish();
    Ok(PlanFile {
        format: FORMAT.to_owned(),
        env: settings.env.clone(),
        made_at: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        world,
        selection,
        old_facts,
        entries,
        faults,
    })
}

/// Nodes outside the limit: when each was asked last. Of one that never was, nothing but the inventory is known.
async fn old_facts(
    store: &Store,
    hosts: &[HostSpec],
    selection: &Selection,
    printer: &Printer,
) -> Result<BTreeMap<String, String>, CommandError> {
    let Some(limit) = &selection.limit else {
        return Ok(BTreeMap::new());
    };
    let facts = store.facts().await.map_err(anyhow::Error::from)?;
    let (chosen, _) = task_engine::select(hosts, limit);
    let mut out = BTreeMap::new();
    for host in hosts
        .iter()
        .filter(|host| !chosen.iter().any(|chosen| chosen.name == host.name))
    {
        match facts.get(&host.name) {
            Some(facts) => {
                let time = facts.gathered_at.to_rfc3339_opts(SecondsFormat::Secs, true);
                out.insert(host.name.clone(), time);
            }
            None => printer.warn(&format!(
                "no facts of `{}` are known: it is outside the limit and was never asked",
                host.name
            )),
        }
    }
    Ok(out)
}
