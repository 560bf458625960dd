//! The tables beside users: how their passwords stand, what they were before, which one-time passwords were used. Rows
//! only; the rules are in `app/password_rules.rs`, and `app/accounts.rs` applies them.

use super::migrations::{flag, id, name, number, table, text};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{MigrationName, MigrationTrait, SchemaManager},
};

/// How a user's password stands. Whoever has no row is as one with zeros and `{}`.
pub mod account {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "accounts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: String,
        /// µs since 1970; 0: not known.
        pub password_set_at: i64,
        /// The user has set it, not somebody else.
        pub set_by_owner: bool,
        /// µs since 1970; 0: never.
        pub password_expires_at: i64,
        /// Wrong passwords since the last right one.
        pub failures: i64,
        /// µs since 1970.
        pub failed_at: i64,
        /// A JSON object.
        #[sea_orm(column_type = "Text")]
        pub options: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Passwords that a user had, the current one too, as far as they may not come again.
pub mod old_password {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "old_passwords")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: String,
        /// µs since 1970.
        #[sea_orm(primary_key, auto_increment = false)]
        pub set_at: i64,
        pub password_hash: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// The last step of which a one-time password was used.
pub mod totp_use {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "totp_uses")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub credential_id: String,
        pub user_id: String,
        pub step: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Forgets a user.
pub async fn forget(db: &impl ConnectionTrait, user_id: &str) -> Result<(), DbErr> {
    account::Entity::delete_by_id(user_id.to_owned())
        .exec(db)
        .await?;
    old_password::Entity::delete_many()
        .filter(old_password::Column::UserId.eq(user_id))
        .exec(db)
        .await?;
    totp_use::Entity::delete_many()
        .filter(totp_use::Column::UserId.eq(user_id))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes the tables.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0007_accounts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let accounts = vec![
            id("user_id"),
            number("password_set_at"),
            flag("set_by_owner"),
            number("password_expires_at"),
            number("failures"),
            number("failed_at"),
            text("options"),
        ];
        let tables = [
            table("accounts", &["user_id"], accounts),
            table(
                "old_passwords",
                &["user_id", "set_at"],
                vec![id("user_id"), number("set_at"), name("password_hash")],
            ),
            table(
                "totp_uses",
                &["credential_id"],
                vec![id("credential_id"), id("user_id"), number("step")],
            ),
        ];
        for statement in tables {
            service_kit::store::create_table(manager, statement).await?;
        }
        Ok(())
    }
}
