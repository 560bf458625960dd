//! The table of changes: one row a controller, with how often it has changed anything. Whoever has seen the sum of all knows
//! whether something was changed since.

use super::migrations::{id, number, table};
use sea_orm::{ActiveValue::Set, ExprTrait, entity::prelude::*, sea_query::Expr};
use sea_orm_migration::{
    async_trait,
    prelude::{MigrationName, MigrationTrait, SchemaManager},
};
use service_kit::store;

/// What one controller has done.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "changes")]
pub struct Model {
    /// The controller's name. Each writes its own row, so that none waits for another.
    #[sea_orm(primary_key, auto_increment = false)]
    pub writer: String,
    pub count: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// Makes the table.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0012_changes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![id("writer"), number("count")];
        store::create_table(manager, table("changes", &["writer"], columns)).await
    }
}

/// Changes of all controllers so far.
pub async fn sum(db: &DatabaseConnection) -> Result<i64, DbErr> {
    let rows = Entity::find().all(db).await?;
    Ok(rows.iter().map(|row| row.count).sum())
}

/// One more change of this controller.
pub async fn add(db: &DatabaseConnection, writer: &str) -> Result<(), DbErr> {
    let more = async || {
        let updated = Entity::update_many()
            .col_expr(Column::Count, Expr::col(Column::Count).add(1))
            .filter(Column::Writer.eq(writer))
            .exec(db)
            .await?;
        if updated.rows_affected > 0 {
            return Ok(());
        }
        let first = ActiveModel {
            writer: Set(writer.to_owned()),
            count: Set(1),
        };
        Entity::insert(first)
            .exec_without_returning(db)
            .await
            .map(|_| ())
    };
    match store::retry(more).await {
        // Another request was the first one.
        Err(error) if store::is_duplicate(&error) => store::retry(more).await,
        other => other,
    }
}
