//! The tables, one module each. Ids are dashed UUIDs (a project's id is whatever identity gave it);
//! times are UTC, in RFC 3339 as the API shows them.

/// A virtual network.
pub mod network {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "networks")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub name: String,
        pub description: String,
        pub admin_state_up: bool,
        pub shared: bool,
        pub external: bool,
        pub is_default: bool,
        pub mtu: i32,
        pub port_security_enabled: bool,
        pub dns_domain: String,
        /// `geneve`, `vlan`, `flat` or `local`.
        pub network_type: String,
        pub physical_network: Option<String>,
        /// VLAN id, or the number of a Geneve network (ours only; OVN has its own on the wire).
        pub segmentation_id: Option<i32>,
        pub revision: i32,
        pub created_at: String,
        pub updated_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A segmentation id in use: the unique key keeps two networks from getting the same one.
pub mod segment {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "segments")]
    pub struct Model {
        /// `geneve/17`, `vlan/physnet-app/204`, `flat/physnet-app`.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub network_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A range of addresses on a network.
pub mod subnet {
    use sea_orm::entity::prelude::*;

    use crate::store::values::{Pools, Routes, Strings};

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "subnets")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub network_id: String,
        pub name: String,
        pub description: String,
        pub ip_version: i32,
        pub cidr: String,
        pub gateway_ip: Option<String>,
        pub enable_dhcp: bool,
        pub ipv6_ra_mode: Option<String>,
        pub ipv6_address_mode: Option<String>,
        #[sea_orm(column_type = "Json")]
        pub allocation_pools: Pools,
        #[sea_orm(column_type = "Json")]
        pub dns_nameservers: Strings,
        #[sea_orm(column_type = "Json")]
        pub host_routes: Routes,
        pub revision: i32,
        pub created_at: String,
        pub updated_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A plug of a network. Floating IPs, gateways and router interfaces have one too.
pub mod port {
    use sea_orm::entity::prelude::*;

    use crate::store::values::AddressPairs;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ports")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub network_id: String,
        pub name: String,
        pub description: String,
        pub admin_state_up: bool,
        /// Lower case with colons; unique within the network.
        pub mac_address: String,
        pub device_id: String,
        pub device_owner: String,
        pub host_id: String,
        pub vnic_type: String,
        #[sea_orm(column_type = "Json")]
        pub profile: Json,
        pub port_security_enabled: bool,
        #[sea_orm(column_type = "Json")]
        pub allowed_address_pairs: AddressPairs,
        pub dns_name: String,
        /// `ACTIVE` once the port's chassis has plugged it, else `DOWN`; `N/A` for floating IPs.
        pub status: String,
        pub revision: i32,
        pub created_at: String,
        pub updated_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An address given to a port. The primary key is what keeps an address from being given twice.
pub mod allocation {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ip_allocations")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub subnet_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub ip_address: String,
        pub port_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A router.
pub mod router {
    use sea_orm::entity::prelude::*;

    use crate::store::values::Routes;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "routers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub name: String,
        pub description: String,
        pub admin_state_up: bool,
        /// The port on the external network that `external_gateway_info` made.
        pub gateway_port_id: Option<String>,
        pub enable_snat: bool,
        #[sea_orm(column_type = "Json")]
        pub routes: Routes,
        pub revision: i32,
        pub created_at: String,
        pub updated_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A router's leg in a subnet. A subnet's gateway address can be taken only once: the port's allocation sees to it.
pub mod router_interface {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "router_interfaces")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub router_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub subnet_id: String,
        pub port_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A floating IP; its address is held by a port of its own on the external network.
pub mod floating_ip {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "floating_ips")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub description: String,
        pub floating_network_id: String,
        pub floating_ip_address: String,
        pub floating_port_id: String,
        pub port_id: Option<String>,
        pub fixed_ip_address: Option<String>,
        pub router_id: Option<String>,
        pub revision: i32,
        pub created_at: String,
        pub updated_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A security group.
pub mod security_group {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "security_groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub name: String,
        pub description: String,
        pub stateful: bool,
        /// The project's id for its `default` group, else the group's own: unique, so a project has one default.
        pub default_of: String,
        pub revision: i32,
        pub created_at: String,
        pub updated_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One thing that a security group allows.
pub mod security_group_rule {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "security_group_rules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project_id: String,
        pub security_group_id: String,
        pub description: String,
        /// `ingress` or `egress`.
        pub direction: String,
        /// `IPv4` or `IPv6`.
        pub ethertype: String,
        pub protocol: Option<String>,
        pub port_range_min: Option<i32>,
        pub port_range_max: Option<i32>,
        pub remote_ip_prefix: Option<String>,
        pub remote_group_id: Option<String>,
        pub created_at: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which groups guard a port.
pub mod port_security_group {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "port_security_groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub port_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub security_group_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A project's own limit of one resource; without a row the configured default holds.
pub mod quota {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "quotas")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource: String,
        /// -1: no limit.
        pub hard_limit: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A tag on any resource.
pub mod tag {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tags")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub resource_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
