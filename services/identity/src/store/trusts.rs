//! The table of trusts: who may act for whom. Rows only; what they mean is in `app/trusts.rs`.

use super::migrations::{flag, id, number, table, text};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{Alias, Index, MigrationName, MigrationTrait, SchemaManager},
};

/// The trustor lets the trustee act with some of the trustor's roles on one project.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "trusts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub trustor_user_id: String,
    pub trustee_user_id: String,
    pub project_id: String,
    /// Tokens made by it are the trustor's, not the trustee's.
    pub impersonation: bool,
    /// Role ids as a JSON list.
    #[sea_orm(column_type = "Text")]
    pub roles: String,
    /// µs since 1970; 0: never.
    pub expires_at: i64,
    /// Tokens that may still be made; -1: any number.
    pub remaining_uses: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// Makes the table.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0002_trusts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![
            id("id"),
            id("trustor_user_id"),
            id("trustee_user_id"),
            id("project_id"),
            flag("impersonation"),
            text("roles"),
            number("expires_at"),
            number("remaining_uses"),
        ];
        service_kit::store::create_table(manager, table("trusts", &["id"], columns)).await?;
        for column in ["trustor_user_id", "trustee_user_id"] {
            let mut index = Index::create();
            index
                .name(format!("trusts_{column}"))
                .table(Alias::new("trusts"))
                .col(Alias::new(column));
            service_kit::store::create_index(manager, index).await?;
        }
        Ok(())
    }
}
