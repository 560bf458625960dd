//! The tables of access rules: which requests application credentials are for. Rows only.

use super::migrations::{id, name, table};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{Alias, Index, MigrationName, MigrationTrait, SchemaManager},
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// One kind of request; a user's application credentials share it.
pub mod rule {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "access_rules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub user_id: String,
        pub service: String,
        pub path: String,
        pub method: String,
        /// SHA-256 of the three: they differ by case, which MySQL's keys do not know.
        pub digest: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// A rule of an application credential.
pub mod held {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "held_access_rules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub application_credential_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub access_rule_id: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// What tells rules of a user apart.
pub fn digest(service: &str, path: &str, method: &str) -> String {
    hex::encode(Sha256::digest(format!("{service}\0{path}\0{method}")))
}

/// The rules of application credentials, by credential. One whose rules are gone is there without any: it is for nothing,
/// while one that is not there is for everything.
pub async fn of(
    db: &impl ConnectionTrait,
    credentials: &[&str],
) -> Result<HashMap<String, Vec<rule::Model>>, DbErr> {
    let held = held::Entity::find()
        .filter(held::Column::ApplicationCredentialId.is_in(credentials.iter().copied()))
        .all(db)
        .await?;
    let mut found: HashMap<String, Vec<rule::Model>> = HashMap::new();
    if held.is_empty() {
        return Ok(found);
    }
    let rules = rule::Entity::find()
        .filter(rule::Column::Id.is_in(held.iter().map(|row| &row.access_rule_id)))
        .all(db)
        .await?;
    for row in held {
        let rule = rules.iter().find(|rule| rule.id == row.access_rule_id);
        let list = found.entry(row.application_credential_id).or_default();
        list.extend(rule.cloned());
    }
    Ok(found)
}

/// Forgets what an application credential holds.
pub async fn forget_credential(db: &impl ConnectionTrait, id: &str) -> Result<(), DbErr> {
    held::Entity::delete_many()
        .filter(held::Column::ApplicationCredentialId.eq(id))
        .exec(db)
        .await
        .map(drop)
}

/// Forgets a user's rules; the application credentials go with the user.
pub async fn forget_user(db: &impl ConnectionTrait, user_id: &str) -> Result<(), DbErr> {
    let rules = rule::Entity::find()
        .filter(rule::Column::UserId.eq(user_id))
        .all(db)
        .await?;
    if rules.is_empty() {
        return Ok(());
    }
    held::Entity::delete_many()
        .filter(held::Column::AccessRuleId.is_in(rules.iter().map(|row| &row.id)))
        .exec(db)
        .await?;
    rule::Entity::delete_many()
        .filter(rule::Column::UserId.eq(user_id))
        .exec(db)
        .await
        .map(drop)
}

/// Makes the tables.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0008_access_rules"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let rules = vec![
            id("id"),
            id("user_id"),
            name("service"),
            name("path"),
            id("method"),
            id("digest"),
        ];
        service_kit::store::create_table(manager, table("access_rules", &["id"], rules)).await?;
        let held = vec![id("application_credential_id"), id("access_rule_id")];
        let key = ["application_credential_id", "access_rule_id"];
        service_kit::store::create_table(manager, table("held_access_rules", &key, held)).await?;
        let mut unique = Index::create();
        unique
            .name("access_rules_unique")
            .table(Alias::new("access_rules"))
            .unique()
            .col(Alias::new("user_id"))
            .col(Alias::new("digest"));
        service_kit::store::create_index(manager, unique).await?;
        let mut by_rule = Index::create();
        by_rule
            .name("held_access_rules_rule")
            .table(Alias::new("held_access_rules"))
            .col(Alias::new("access_rule_id"));
        service_kit::store::create_index(manager, by_rule).await
    }
}
