//! The table of credentials: what users let identity keep for them (EC2 keys, TOTP seeds, certificates). Rows only: what
//! the sealed content is, and who may read it, is in `app/credentials.rs`.

use super::migrations::{id, name, table, text};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{Alias, Index, MigrationName, MigrationTrait, SchemaManager},
};

/// One credential.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "credentials")]
pub struct Model {
    /// Of an EC2 credential the SHA-256 of its access key, else random.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub user_id: String,
    /// Empty without.
    pub project_id: String,
    /// `ec2`, `totp`, `cert`, or any other word.
    pub kind: String,
    /// The content, encrypted.
    #[sea_orm(column_type = "Text")]
    pub sealed: String,
    #[sea_orm(column_type = "Text")]
    pub extra: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// Makes the table.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0003_credentials"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![
            id("id"),
            id("user_id"),
            id("project_id"),
            name("kind"),
            text("sealed"),
            text("extra"),
        ];
        service_kit::store::create_table(manager, table("credentials", &["id"], columns)).await?;
        for column in ["user_id", "project_id"] {
            let mut index = Index::create();
            index
                .name(format!("credentials_{column}"))
                .table(Alias::new("credentials"))
                .col(Alias::new(column));
            service_kit::store::create_index(manager, index).await?;
        }
        Ok(())
    }
}
