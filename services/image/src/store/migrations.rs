//! Image's schema, in the order in which it grew.

use sea_orm_migration::{
    async_trait,
    prelude::{
        Alias, ColumnDef, DbErr, Index, MigrationName, MigrationTrait, MigratorTrait,
        SchemaManager, Table, TableCreateStatement,
    },
};

/// Every migration.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(First),
            Box::new(service_kit::work::Migration),
            Box::new(Imports),
            Box::new(super::metadefs::Migration),
        ]
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "image_0001_first"
    }
}

/// A column that is never null.
pub fn word(name: &str) -> ColumnDef {
    sized(name, 64)
}

fn name(name: &str) -> ColumnDef {
    sized(name, 255)
}

/// A column that is never null.
pub fn sized(name: &str, length: u32) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .string_len(length)
        .not_null()
        .to_owned()
}

/// A column that is never null.
pub fn text(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .text()
        .not_null()
        .to_owned()
}

/// A column that is never null.
pub fn flag(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .boolean()
        .not_null()
        .to_owned()
}

/// A column that is never null.
pub fn number(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .big_integer()
        .not_null()
        .to_owned()
}

fn small(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .integer()
        .not_null()
        .to_owned()
}

/// A table with these columns.
pub fn table(name: &str, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create().table(Alias::new(name)).to_owned();
    for column in columns {
        table.col(column);
    }
    table
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut images = Table::create().table(Alias::new("images")).to_owned();
        for column in [
            word("id").primary_key().to_owned(),
            name("name"),
            word("owner"),
            word("status"),
            word("visibility"),
            flag("protected"),
            flag("os_hidden"),
            word("disk_format"),
            word("container_format"),
            small("min_disk"),
            small("min_ram"),
            number("size"),
            number("virtual_size"),
            word("checksum"),
            name("os_hash_value"),
            text("tags"),
            text("properties"),
            name("upload_host"),
            number("created_at"),
            number("updated_at"),
            number("revision"),
        ] {
            images.col(column);
        }
        service_kit::store::create_table(manager, images).await?;
        let mut members = Table::create().table(Alias::new("members")).to_owned();
        for column in [
            word("image_id"),
            word("member_id"),
            word("status"),
            number("created_at"),
            number("updated_at"),
        ] {
            members.col(column);
        }
        members.primary_key(
            Index::create()
                .col(Alias::new("image_id"))
                .col(Alias::new("member_id")),
        );
        service_kit::store::create_table(manager, members).await
    }
}

/// Imports: which stores have an image, and tasks.
struct Imports;

impl MigrationName for Imports {
    fn name(&self) -> &str {
        "image_0002_imports"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Imports {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("images", "stores").await? {
            let column = sized("stores", 1024).default("").to_owned();
            let mut images = Table::alter();
            images.table(Alias::new("images")).add_column(column);
            manager.alter_table(images.to_owned()).await?;
        }
        let tasks = table(
            "tasks",
            vec![
                word("id").primary_key().to_owned(),
                word("kind"),
                word("status"),
                word("owner"),
                word("image_id"),
                word("user_id"),
                word("request_id"),
                text("input"),
                text("result"),
                text("message"),
                number("created_at"),
                number("updated_at"),
                number("expires_at"),
            ],
        );
        service_kit::store::create_table(manager, tasks).await?;
        let index = Index::create()
            .name("tasks_image")
            .table(Alias::new("tasks"))
            .col(Alias::new("image_id"))
            .to_owned();
        service_kit::store::create_index(manager, index).await
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
