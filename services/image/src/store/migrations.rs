//! Image's schema, in the order in which it grew.

use sea_orm_migration::{
    async_trait,
    prelude::{
        Alias, ColumnDef, DbErr, Index, MigrationName, MigrationTrait, MigratorTrait,
        SchemaManager, Table,
    },
};

/// Every migration.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "image_0001_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let word = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .string_len(64)
                .not_null()
                .to_owned()
        };
        let name = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .string_len(255)
                .not_null()
                .to_owned()
        };
        let text = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .text()
                .not_null()
                .to_owned()
        };
        let flag = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .boolean()
                .not_null()
                .to_owned()
        };
        let number = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .big_integer()
                .not_null()
                .to_owned()
        };
        let small = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .integer()
                .not_null()
                .to_owned()
        };
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

#[cfg(test)]
mod tests {
    use service_kit::testing::databases;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn migrations_that_were_broken_off_go_on() {
        databases::each(|db| async move { databases::migrate_again::<super::Migrator>(&db).await })
            .await;
    }
}
