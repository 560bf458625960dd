//! Claims: a consumer takes parts of providers, all or nothing. Two claims at once on one provider meet at its
//! generation: the slower one is tried again against what is then left.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    sea_query::Expr,
};
use service_kit::store;

use super::names::{self, Kind};
use super::{App, PlacementError, providers};
use crate::store::{allocation, consumer, provider};

/// Amounts by class.
pub type Amounts = BTreeMap<String, i64>;

/// What a consumer is to hold from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Consumer.
    pub consumer: String,
    /// Its project.
    pub project_id: String,
    /// Its user.
    pub user_id: String,
    /// Its kind.
    pub kind: String,
    /// The generation that the caller read: `Some(None)` for a new consumer; `None` when the caller's API has none.
    pub generation: Option<Option<i64>>,
    /// Amounts by provider; none at all gives everything back.
    pub parts: BTreeMap<String, Amounts>,
}

/// What a consumer holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The consumer; `None` when it holds nothing.
    pub consumer: Option<consumer::Model>,
    /// Amounts by provider.
    pub parts: BTreeMap<String, Amounts>,
    /// Generations of those providers.
    pub generations: BTreeMap<String, i64>,
}

/// What a consumer holds now.
pub async fn held(db: &impl ConnectionTrait, consumer_id: &str) -> Result<Held, PlacementError> {
    let rows = allocation::Entity::find()
        .filter(allocation::Column::ConsumerId.eq(consumer_id))
        .all(db)
        .await?;
    let mut parts: BTreeMap<String, Amounts> = BTreeMap::new();
    for row in rows {
        parts
            .entry(row.provider_id)
            .or_default()
            .insert(row.class, row.used);
    }
    let ids: Vec<&String> = parts.keys().collect();
    let generations = provider::Entity::find()
        .filter(provider::Column::Id.is_in(ids))
        .all(db)
        .await?;
    let consumer = consumer::Entity::find_by_id(consumer_id).one(db).await?;
    Ok(Held {
        consumer,
        parts,
        generations: generations
            .into_iter()
            .map(|row| (row.id, row.generation))
            .collect(),
    })
}

/// Makes claims take effect, all of them or none.
pub async fn set(app: &App, claims: &[Claim]) -> Result<(), PlacementError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        for claim in claims {
            set_one(&tx, claim).await?;
        }
        tx.commit().await?;
        Ok(())
    })
    .await
}

async fn set_one(tx: &DatabaseTransaction, claim: &Claim) -> Result<(), PlacementError> {
    let before = held(tx, &claim.consumer).await?;
    swap_consumer(tx, claim, before.consumer.as_ref()).await?;
    let mut ids: Vec<String> = claim
        .parts
        .keys()
        .chain(before.parts.keys())
        .cloned()
        .collect();
    ids.sort();
    ids.dedup();
    let rows = provider::Entity::find()
        .filter(provider::Column::Id.is_in(&ids))
        .all(tx)
        .await?;
    for id in claim.parts.keys() {
        if !rows.iter().any(|row| row.id == *id) {
            return Err(PlacementError::Bad(format!(
                "Allocation for resource provider '{id}' that does not exist."
            )));
        }
    }
    names::check(
        tx,
        Kind::Class,
        claim.parts.values().flat_map(Amounts::keys),
    )
    .await?;
    for row in &rows {
        providers::swap(tx, row).await?;
    }
    allocation::Entity::delete_many()
        .filter(allocation::Column::ConsumerId.eq(&claim.consumer))
        .exec(tx)
        .await?;
    let (offers, used) = (
        providers::inventories_of(tx, &ids).await?,
        providers::usages_of(tx, &ids).await?,
    );
    for (id, amounts) in &claim.parts {
        for (class, amount) in amounts {
            let unable = |why: &str| {
                PlacementError::Refused(format!(
                    "Unable to allocate inventory: Unable to create allocation for '{class}' on resource provider '{id}'. {why}"
                ))
            };
            let offer = offers
                .get(id)
                .and_then(|offers| offers.get(class))
                .ok_or_else(|| unable("The resource provider has no inventory of it."))?;
            let used = used
                .get(id)
                .and_then(|used| used.get(class))
                .copied()
                .unwrap_or(0);
            if !offer.fits(used, *amount) {
                return Err(unable(
                    "The requested amount would exceed the capacity or violate its units.",
                ));
            }
            let row = allocation::ActiveModel {
                consumer_id: Set(claim.consumer.clone()),
                provider_id: Set(id.clone()),
                class: Set(class.clone()),
                used: Set(*amount),
            };
            allocation::Entity::insert(row)
                .exec_without_returning(tx)
                .await?;
        }
    }
    Ok(())
}

/// Grows the consumer's generation, makes the consumer, or forgets it with its last claim.
async fn swap_consumer(
    tx: &DatabaseTransaction,
    claim: &Claim,
    before: Option<&consumer::Model>,
) -> Result<(), PlacementError> {
    let actual = before.map(|before| before.generation);
    if let Some(given) = claim.generation
        && given != actual
    {
        let shown = |generation: Option<i64>| {
            generation.map_or("null".to_owned(), |generation| generation.to_string())
        };
        return Err(PlacementError::Generation(format!(
            "consumer generation conflict - expected {} but got {}",
            shown(actual),
            shown(given)
        )));
    }
    match before {
        Some(before) if claim.parts.is_empty() => {
            consumer::Entity::delete_by_id(&before.id).exec(tx).await?;
        }
        Some(before) => {
            let result = consumer::Entity::update_many()
                .col_expr(
                    consumer::Column::Generation,
                    Expr::value(before.generation + 1),
                )
                .col_expr(
                    consumer::Column::ProjectId,
                    Expr::value(claim.project_id.clone()),
                )
                .col_expr(consumer::Column::UserId, Expr::value(claim.user_id.clone()))
                .col_expr(consumer::Column::Kind, Expr::value(claim.kind.clone()))
                .filter(consumer::Column::Id.eq(&before.id))
                .filter(consumer::Column::Generation.eq(before.generation))
                .exec(tx)
                .await?;
            if result.rows_affected != 1 {
                return Err(PlacementError::Generation(format!(
                    "consumer {} was changed by somebody else",
                    before.id
                )));
            }
        }
        None if claim.parts.is_empty() => {}
        None => {
            let row = consumer::ActiveModel {
                id: Set(claim.consumer.clone()),
                project_id: Set(claim.project_id.clone()),
                user_id: Set(claim.user_id.clone()),
                kind: Set(claim.kind.clone()),
                generation: Set(1),
            };
            match consumer::Entity::insert(row)
                .exec_without_returning(tx)
                .await
            {
                Ok(_) => {}
                Err(error) if store::is_duplicate(&error) => {
                    return Err(PlacementError::Generation(format!(
                        "consumer {} was made by somebody else",
                        claim.consumer
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Gives back all that a consumer holds; `false` when that is nothing.
pub async fn release(app: &App, consumer_id: &str) -> Result<bool, PlacementError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let before = held(&tx, consumer_id).await?;
        if before.parts.is_empty() {
            return Ok(false);
        }
        let claim = Claim {
            consumer: consumer_id.to_owned(),
            project_id: String::new(),
            user_id: String::new(),
            kind: String::new(),
            generation: None,
            parts: BTreeMap::new(),
        };
        set_one(&tx, &claim).await?;
        tx.commit().await?;
        Ok(true)
    })
    .await
}
