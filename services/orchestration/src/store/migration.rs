//! Making the tables. A released migration is never changed: a new one is added.
use sea_orm::{DbBackend, DbErr, DeriveMigrationName};
use sea_orm_migration::prelude::{
    Alias, ColumnDef, Index, MigrationTrait, MigratorTrait, SchemaManager, Table,
};

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(service_kit::work::Migration), Box::new(Stacks)]
    }
}

#[derive(DeriveMigrationName)]
pub struct Stacks;

fn column(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

fn short(name: &str) -> ColumnDef {
    column(name).string_len(255).not_null().to_owned()
}

/// Templates may have 512 KiB: more than MySQL's `TEXT`.
fn long(name: &str, backend: DbBackend) -> ColumnDef {
    match backend {
        DbBackend::MySql => column(name).custom(Alias::new("MEDIUMTEXT")).to_owned(),
        _ => column(name).text().to_owned(),
    }
}

fn number(name: &str) -> ColumnDef {
    column(name).big_integer().to_owned()
}

fn boolean(name: &str) -> ColumnDef {
    column(name).boolean().not_null().to_owned()
}

fn key() -> ColumnDef {
    column("id")
        .string_len(36)
        .not_null()
        .primary_key()
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Stacks {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let table = |name: &str, columns: Vec<ColumnDef>| {
            let mut table = Table::create();
            table.table(Alias::new(name));
            for mut column in columns {
                table.col(&mut column);
            }
            table
        };
        let stacks = vec![
            key(),
            column("project_id").string_len(64).not_null().to_owned(),
            short("name"),
            column("live_name").string_len(320).unique_key().to_owned(),
            short("user_id"),
            short("user_name"),
            short("project_name"),
            column("trust_id").string_len(64).to_owned(),
            short("action"),
            short("status"),
            long("status_reason", backend).not_null().to_owned(),
            number("traversal").not_null().to_owned(),
            long("definition", backend).not_null().to_owned(),
            long("previous", backend),
            boolean("disable_rollback"),
            number("timeout_mins").not_null().to_owned(),
            number("deadline").not_null().to_owned(),
            long("tags", backend).not_null().to_owned(),
            number("created_at").not_null().to_owned(),
            number("updated_at"),
            number("deleted_at"),
        ];
        service_kit::store::create_table(manager, table("stacks", stacks)).await?;
        let resources = vec![
            key(),
            column("stack_id").string_len(36).not_null().to_owned(),
            short("name"),
            short("type_name"),
            column("physical_id").string_len(255).to_owned(),
            short("action"),
            short("status"),
            long("status_reason", backend).not_null().to_owned(),
            long("properties", backend).not_null().to_owned(),
            long("attributes", backend).not_null().to_owned(),
            long("metadata", backend).not_null().to_owned(),
            long("requires", backend).not_null().to_owned(),
            boolean("retain"),
            boolean("replaced"),
            number("created_at").not_null().to_owned(),
            number("updated_at").not_null().to_owned(),
        ];
        service_kit::store::create_table(manager, table("resources", resources)).await?;
        let events = vec![
            number("seq")
                .not_null()
                .auto_increment()
                .primary_key()
                .to_owned(),
            short("id"),
            column("stack_id").string_len(36).not_null().to_owned(),
            short("resource_name"),
            short("type_name"),
            short("physical_id"),
            short("action"),
            short("status"),
            long("reason", backend).not_null().to_owned(),
            number("time").not_null().to_owned(),
        ];
        service_kit::store::create_table(manager, table("events", events)).await?;
        for (name, of, on) in [
            ("stacks_project", "stacks", "project_id"),
            ("resources_stack", "resources", "stack_id"),
            ("events_stack", "events", "stack_id"),
        ] {
            let mut index = Index::create();
            index.name(name).table(Alias::new(of)).col(Alias::new(on));
            service_kit::store::create_index(manager, index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["events", "resources", "stacks"] {
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
