//! The catalogue of metadata definitions: namespaces, what is in them, and kinds of resources that they are for.
//!
//! What is in a namespace is of four kinds that differ only in what their bodies say, so they share a table. Does not know who
//! may see what.

use crate::app::now;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder,
};
use sea_orm_migration::{
    async_trait,
    prelude::{Alias, Index, MigrationName, MigrationTrait, SchemaManager},
};
use service_kit::store;

use super::migrations::{flag, number, sized, table, text, word};

/// Namespaces.
pub mod namespace {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "metadef_namespaces")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// Its name, of which there is one.
        pub namespace: String,
        pub display_name: String,
        #[sea_orm(column_type = "Text")]
        pub description: String,
        /// `public`, `private`.
        pub visibility: String,
        pub protected: bool,
        /// Project id.
        pub owner: String,
        /// µs since 1970.
        pub created_at: i64,
        /// µs since 1970.
        pub updated_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// What is in a namespace.
pub mod item {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "metadef_items")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub namespace_id: String,
        /// As [`super::Kind::word`] has it.
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        /// JSON object: all but the name.
        #[sea_orm(column_type = "Text")]
        pub body: String,
        /// µs since 1970.
        pub created_at: i64,
        /// µs since 1970.
        pub updated_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Kinds of resources that have metadata.
pub mod resource_type {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "metadef_resource_types")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        /// µs since 1970.
        pub created_at: i64,
        /// µs since 1970.
        pub updated_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// What can be in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Properties that belong together.
    Object,
    /// One property's JSON schema.
    Property,
    /// A word.
    Tag,
    /// Which kind of resources the namespace is for.
    Association,
}

impl Kind {
    /// As the table has it, and messages.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Property => "property",
            Kind::Tag => "tag",
            Kind::Association => "resource type association",
        }
    }
}

/// Kinds of resources that a cloud has from the beginning.
const RESOURCE_TYPES: [&str; 6] = [
    "OS::Cinder::Volume",
    "OS::Glance::Image",
    "OS::Nova::Aggregate",
    "OS::Nova::Flavor",
    "OS::Nova::Server",
    "OS::Trove::Instance",
];

/// A namespace by its name.
pub async fn find(
    db: &impl ConnectionTrait,
    name: &str,
) -> Result<Option<namespace::Model>, DbErr> {
    namespace::Entity::find()
        .filter(namespace::Column::Namespace.eq(name))
        .one(db)
        .await
}

/// What of a kind is in a namespace, the oldest first.
pub async fn items(
    db: &impl ConnectionTrait,
    namespace: &str,
    kind: Kind,
) -> Result<Vec<item::Model>, DbErr> {
    item::Entity::find()
        .filter(item::Column::NamespaceId.eq(namespace))
        .filter(item::Column::Kind.eq(kind.word()))
        .order_by_asc(item::Column::CreatedAt)
        .order_by_asc(item::Column::Name)
        .all(db)
        .await
}

/// One of them.
pub async fn item(
    db: &impl ConnectionTrait,
    namespace: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<item::Model>, DbErr> {
    let key = (
        namespace.to_owned(),
        kind.word().to_owned(),
        name.to_owned(),
    );
    item::Entity::find_by_id(key).one(db).await
}

/// A new one, which is not written yet.
pub fn new_item(namespace: &str, kind: Kind, name: &str, body: String) -> item::Model {
    item::Model {
        namespace_id: namespace.to_owned(),
        kind: kind.word().to_owned(),
        name: name.to_owned(),
        body,
        created_at: now(),
        updated_at: now(),
    }
}

/// Writes new ones; a kind of resources that nobody knows yet becomes known.
pub async fn add(db: &impl ConnectionTrait, items: &[item::Model]) -> Result<(), DbErr> {
    for row in items {
        if row.kind == Kind::Association.word() {
            know(db, &row.name).await?;
        }
        let new = row.clone().into_active_model().reset_all();
        item::Entity::insert(new).exec_without_returning(db).await?;
    }
    Ok(())
}

async fn know(db: &impl ConnectionTrait, name: &str) -> Result<(), DbErr> {
    let known = resource_type::Entity::find_by_id(name).one(db).await?;
    if known.is_some() {
        return Ok(());
    }
    let row = resource_type::Model {
        name: name.to_owned(),
        created_at: now(),
        updated_at: now(),
    };
    resource_type::Entity::insert(row.into_active_model().reset_all())
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// Writes one in the place of another, perhaps by another name.
pub async fn replace(
    db: &DatabaseConnection,
    old: &item::Model,
    new: &item::Model,
) -> Result<(), DbErr> {
    store::retry(async || {
        let tx = store::begin(db).await?;
        let key = (old.namespace_id.clone(), old.kind.clone(), old.name.clone());
        item::Entity::delete_by_id(key).exec(&tx).await?;
        add(&tx, std::slice::from_ref(new)).await?;
        tx.commit().await
    })
    .await
}

/// Removes one, or all of a kind; how many there were.
pub async fn remove(
    db: &impl ConnectionTrait,
    namespace: &str,
    kind: Kind,
    name: Option<&str>,
) -> Result<u64, DbErr> {
    let mut delete = item::Entity::delete_many()
        .filter(item::Column::NamespaceId.eq(namespace))
        .filter(item::Column::Kind.eq(kind.word()));
    if let Some(name) = name {
        delete = delete.filter(item::Column::Name.eq(name));
    }
    Ok(delete.exec(db).await?.rows_affected)
}

/// Removes a namespace with all that is in it.
pub async fn remove_namespace(db: &DatabaseConnection, id: &str) -> Result<(), DbErr> {
    store::retry(async || {
        let tx = store::begin(db).await?;
        item::Entity::delete_many()
            .filter(item::Column::NamespaceId.eq(id))
            .exec(&tx)
            .await?;
        namespace::Entity::delete_by_id(id).exec(&tx).await?;
        tx.commit().await
    })
    .await
}

/// The tables.
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "image_0003_metadefs"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let namespaces = table(
            "metadef_namespaces",
            vec![
                word("id").primary_key().to_owned(),
                sized("namespace", 80).unique_key().to_owned(),
                sized("display_name", 80),
                text("description"),
                word("visibility"),
                flag("protected"),
                sized("owner", 255),
                number("created_at"),
                number("updated_at"),
            ],
        );
        store::create_table(manager, namespaces).await?;
        let mut items = table(
            "metadef_items",
            vec![
                word("namespace_id"),
                word("kind"),
                sized("name", 80),
                text("body"),
                number("created_at"),
                number("updated_at"),
            ],
        );
        let key = ["namespace_id", "kind", "name"];
        let mut primary = Index::create();
        for column in key {
            primary.col(Alias::new(column));
        }
        items.primary_key(&mut primary);
        store::create_table(manager, items).await?;
        let types = table(
            "metadef_resource_types",
            vec![
                sized("name", 80).primary_key().to_owned(),
                number("created_at"),
                number("updated_at"),
            ],
        );
        store::create_table(manager, types).await?;
        for name in RESOURCE_TYPES {
            know(manager.get_connection(), name).await?;
        }
        Ok(())
    }
}
