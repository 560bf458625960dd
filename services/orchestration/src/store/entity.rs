//! The tables: stacks, their resources, their events. Times are milliseconds since 1970.

/// A stack; deleted ones stay, without a live name, so that they can still be shown.
pub mod stack {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "stacks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub name: String,
        /// `<project>/<name>` while the stack lives, null afterwards: unique.
        #[sea_orm(nullable)]
        pub live_name: Option<String>,
        pub user_id: String,
        pub user_name: String,
        pub project_name: String,
        /// Identity's trust by which the engine acts for the user.
        #[sea_orm(nullable)]
        pub trust_id: Option<String>,
        /// `CREATE`, `UPDATE`, `DELETE`, `ROLLBACK`, `CHECK`.
        pub action: String,
        /// `IN_PROGRESS`, `COMPLETE`, `FAILED`.
        pub status: String,
        #[sea_orm(column_type = "Text")]
        pub status_reason: String,
        /// Grows with each operation; an older one's work is void.
        pub traversal: i64,
        /// Template, parameters, environment, files: a [`crate::app::Definition`] as JSON.
        #[sea_orm(column_type = "Text")]
        pub definition: String,
        /// The definition that a failed update goes back to.
        #[sea_orm(column_type = "Text", nullable)]
        pub previous: Option<String>,
        pub disable_rollback: bool,
        pub timeout_mins: i64,
        /// When the running operation has taken too long.
        pub deadline: i64,
        #[sea_orm(column_type = "Text")]
        pub tags: String,
        pub created_at: i64,
        #[sea_orm(nullable)]
        pub updated_at: Option<i64>,
        #[sea_orm(nullable)]
        pub deleted_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A resource that exists, or is about to.
pub mod resource {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "resources")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub stack_id: String,
        pub name: String,
        pub type_name: String,
        /// Written before the engine waits for completion: a crash never makes a thing twice.
        #[sea_orm(nullable)]
        pub physical_id: Option<String>,
        pub action: String,
        pub status: String,
        #[sea_orm(column_type = "Text")]
        pub status_reason: String,
        /// Resolved properties as last applied.
        #[sea_orm(column_type = "Text")]
        pub properties: String,
        #[sea_orm(column_type = "Text")]
        pub attributes: String,
        #[sea_orm(column_type = "Text")]
        pub metadata: String,
        /// Names of the resources that this one needs, a JSON list.
        #[sea_orm(column_type = "Text")]
        pub requires: String,
        /// Kept in the cloud when the stack lets go of it.
        pub retain: bool,
        /// Replaced by another row of the same name, to be deleted.
        pub replaced: bool,
        pub created_at: i64,
        pub updated_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One change of state of a stack or a resource.
pub mod event {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub seq: i64,
        pub id: String,
        pub stack_id: String,
        /// The stack's own name for events of the stack.
        pub resource_name: String,
        pub type_name: String,
        pub physical_id: String,
        pub action: String,
        pub status: String,
        #[sea_orm(column_type = "Text")]
        pub reason: String,
        pub time: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
