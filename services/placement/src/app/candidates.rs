//! Which providers could take a claim. Pure over a snapshot of providers; the snapshot is read here too.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use super::PlacementError;
use super::claims::Amounts;
use super::providers::{self, Inventory};
use crate::store::provider;

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// Amounts by class.
    pub resources: Amounts,
    /// Traits: each set of alternatives must be met.
    pub required: Vec<BTreeSet<String>>,
    /// Traits that must not be there.
    pub forbidden: BTreeSet<String>,
    /// Aggregates: each set of alternatives must be met.
    pub member_of: Vec<BTreeSet<String>>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A provider with everything a question may be about.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The provider.
    pub provider: provider::Model,
    /// What it offers.
    pub offers: BTreeMap<String, Inventory>,
    /// What is held of it.
    pub used: BTreeMap<String, i64>,
    /// Its traits.
    pub traits: BTreeSet<String>,
    /// Its aggregates.
    pub aggregates: BTreeSet<String>,
}

/// All providers as they are now.
pub async fn snapshot(db: &impl ConnectionTrait) -> Result<Vec<Snapshot>, PlacementError> {
    let rows = providers::all(db).await?;
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let (mut offers, mut used) = (
        providers::inventories_of(db, &ids).await?,
        providers::usages_of(db, &ids).await?,
    );
    let (mut traits, mut aggregates) = (
        providers::tags_of(db, "trait", &ids).await?,
        providers::tags_of(db, "aggregate", &ids).await?,
    );
    Ok(rows
        .into_iter()
        .map(|row| Snapshot {
            offers: offers.remove(&row.id).unwrap_or_default(),
            used: used.remove(&row.id).unwrap_or_default(),
            traits: traits.remove(&row.id).unwrap_or_default(),
            aggregates: aggregates.remove(&row.id).unwrap_or_default(),
            provider: row,
        })
        .collect())
}

/// Whether a provider meets all that is wanted.
pub fn matches(snapshot: &Snapshot, wanted: &Wanted) -> bool {
    let meets = |alternatives: &BTreeSet<String>, has: &BTreeSet<String>| {
        alternatives.iter().any(|name| has.contains(name))
    };
    wanted
        .required
        .iter()
        .all(|alternatives| meets(alternatives, &snapshot.traits))
        && wanted.forbidden.is_disjoint(&snapshot.traits)
        && wanted
            .member_of
            .iter()
            .all(|alternatives| meets(alternatives, &snapshot.aggregates))
        && wanted.resources.iter().all(|(class, amount)| {
            let used = snapshot.used.get(class).copied().unwrap_or(0);
            snapshot
                .offers
                .get(class)
                .is_some_and(|offer| offer.fits(used, *amount))
        })
}

/// The providers that could take the claim.
pub fn candidates<'a>(all: &'a [Snapshot], wanted: &Wanted) -> Vec<&'a Snapshot> {
    all.iter()
        .filter(|snapshot| matches(snapshot, wanted))
        .take(wanted.limit.unwrap_or(usize::MAX))
        .collect()
}
