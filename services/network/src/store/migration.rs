//! The schema and its history. Never edit a migration that was released: add one.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    boolean, integer, integer_null, json, string_len, string_len_null, text,
};

/// All migrations, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

struct First;

impl MigrationName for First {
    fn name(&self) -> &str {
        "m20261123_000001_networks"
    }
}

fn id(name: &'static str) -> ColumnDef {
    string_len(name, 64)
}

fn id_null(name: &'static str) -> ColumnDef {
    string_len_null(name, 64)
}

/// What refers to what: table, column, table referred to, and whether rows go with what they refer to.
const REFERENCES: [(&str, &str, &str, bool); 14] = [
    ("segments", "network_id", "networks", true),
    ("subnets", "network_id", "networks", false),
    ("ports", "network_id", "networks", false),
    ("ip_allocations", "subnet_id", "subnets", false),
    ("ip_allocations", "port_id", "ports", true),
    ("routers", "gateway_port_id", "ports", false),
    ("router_interfaces", "router_id", "routers", false),
    ("router_interfaces", "port_id", "ports", false),
    ("floating_ips", "floating_port_id", "ports", false),
    ("floating_ips", "router_id", "routers", false),
    (
        "security_group_rules",
        "security_group_id",
        "security_groups",
        true,
    ),
    (
        "security_group_rules",
        "remote_group_id",
        "security_groups",
        true,
    ),
    ("port_security_groups", "port_id", "ports", true),
    (
        "port_security_groups",
        "security_group_id",
        "security_groups",
        false,
    ),
];

/// A table with its references and nothing else.
fn table(name: &'static str) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    for (from, column, to, goes_along) in REFERENCES.into_iter().filter(|(from, ..)| *from == name)
    {
        let action = if goes_along {
            ForeignKeyAction::Cascade
        } else {
            ForeignKeyAction::Restrict
        };
        let mut key = ForeignKey::create();
        table.foreign_key(
            key.name(format!("{from}_{column}_fk"))
                .from(from, column)
                .to(to, "id")
                .on_delete(action),
        );
    }
    table
}

/// Columns that every resource of the API has.
fn resource(name: &'static str) -> TableCreateStatement {
    table(name)
        .col(id("id").primary_key())
        .col(id("project_id"))
        .col(text("description"))
        .col(string_len("created_at", 32))
        .to_owned()
}

/// [`resource`], for those that can be changed.
fn mutable(name: &'static str) -> TableCreateStatement {
    resource(name)
        .col(integer("revision"))
        .col(string_len("updated_at", 32))
        .to_owned()
}

/// A table whose primary key is two columns.
fn pair(
    name: &'static str,
    first: ColumnDef,
    second: ColumnDef,
    key: [&'static str; 2],
) -> TableCreateStatement {
    let [one, two] = key;
    table(name)
        .col(first)
        .col(second)
        .primary_key(Index::create().col(one).col(two))
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            mutable("networks")
                .col(string_len("name", 255))
                .col(boolean("admin_state_up"))
                .col(boolean("shared"))
                .col(boolean("external"))
                .col(boolean("is_default"))
                .col(integer("mtu"))
                .col(boolean("port_security_enabled"))
                .col(string_len("dns_domain", 255))
                .col(string_len("network_type", 32))
                .col(string_len_null("physical_network", 64))
                .col(integer_null("segmentation_id"))
                .to_owned(),
            table("segments")
                .col(string_len("id", 128).primary_key())
                .col(id("network_id"))
                .to_owned(),
            mutable("subnets")
                .col(id("network_id"))
                .col(string_len("name", 255))
                .col(integer("ip_version"))
                .col(string_len("cidr", 64))
                .col(string_len_null("gateway_ip", 64))
                .col(boolean("enable_dhcp"))
                .col(string_len_null("ipv6_ra_mode", 32))
                .col(string_len_null("ipv6_address_mode", 32))
                .col(json("allocation_pools"))
                .col(json("dns_nameservers"))
                .col(json("host_routes"))
                .to_owned(),
            mutable("ports")
                .col(id("network_id"))
                .col(string_len("name", 255))
                .col(boolean("admin_state_up"))
                .col(string_len("mac_address", 32))
                .col(string_len("device_id", 255))
                .col(string_len("device_owner", 255))
                .col(string_len("host_id", 255))
                .col(string_len("vnic_type", 64))
                .col(json("profile"))
                .col(boolean("port_security_enabled"))
                .col(json("allowed_address_pairs"))
                .col(string_len("dns_name", 255))
                .col(string_len("status", 16))
                .to_owned(),
            pair(
                "ip_allocations",
                id("subnet_id"),
                id("ip_address"),
                ["subnet_id", "ip_address"],
            )
            .col(id("port_id"))
            .to_owned(),
            mutable("routers")
                .col(string_len("name", 255))
                .col(boolean("admin_state_up"))
                .col(id_null("gateway_port_id"))
                .col(boolean("enable_snat"))
                .col(json("routes"))
                .to_owned(),
            pair(
                "router_interfaces",
                id("router_id"),
                id("subnet_id"),
                ["router_id", "subnet_id"],
            )
            .col(id("port_id"))
            .to_owned(),
            mutable("floating_ips")
                .col(id("floating_network_id"))
                .col(id("floating_ip_address"))
                .col(id("floating_port_id"))
                .col(id_null("port_id"))
                .col(id_null("fixed_ip_address"))
                .col(id_null("router_id"))
                .to_owned(),
            mutable("security_groups")
                .col(string_len("name", 255))
                .col(boolean("stateful"))
                .col(id("default_of"))
                .to_owned(),
            resource("security_group_rules")
                .col(id("security_group_id"))
                .col(string_len("direction", 16))
                .col(string_len("ethertype", 16))
                .col(string_len_null("protocol", 32))
                .col(integer_null("port_range_min"))
                .col(integer_null("port_range_max"))
                .col(string_len_null("remote_ip_prefix", 64))
                .col(id_null("remote_group_id"))
                .to_owned(),
            pair(
                "port_security_groups",
                id("port_id"),
                id("security_group_id"),
                ["port_id", "security_group_id"],
            ),
            pair(
                "quotas",
                id("project_id"),
                id("resource"),
                ["project_id", "resource"],
            )
            .col(integer("hard_limit"))
            .to_owned(),
            pair(
                "tags",
                id("resource_id"),
                string_len("tag", 255),
                ["resource_id", "tag"],
            ),
        ];
        for table in tables {
            service_kit::store::create_table(manager, table).await?;
        }
        let indexes = [
            ("subnets", "subnets_by_network", vec!["network_id"], false),
            (
                "ports",
                "ports_by_mac",
                vec!["network_id", "mac_address"],
                true,
            ),
            ("ports", "ports_by_device", vec!["device_id"], false),
            ("ports", "ports_by_project", vec!["project_id"], false),
            (
                "ip_allocations",
                "allocations_by_port",
                vec!["port_id"],
                false,
            ),
            (
                "router_interfaces",
                "interfaces_by_port",
                vec!["port_id"],
                false,
            ),
            // One floating IP for each fixed address: NULLs are distinct, so free ones do not collide.
            (
                "floating_ips",
                "floating_ips_by_port",
                vec!["port_id", "fixed_ip_address"],
                true,
            ),
            (
                "security_groups",
                "security_group_defaults",
                vec!["default_of"],
                true,
            ),
            (
                "security_group_rules",
                "rules_by_group",
                vec!["security_group_id"],
                false,
            ),
            (
                "port_security_groups",
                "ports_by_group",
                vec!["security_group_id"],
                false,
            ),
        ];
        for (table, name, columns, unique) in indexes {
            let mut index = Index::create();
            index.table(table).name(name);
            for column in columns {
                index.col(column);
            }
            if unique {
                index.unique();
            }
            service_kit::store::create_index(manager, index).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use service_kit::testing::databases;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn migrations_that_were_broken_off_go_on() {
        databases::each(|db| async move { databases::migrate_again::<super::Migrator>(&db).await })
            .await;
    }
}
