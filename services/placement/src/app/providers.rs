//! Providers: what they offer, their traits and aggregates. Every change compares and swaps the provider's generation.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use service_kit::store;

use super::names::{self, Kind};
use super::{App, PlacementError};
use crate::store::{allocation, inventory, provider, tag};

/// How much of a class a provider offers, as on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// All of it.
    pub total: i64,
    /// Kept back.
    #[serde(default)]
    pub reserved: i64,
    /// Smallest claim.
    #[serde(default = "one")]
    pub min_unit: i64,
    /// Largest claim.
    #[serde(default = "most")]
    pub max_unit: i64,
    /// Claims are multiples of this.
    #[serde(default = "one")]
    pub step_size: i64,
    /// How many times over it may be promised.
    #[serde(default = "once")]
    pub allocation_ratio: f64,
}

fn one() -> i64 {
    1
}

fn most() -> i64 {
    i64::from(i32::MAX)
}

fn once() -> f64 {
    1.0
}

impl Inventory {
    /// How much may be promised in all.
    pub fn capacity(&self) -> i64 {
        ((self.total - self.reserved) as f64 * self.allocation_ratio) as i64
    }

    /// Whether `amount` may be claimed on top of `used`.
    pub fn fits(&self, used: i64, amount: i64) -> bool {
        amount >= self.min_unit
            && amount <= self.max_unit
            && amount % self.step_size == 0
            && used + amount <= self.capacity()
    }

    fn check(&self, class: &str) -> Result<(), PlacementError> {
        let ok = self.total >= 1
            && (0..=self.total).contains(&self.reserved)
            && self.min_unit >= 1
            && self.max_unit >= 1
            && self.step_size >= 1
            && self.allocation_ratio.is_finite()
            && self.allocation_ratio > 0.0
            && self.total <= most();
        if ok {
            Ok(())
        } else {
            Err(PlacementError::Bad(format!(
                "Invalid inventory for '{class}'."
            )))
        }
    }
}

/// One provider.
pub async fn find(db: &impl ConnectionTrait, id: &str) -> Result<provider::Model, PlacementError> {
    let found = provider::Entity::find_by_id(id).one(db).await?;
    found.ok_or_else(|| {
        PlacementError::NotFound(format!("No resource provider with uuid {id} found"))
    })
}

/// All providers by name.
pub async fn all(db: &impl ConnectionTrait) -> Result<Vec<provider::Model>, PlacementError> {
    Ok(provider::Entity::find()
        .order_by_asc(provider::Column::Name)
        .all(db)
        .await?)
}

/// Makes a provider.
pub async fn create(app: &App, id: &str, name: &str) -> Result<provider::Model, PlacementError> {
    let row = provider::ActiveModel {
        id: Set(id.to_owned()),
        name: Set(name.to_owned()),
        generation: Set(0),
    };
    match store::retry(|| provider::Entity::insert(row.clone()).exec_without_returning(&app.db))
        .await
    {
        Ok(_) => Ok(provider::Model {
            id: id.to_owned(),
            name: name.to_owned(),
            generation: 0,
        }),
        Err(error) if store::is_duplicate(&error) => Err(PlacementError::Refused(format!(
            "Conflicting resource provider {name} already exists."
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Gives a provider another name.
pub async fn rename(app: &App, id: &str, name: &str) -> Result<provider::Model, PlacementError> {
    let mut row = find(&app.db, id).await?;
    let update = provider::Entity::update_many()
        .col_expr(provider::Column::Name, Expr::value(name))
        .filter(provider::Column::Id.eq(id));
    match update.exec(&app.db).await {
        Ok(_) => {
            row.name = name.to_owned();
            Ok(row)
        }
        Err(error) if store::is_duplicate(&error) => Err(PlacementError::Refused(format!(
            "Conflicting resource provider {name} already exists."
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a provider of which nobody holds anything.
pub async fn delete(app: &App, id: &str) -> Result<(), PlacementError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let row = find(&tx, id).await?;
        // Swapped first: a claim that comes at the same time loses or wins, but never stays on nothing.
        swap(&tx, &row).await?;
        let held = allocation::Entity::find()
            .filter(allocation::Column::ProviderId.eq(id))
            .one(&tx)
            .await?;
        if held.is_some() {
            return Err(PlacementError::Refused(format!(
                "Unable to delete resource provider {id}: Resource provider has allocations."
            )));
        }
        inventory::Entity::delete_many()
            .filter(inventory::Column::ProviderId.eq(id))
            .exec(&tx)
            .await?;
        tag::Entity::delete_many()
            .filter(tag::Column::ProviderId.eq(id))
            .exec(&tx)
            .await?;
        provider::Entity::delete_by_id(id).exec(&tx).await?;
        tx.commit().await?;
        Ok(())
    })
    .await
}

/// Grows a provider's generation, if it is still what was read.
pub async fn swap(tx: &impl ConnectionTrait, row: &provider::Model) -> Result<(), PlacementError> {
    let result = provider::Entity::update_many()
        .col_expr(
            provider::Column::Generation,
            Expr::value(row.generation + 1),
        )
        .filter(provider::Column::Id.eq(&row.id))
        .filter(provider::Column::Generation.eq(row.generation))
        .exec(tx)
        .await?;
    if result.rows_affected == 1 {
        Ok(())
    } else {
        Err(PlacementError::Raced(row.id.clone()))
    }
}

/// What a provider offers.
pub async fn inventories(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<BTreeMap<String, Inventory>, PlacementError> {
    Ok(inventories_of(db, &[id.to_owned()])
        .await?
        .remove(id)
        .unwrap_or_default())
}

/// What providers offer, by provider.
pub async fn inventories_of(
    db: &impl ConnectionTrait,
    ids: &[String],
) -> Result<BTreeMap<String, BTreeMap<String, Inventory>>, PlacementError> {
    let rows = inventory::Entity::find()
        .filter(inventory::Column::ProviderId.is_in(ids))
        .all(db)
        .await?;
    let mut out: BTreeMap<String, BTreeMap<String, Inventory>> = BTreeMap::new();
    for row in rows {
        let offer = Inventory {
            total: row.total,
            reserved: row.reserved,
            min_unit: row.min_unit,
            max_unit: row.max_unit,
            step_size: row.step_size,
            allocation_ratio: row.allocation_ratio,
        };
        out.entry(row.provider_id)
            .or_default()
            .insert(row.class, offer);
    }
    Ok(out)
}

/// How much of each class of providers is held, by provider.
pub async fn usages_of(
    db: &impl ConnectionTrait,
    ids: &[String],
) -> Result<BTreeMap<String, BTreeMap<String, i64>>, PlacementError> {
    let rows = allocation::Entity::find()
        .filter(allocation::Column::ProviderId.is_in(ids))
        .all(db)
        .await?;
    let mut out: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for row in rows {
        *out.entry(row.provider_id)
            .or_default()
            .entry(row.class)
            .or_default() += row.used;
    }
    Ok(out)
}

/// Replaces what a provider offers (`only`: one class of it); `generation` is what the caller read, if it says so.
/// Returns the new generation.
pub async fn set_inventories(
    app: &App,
    id: &str,
    generation: Option<i64>,
    offers: &BTreeMap<String, Inventory>,
    only: Option<&str>,
) -> Result<i64, PlacementError> {
    for (class, offer) in offers {
        offer.check(class)?;
    }
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let row = expected(&tx, id, generation).await?;
        names::check(&tx, Kind::Class, offers.keys()).await?;
        swap(&tx, &row).await?;
        let used = usages_of(&tx, &[id.to_owned()])
            .await?
            .remove(id)
            .unwrap_or_default();
        let gone =
            |class: &String| !offers.contains_key(class) && only.is_none_or(|only| only == class);
        if let Some((class, _)) = used.iter().find(|(class, used)| **used > 0 && gone(class)) {
            return Err(PlacementError::Refused(format!(
                "Inventory for '{class}' on resource provider '{id}' in use."
            )));
        }
        let mut delete =
            inventory::Entity::delete_many().filter(inventory::Column::ProviderId.eq(id));
        if let Some(only) = only {
            delete = delete.filter(inventory::Column::Class.eq(only));
        }
        let removed = delete.exec(&tx).await?.rows_affected;
        if removed == 0 && offers.is_empty() && only.is_some() {
            return Err(PlacementError::NotFound(format!(
                "No inventory of class {} found for delete",
                only.unwrap_or_default()
            )));
        }
        for (class, offer) in offers {
            let row = inventory::ActiveModel {
                provider_id: Set(id.to_owned()),
                class: Set(class.clone()),
                total: Set(offer.total),
                reserved: Set(offer.reserved),
                min_unit: Set(offer.min_unit),
                max_unit: Set(offer.max_unit),
                step_size: Set(offer.step_size),
                allocation_ratio: Set(offer.allocation_ratio),
            };
            inventory::Entity::insert(row)
                .exec_without_returning(&tx)
                .await?;
        }
        tx.commit().await?;
        Ok(row.generation + 1)
    })
    .await
}

async fn expected(
    tx: &impl ConnectionTrait,
    id: &str,
    generation: Option<i64>,
) -> Result<provider::Model, PlacementError> {
    let row = find(tx, id).await?;
    if generation.is_some_and(|generation| generation != row.generation) {
        return Err(PlacementError::Generation(format!(
            "resource provider generation conflict: actual: {}, given: {}",
            row.generation,
            generation.unwrap_or_default()
        )));
    }
    Ok(row)
}

/// Traits or aggregates of providers, by provider.
pub async fn tags_of(
    db: &impl ConnectionTrait,
    kind: &str,
    ids: &[String],
) -> Result<BTreeMap<String, BTreeSet<String>>, PlacementError> {
    let rows = tag::Entity::find()
        .filter(tag::Column::Kind.eq(kind))
        .filter(tag::Column::ProviderId.is_in(ids))
        .all(db)
        .await?;
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        out.entry(row.provider_id).or_default().insert(row.name);
    }
    Ok(out)
}

/// Replaces a provider's traits or aggregates. Returns the new generation.
pub async fn set_tags(
    app: &App,
    kind: &str,
    id: &str,
    generation: Option<i64>,
    tags: &BTreeSet<String>,
) -> Result<i64, PlacementError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let row = expected(&tx, id, generation).await?;
        if kind == "trait" {
            names::check(&tx, Kind::Trait, tags).await?;
        }
        swap(&tx, &row).await?;
        tag::Entity::delete_many()
            .filter(tag::Column::Kind.eq(kind))
            .filter(tag::Column::ProviderId.eq(id))
            .exec(&tx)
            .await?;
        for name in tags {
            let new = tag::ActiveModel {
                kind: Set(kind.to_owned()),
                provider_id: Set(id.to_owned()),
                name: Set(name.clone()),
            };
            tag::Entity::insert(new).exec_without_returning(&tx).await?;
        }
        tx.commit().await?;
        Ok(row.generation + 1)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_steps_and_ratio() {
        let offer = Inventory {
            total: 10,
            reserved: 2,
            min_unit: 2,
            max_unit: 6,
            step_size: 2,
            allocation_ratio: 1.5,
        };
        assert_eq!(offer.capacity(), 12);
        for (used, amount, fits) in [
            (0, 2, true),
            (0, 1, false),
            (0, 3, false),
            (0, 8, false),
            (6, 6, true),
            (8, 6, false),
        ] {
            assert_eq!(offer.fits(used, amount), fits, "{used} {amount}");
        }
    }
}
