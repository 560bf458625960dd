//! The table of tags of projects. Rows only: which names are tags is in `app/tags.rs`.

use super::migrations::{id, name, table};
use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*};
use sea_orm_migration::{
    async_trait,
    prelude::{MigrationName, MigrationTrait, SchemaManager},
};
use sha2::{Digest, Sha256};

/// One tag of one project.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "project_tags")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: String,
    /// SHA-256 of the name: `Red` and `red` are two tags, and MySQL's keys know no case.
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: String,
    pub name: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// The second half of a row's key.
pub fn digest(name: &str) -> String {
    hex::encode(Sha256::digest(name.as_bytes()))
}

/// Gives a project these tags and no others.
pub async fn replace(
    db: &impl ConnectionTrait,
    project_id: &str,
    tags: &[String],
) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::ProjectId.eq(project_id))
        .exec(db)
        .await?;
    if tags.is_empty() {
        return Ok(());
    }
    let rows = tags.iter().map(|name| row(project_id, name));
    Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

/// A row that can be inserted.
pub fn row(project_id: &str, name: &str) -> ActiveModel {
    ActiveModel {
        project_id: Set(project_id.to_owned()),
        digest: Set(digest(name)),
        name: Set(name.to_owned()),
    }
}

/// Makes the table.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0004_project_tags"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![id("project_id"), id("digest"), name("name")];
        let table = table("project_tags", &["project_id", "digest"], columns);
        service_kit::store::create_table(manager, table).await
    }
}
