//! Rows of image's tables. Empty strings and -1 stand for null.

/// Images.
pub mod image {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "images")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
        /// Project id.
        pub owner: String,
        /// `queued`, `saving`, `uploading`, `importing`, `active`, `deactivated`.
        pub status: String,
        /// `public`, `private`, `shared`, `community`.
        pub visibility: String,
        pub protected: bool,
        pub os_hidden: bool,
        pub disk_format: String,
        pub container_format: String,
        pub min_disk: i32,
        pub min_ram: i32,
        /// Bytes; -1 before the upload.
        pub size: i64,
        /// Bytes of the disk inside; -1 unknown.
        pub virtual_size: i64,
        /// MD5, hex.
        pub checksum: String,
        /// SHA-512, hex.
        pub os_hash_value: String,
        /// JSON list.
        #[sea_orm(column_type = "Text")]
        pub tags: String,
        /// JSON object of strings.
        #[sea_orm(column_type = "Text")]
        pub properties: String,
        /// Host that receives the data now.
        pub upload_host: String,
        /// Names of the stores that have the data, with commas between them.
        pub stores: String,
        /// µs since 1970.
        pub created_at: i64,
        /// µs since 1970.
        pub updated_at: i64,
        /// Grows with each change: writers compare and swap it.
        pub revision: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Projects with which an image is shared.
pub mod member {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "members")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub image_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub member_id: String,
        /// `pending`, `accepted`, `rejected`.
        pub status: String,
        pub created_at: i64,
        pub updated_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Tasks: what users see of imports.
pub mod task {
    use sea_orm::entity::prelude::*;
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tasks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// `import`, `api_image_import`.
        pub kind: String,
        /// `pending`, `processing`, `success`, `failure`.
        pub status: String,
        /// Project id.
        pub owner: String,
        pub image_id: String,
        pub user_id: String,
        /// Of the request that made it.
        pub request_id: String,
        /// JSON object.
        #[sea_orm(column_type = "Text")]
        pub input: String,
        /// JSON object, or empty.
        #[sea_orm(column_type = "Text")]
        pub result: String,
        /// Why it failed.
        #[sea_orm(column_type = "Text")]
        pub message: String,
        /// µs since 1970.
        pub created_at: i64,
        /// µs since 1970.
        pub updated_at: i64,
        /// µs since 1970, when it will be forgotten; 0 before it has ended.
        pub expires_at: i64,
    }
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}
