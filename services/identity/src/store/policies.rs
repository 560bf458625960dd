//! The table of policies: texts that identity keeps for others and does not read.

use super::migrations::{id, name, table, text};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{MigrationName, MigrationTrait, SchemaManager},
};

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "policies")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// A media type: `application/json`.
    pub kind: String,
    #[sea_orm(column_type = "Text")]
    pub blob: String,
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
        "identity_0009_policies"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![id("id"), name("kind"), text("blob"), text("extra")];
        service_kit::store::create_table(manager, table("policies", &["id"], columns)).await
    }
}
