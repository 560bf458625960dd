//! The tables of OS-EP-FILTER: which endpoints a project's catalogue shows. Rows only; what follows from them is in
//! `app/endpoint_filter.rs`.

use super::migrations::{id, name, table, text};
use sea_orm::entity::prelude::*;
use sea_orm_migration::{
    async_trait,
    prelude::{Alias, Index, MigrationName, MigrationTrait, SchemaManager},
};

/// Endpoints by what they have in common.
pub mod group {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "endpoint_groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        #[sea_orm(column_type = "Text")]
        pub description: String,
        /// A JSON object.
        #[sea_orm(column_type = "Text")]
        pub filters: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// A project shows an endpoint.
pub mod project_endpoint {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "project_endpoints")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub endpoint_id: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// A project shows the endpoints of a group.
pub mod project_group {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "project_endpoint_groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub endpoint_group_id: String,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Forgets a project.
pub async fn forget_project(db: &impl ConnectionTrait, id: &str) -> Result<(), DbErr> {
    project_endpoint::Entity::delete_many()
        .filter(project_endpoint::Column::ProjectId.eq(id))
        .exec(db)
        .await?;
    project_group::Entity::delete_many()
        .filter(project_group::Column::ProjectId.eq(id))
        .exec(db)
        .await?;
    Ok(())
}

/// Forgets endpoints.
pub async fn forget_endpoints(db: &impl ConnectionTrait, ids: &[String]) -> Result<(), DbErr> {
    if ids.is_empty() {
        return Ok(());
    }
    project_endpoint::Entity::delete_many()
        .filter(project_endpoint::Column::EndpointId.is_in(ids))
        .exec(db)
        .await?;
    Ok(())
}

/// Makes the tables.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "identity_0006_endpoint_filter"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let groups = vec![id("id"), name("name"), text("description"), text("filters")];
        let tables = [
            table("endpoint_groups", &["id"], groups),
            table(
                "project_endpoints",
                &["project_id", "endpoint_id"],
                vec![id("project_id"), id("endpoint_id")],
            ),
            table(
                "project_endpoint_groups",
                &["project_id", "endpoint_group_id"],
                vec![id("project_id"), id("endpoint_group_id")],
            ),
        ];
        for statement in tables {
            service_kit::store::create_table(manager, statement).await?;
        }
        for (table, column) in [
            ("project_endpoints", "endpoint_id"),
            ("project_endpoint_groups", "endpoint_group_id"),
        ] {
            let mut index = Index::create();
            index
                .name(format!("{table}_{column}"))
                .table(Alias::new(table))
                .col(Alias::new(column));
            service_kit::store::create_index(manager, index).await?;
        }
        Ok(())
    }
}
