//! The tables of limits: what a cloud's resources are limited to by default, and what projects and domains have instead.
//! Rows only; who may have which is in `api/limits.rs` and `api/registered_limits.rs`.

use super::migrations::{id, name, number, table, text};
use sea_orm::{ConnectionTrait, ExprTrait, entity::prelude::*, sea_query::Expr};
use sea_orm_migration::{
    async_trait,
    prelude::{Alias, Index, MigrationName, MigrationTrait, SchemaManager},
};

/// What a resource of a service is limited to, where nothing else is said.
pub mod registered {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "registered_limits")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub service_id: String,
        /// Empty: in every region.
        pub region_id: String,
        pub resource_name: String,
        pub default_limit: i64,
        #[sea_orm(column_type = "Text")]
        pub description: String,
        /// Grows with every limit that is made from it, so that it does not go away meanwhile.
        pub revision: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// What one project or domain has instead of a registered limit.
pub mod limit {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "limits")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub registered_limit_id: String,
        /// Empty: it is a domain's.
        pub project_id: String,
        /// Empty: it is a project's.
        pub domain_id: String,
        pub resource_limit: i64,
        #[sea_orm(column_type = "Text")]
        pub description: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Holds registered limits in place for a transaction that makes limits from them; false when one is gone.
pub async fn hold(db: &impl ConnectionTrait, ids: &[String]) -> Result<bool, DbErr> {
    use registered::{Column, Entity};
    let held = Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.is_in(ids))
        .exec(db)
        .await?;
    Ok(held.rows_affected == ids.len() as u64)
}

/// Removes the registered limits of a service or region, with what was made from them.
pub async fn remove_of(
    db: &impl ConnectionTrait,
    column: registered::Column,
    value: &str,
) -> Result<(), DbErr> {
    let rows = registered::Entity::find()
        .filter(column.eq(value))
        .all(db)
        .await?;
    let ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    limit::Entity::delete_many()
        .filter(limit::Column::RegisteredLimitId.is_in(&ids))
        .exec(db)
        .await?;
    registered::Entity::delete_many()
        .filter(registered::Column::Id.is_in(&ids))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes the tables.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0005_limits"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let registered = vec![
            id("id"),
            id("service_id"),
            name("region_id"),
            name("resource_name"),
            number("default_limit"),
            text("description"),
            number("revision"),
        ];
        let limits = vec![
            id("id"),
            id("registered_limit_id"),
            id("project_id"),
            id("domain_id"),
            number("resource_limit"),
            text("description"),
        ];
        for (name, columns) in [("registered_limits", registered), ("limits", limits)] {
            service_kit::store::create_table(manager, table(name, &["id"], columns)).await?;
        }
        let unique = [
            (
                "registered_limits",
                ["service_id", "region_id", "resource_name"],
            ),
            ("limits", ["registered_limit_id", "project_id", "domain_id"]),
        ];
        for (table, columns) in unique {
            let mut index = Index::create();
            index
                .name(format!("{table}_unique"))
                .table(Alias::new(table))
                .unique();
            for column in columns {
                index.col(Alias::new(column));
            }
            service_kit::store::create_index(manager, index).await?;
        }
        Ok(())
    }
}
