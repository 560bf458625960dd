//! The table of when tokens were revoked. That they are is in `revocations`; this is for whoever asks since when.

use super::migrations::{id, number, table};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{MigrationName, MigrationTrait, SchemaManager},
};

/// A token was revoked.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocation_times")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub audit_id: String,
    /// µs since 1970.
    pub revoked_at: i64,
    /// When the token would have expired (s since 1970): then the row may go.
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// Makes the table.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0010_revocation_times"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![id("audit_id"), number("revoked_at"), number("expires_at")];
        let table = table("revocation_times", &["audit_id"], columns);
        service_kit::store::create_table(manager, table).await
    }
}
