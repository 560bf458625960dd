//! The schema, made from the entities so that the two cannot differ, and its indexes.

use async_trait::async_trait;
use sea_orm::{DbErr, EntityTrait, Schema};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager, prelude::*};

use super::entities::{
    action, aggregate, answer, flavor, group, host, key_pair, quota, server, service,
};

/// All migrations of the service's database.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(service_kit::work::Migration), Box::new(Tables)]
    }
}

struct Tables;

impl MigrationName for Tables {
    fn name(&self) -> &str {
        "compute_0001_tables"
    }
}

async fn table<E: EntityTrait>(manager: &SchemaManager<'_>, entity: E) -> Result<(), DbErr> {
    let create = Schema::new(manager.get_database_backend()).create_table_from_entity(entity);
    service_kit::store::create_table(manager, create).await
}

async fn index(
    manager: &SchemaManager<'_>,
    table: &str,
    columns: &[&str],
    unique: bool,
) -> Result<(), DbErr> {
    let mut create = Index::create();
    create
        .name(format!("{table}_{}", columns.join("_")))
        .table(Alias::new(table));
    for column in columns {
        create.col(Alias::new(*column));
    }
    if unique {
        create.unique();
    }
    service_kit::store::create_index(manager, create).await
}

#[async_trait]
impl MigrationTrait for Tables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table(manager, server::Entity).await?;
        table(manager, action::Entity).await?;
        table(manager, flavor::Entity).await?;
        table(manager, key_pair::Entity).await?;
        table(manager, service::Entity).await?;
        table(manager, host::Entity).await?;
        table(manager, aggregate::Entity).await?;
        table(manager, group::Entity).await?;
        table(manager, quota::Entity).await?;
        table(manager, answer::Entity).await?;
        index(manager, "servers", &["project_id", "deleted_at"], false).await?;
        index(manager, "servers", &["host", "deleted_at"], false).await?;
        index(manager, "server_actions", &["server_id"], false).await?;
        index(manager, "key_pairs", &["user_id", "name"], true).await?;
        index(manager, "services", &["host", "binary_name"], true).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "servers",
            "server_actions",
            "flavors",
            "key_pairs",
            "services",
            "hosts",
            "aggregates",
            "server_groups",
            "quotas",
            "answers",
        ] {
            manager
                .drop_table(Table::drop().table(Alias::new(name)).to_owned())
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use service_kit::testing::databases;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn migrations_that_were_broken_off_go_on() {
        databases::each(|db| async move { databases::migrate_again::<super::Migrator>(&db).await })
            .await;
    }
}
