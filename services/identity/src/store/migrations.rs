//! Identity's schema, in the order in which it grew.

use sea_orm_migration::{
    async_trait,
    prelude::{
        Alias, ColumnDef, ConnectionTrait, DbErr, Index, MigrationName, MigrationTrait,
        MigratorTrait, SchemaManager, Table, TableCreateStatement,
    },
};

/// Every migration.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(First),
            Box::new(super::trusts::Migration),
            Box::new(super::credentials::Migration),
            Box::new(super::tags::Migration),
            Box::new(super::limits::Migration),
            Box::new(super::endpoint_filter::Migration),
            Box::new(super::accounts::Migration),
            Box::new(super::access_rules::Migration),
            Box::new(super::policies::Migration),
            Box::new(super::revocation_times::Migration),
            Box::new(CredentialTimes),
            Box::new(super::changes::Migration),
        ]
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "identity_0001_first"
    }
}

/// Kinds of columns: ids (also hex and words), names, texts.
pub(super) fn id(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .string_len(64)
        .not_null()
        .to_owned()
}
pub(super) fn name(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .string_len(255)
        .not_null()
        .to_owned()
}
pub(super) fn text(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .text()
        .not_null()
        .to_owned()
}
pub(super) fn flag(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .boolean()
        .not_null()
        .to_owned()
}
pub(super) fn number(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .big_integer()
        .not_null()
        .to_owned()
}

pub(super) fn table(table: &str, key: &[&str], columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut statement = Table::create().table(Alias::new(table)).to_owned();
    for column in columns {
        statement.col(column);
    }
    let mut primary = Index::create();
    for part in key {
        primary.col(Alias::new(*part));
    }
    statement.primary_key(&mut primary);
    statement
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            table(
                "projects",
                &["id"],
                vec![
                    id("id"),
                    name("name"),
                    id("domain_id"),
                    id("parent_id"),
                    flag("is_domain"),
                    flag("enabled"),
                    text("description"),
                    text("extra"),
                ],
            ),
            table(
                "users",
                &["id"],
                vec![
                    id("id"),
                    name("name"),
                    id("domain_id"),
                    id("default_project_id"),
                    flag("enabled"),
                    name("password_hash"),
                    number("tokens_valid_from"),
                    text("extra"),
                ],
            ),
            table(
                "user_groups",
                &["id"],
                vec![id("id"), name("name"), id("domain_id"), text("description")],
            ),
            table(
                "memberships",
                &["group_id", "user_id"],
                vec![id("group_id"), id("user_id")],
            ),
            table(
                "roles",
                &["id"],
                vec![id("id"), name("name"), id("domain_id"), text("description")],
            ),
            table(
                "implied_roles",
                &["prior_id", "implied_id"],
                vec![id("prior_id"), id("implied_id")],
            ),
            table(
                "assignments",
                &[
                    "actor_kind",
                    "actor_id",
                    "target_kind",
                    "target_id",
                    "role_id",
                ],
                vec![
                    id("actor_kind"),
                    id("actor_id"),
                    id("target_kind"),
                    id("target_id"),
                    id("role_id"),
                ],
            ),
            table(
                "regions",
                &["id"],
                vec![name("id"), name("parent_region_id"), text("description")],
            ),
            table(
                "services",
                &["id"],
                vec![
                    id("id"),
                    name("service_type"),
                    name("name"),
                    text("description"),
                    flag("enabled"),
                ],
            ),
            table(
                "endpoints",
                &["id"],
                vec![
                    id("id"),
                    id("service_id"),
                    id("interface"),
                    name("region_id"),
                    text("url"),
                    flag("enabled"),
                ],
            ),
            table(
                "revocations",
                &["audit_id"],
                vec![id("audit_id"), number("expires_at")],
            ),
            table(
                "application_credentials",
                &["id"],
                vec![
                    id("id"),
                    name("name"),
                    id("user_id"),
                    id("project_id"),
                    name("secret_hash"),
                    text("description"),
                    text("roles"),
                    flag("unrestricted"),
                    number("expires_at"),
                ],
            ),
        ];
        for statement in tables {
            service_kit::store::create_table(manager, statement).await?;
        }
        let unique = [
            ("projects", ["domain_id", "name"]),
            ("users", ["domain_id", "name"]),
            ("user_groups", ["domain_id", "name"]),
            ("roles", ["domain_id", "name"]),
            ("application_credentials", ["user_id", "name"]),
        ];
        for (table, columns) in unique {
            let mut index = Index::create();
            index
                .name(format!("{table}_unique_name"))
                .table(Alias::new(table))
                .unique();
            for column in columns {
                index.col(Alias::new(column));
            }
            service_kit::store::create_index(manager, index).await?;
        }
        let mut index = Index::create();
        index
            .name("assignments_target")
            .table(Alias::new("assignments"));
        index
            .col(Alias::new("target_kind"))
            .col(Alias::new("target_id"));
        service_kit::store::create_index(manager, index).await
    }
}

/// Application credentials expire at a microsecond; it was a second.
struct CredentialTimes;

impl MigrationName for CredentialTimes {
    fn name(&self) -> &str {
        "identity_0011_credential_times"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CredentialTimes {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Seconds are below this for three thousand years, microseconds have been above it since 1970's second day: so what was
        // changed already is left alone when the migration was broken off.
        let change = "UPDATE application_credentials SET expires_at = expires_at * 1000000 \
            WHERE expires_at > 0 AND expires_at < 100000000000";
        let connection = manager.get_connection();
        connection.execute_unprepared(change).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::entities::application_credential;
    use sea_orm::{EntityTrait, IntoActiveModel};
    use sea_orm_migration::prelude::{MigrationTrait, MigratorTrait, SchemaManager};
    use service_kit::testing::databases;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn migrations_that_were_broken_off_go_on() {
        databases::each(|db| async move { databases::migrate_again::<super::Migrator>(&db).await })
            .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn seconds_become_microseconds_once() {
        databases::each(|db| async move {
            let manager = SchemaManager::new(&db);
            for migration in super::Migrator::migrations() {
                migration.up(&manager).await.unwrap();
            }
            for (id, expires_at) in [("never", 0), ("later", 4_102_444_800)] {
                let row = application_credential::Model {
                    id: id.to_owned(),
                    name: id.to_owned(),
                    user_id: String::new(),
                    project_id: String::new(),
                    secret_hash: String::new(),
                    description: String::new(),
                    roles: String::new(),
                    unrestricted: false,
                    expires_at,
                };
                application_credential::Entity::insert(row.into_active_model())
                    .exec_without_returning(&db)
                    .await
                    .unwrap();
            }
            for _ in 0..2 {
                super::CredentialTimes.up(&manager).await.unwrap();
                for (id, expected) in [("never", 0), ("later", 4_102_444_800_000_000)] {
                    let row = application_credential::Entity::find_by_id(id)
                        .one(&db)
                        .await;
                    assert_eq!(row.unwrap().unwrap().expires_at, expected);
                }
            }
        })
        .await;
    }
}
