//! The data of the types that are one object of the network API.
//! Reference: Heat's resource type guide, `OS::Neutron::*`; "Networking API v2.0".
use super::object::{Table, To};
use crate::resources::{Kind, Property};

const NAME: Property = Property::new(
    "name",
    Kind::String,
    "Name; made from the stack's unless given",
)
.in_place();
const ADMIN_STATE: Property =
    Property::new("admin_state_up", Kind::Boolean, "Administrative state").in_place();
const VALUE_SPECS: Property = Property::new(
    "value_specs",
    Kind::Map,
    "Further fields of the API's object",
);
const DESCRIPTION: Property = Property::new("description", Kind::String, "Description").in_place();
const PORT_SECURITY: Property = Property::new(
    "port_security_enabled",
    Kind::Boolean,
    "Whether security groups apply",
)
.in_place();

pub const OBJECTS: &[Table] = &[
    Table {
        type_name: "OS::Neutron::Net",
        collection: "networks",
        key: "network",
        marks: &["name", "description"],
        properties: &[
            NAME,
            ADMIN_STATE,
            VALUE_SPECS,
            PORT_SECURITY,
            Property::new("shared", Kind::Boolean, "Visible to all projects").in_place(),
            Property::new("dns_domain", Kind::String, "DNS domain of the network").in_place(),
        ],
        fields: &[
            ("name", To::Field("name")),
            ("admin_state_up", To::Field("admin_state_up")),
            ("value_specs", To::ValueSpecs),
            ("port_security_enabled", To::Field("port_security_enabled")),
            ("shared", To::Field("shared")),
            ("dns_domain", To::Field("dns_domain")),
        ],
        attributes: &[
            "admin_state_up",
            "mtu",
            "name",
            "port_security_enabled",
            "show",
            "status",
            "subnets",
            "tenant_id",
        ],
        comes_after: &[],
    },
    Table {
        type_name: "OS::Neutron::Subnet",
        collection: "subnets",
        key: "subnet",
        marks: &["name", "description"],
        properties: &[
            NAME,
            VALUE_SPECS,
            Property::new("network", Kind::String, "Network, by name or id"),
            Property::new("network_id", Kind::String, "Network: use `network`"),
            Property::new("cidr", Kind::String, "Addresses"),
            Property::new(
                "gateway_ip",
                Kind::String,
                "Gateway; the first address unless given",
            )
            .in_place(),
            Property::new("dns_nameservers", Kind::List, "Name servers given by DHCP").in_place(),
            Property::new("enable_dhcp", Kind::Boolean, "Whether DHCP answers").in_place(),
            Property::new(
                "allocation_pools",
                Kind::List,
                "Ranges `{start, end}` that ports get addresses from",
            )
            .in_place(),
            Property::new(
                "host_routes",
                Kind::List,
                "Routes `{destination, nexthop}` given by DHCP",
            )
            .in_place(),
            Property::new("ip_version", Kind::Integer, "4 or 6"),
            Property::new("ipv6_address_mode", Kind::String, "IPv6 address mode"),
            Property::new(
                "ipv6_ra_mode",
                Kind::String,
                "IPv6 router advertisement mode",
            ),
        ],
        fields: &[
            ("name", To::Field("name")),
            ("value_specs", To::ValueSpecs),
            ("network", To::Id("network_id", "networks")),
            ("network_id", To::Id("network_id", "networks")),
            ("cidr", To::Field("cidr")),
            ("gateway_ip", To::Field("gateway_ip")),
            ("dns_nameservers", To::Field("dns_nameservers")),
            ("enable_dhcp", To::Field("enable_dhcp")),
            ("allocation_pools", To::Field("allocation_pools")),
            ("host_routes", To::Field("host_routes")),
            ("ip_version", To::Field("ip_version")),
            ("ipv6_address_mode", To::Field("ipv6_address_mode")),
            ("ipv6_ra_mode", To::Field("ipv6_ra_mode")),
        ],
        attributes: &[
            "allocation_pools",
            "cidr",
            "dns_nameservers",
            "enable_dhcp",
            "gateway_ip",
            "host_routes",
            "ip_version",
            "name",
            "network_id",
            "show",
            "tenant_id",
        ],
        comes_after: &[],
    },
    Table {
        type_name: "OS::Neutron::Port",
        collection: "ports",
        key: "port",
        marks: &["name", "description"],
        properties: &[
            NAME,
            ADMIN_STATE,
            VALUE_SPECS,
            PORT_SECURITY,
            Property::new("network", Kind::String, "Network, by name or id"),
            Property::new("network_id", Kind::String, "Network: use `network`"),
            Property::new("fixed_ips", Kind::List, "Addresses `{subnet, ip_address}`").in_place(),
            Property::new("mac_address", Kind::String, "MAC address").in_place(),
            Property::new(
                "security_groups",
                Kind::List,
                "Security groups, by name or id",
            )
            .in_place(),
            Property::new(
                "allowed_address_pairs",
                Kind::List,
                "Further addresses that may send",
            )
            .in_place(),
            Property::new("device_id", Kind::String, "Device").in_place(),
            Property::new("device_owner", Kind::String, "Owner of the device").in_place(),
            Property::new("binding:vnic_type", Kind::String, "Kind of virtual NIC").in_place(),
            Property::new("dns_name", Kind::String, "DNS name").in_place(),
        ],
        fields: &[
            ("name", To::Field("name")),
            ("admin_state_up", To::Field("admin_state_up")),
            ("value_specs", To::ValueSpecs),
            ("port_security_enabled", To::Field("port_security_enabled")),
            ("network", To::Id("network_id", "networks")),
            ("network_id", To::Id("network_id", "networks")),
            ("fixed_ips", To::FixedIps),
            ("mac_address", To::Field("mac_address")),
            (
                "security_groups",
                To::Ids("security_groups", "security-groups"),
            ),
            ("allowed_address_pairs", To::Field("allowed_address_pairs")),
            ("device_id", To::Field("device_id")),
            ("device_owner", To::Field("device_owner")),
            ("binding:vnic_type", To::Field("binding:vnic_type")),
            ("dns_name", To::Field("dns_name")),
        ],
        attributes: &[
            "admin_state_up",
            "allowed_address_pairs",
            "device_id",
            "device_owner",
            "fixed_ips",
            "mac_address",
            "name",
            "network_id",
            "port_security_enabled",
            "security_groups",
            "show",
            "status",
            "tenant_id",
        ],
        comes_after: &["OS::Neutron::Subnet"],
    },
    Table {
        type_name: "OS::Neutron::Router",
        collection: "routers",
        key: "router",
        marks: &["name", "description"],
        properties: &[
            NAME,
            ADMIN_STATE,
            VALUE_SPECS,
            Property::new(
                "external_gateway_info",
                Kind::Map,
                "External network `{network, enable_snat, external_fixed_ips}`",
            )
            .in_place(),
            Property::new("distributed", Kind::Boolean, "Distributed router"),
            Property::new("ha", Kind::Boolean, "Highly available router"),
        ],
        fields: &[
            ("name", To::Field("name")),
            ("admin_state_up", To::Field("admin_state_up")),
            ("value_specs", To::ValueSpecs),
            ("external_gateway_info", To::Gateway),
            ("distributed", To::Field("distributed")),
            ("ha", To::Field("ha")),
        ],
        attributes: &[
            "admin_state_up",
            "external_gateway_info",
            "name",
            "show",
            "status",
            "tenant_id",
        ],
        comes_after: &["OS::Neutron::Subnet"],
    },
    Table {
        type_name: "OS::Neutron::SecurityGroup",
        collection: "security-groups",
        key: "security_group",
        marks: &["name", "description"],
        properties: &[
            NAME,
            DESCRIPTION,
            Property::new("rules", Kind::List, "Rules").in_place(),
        ],
        fields: &[
            ("name", To::Field("name")),
            ("description", To::Field("description")),
            ("rules", To::Rules),
        ],
        attributes: &["show"],
        comes_after: &[],
    },
    Table {
        type_name: "OS::Neutron::SecurityGroupRule",
        collection: "security-group-rules",
        key: "security_group_rule",
        marks: &["description"],
        properties: &[
            Property::new(
                "security_group",
                Kind::String,
                "Security group, by name or id",
            )
            .required(),
            Property::new("description", Kind::String, "Description"),
            Property::new("direction", Kind::String, "`ingress` or `egress`"),
            Property::new("ethertype", Kind::String, "`IPv4` or `IPv6`"),
            Property::new("protocol", Kind::String, "Protocol, by name or number"),
            Property::new("port_range_min", Kind::Integer, "First port"),
            Property::new("port_range_max", Kind::Integer, "Last port"),
            Property::new(
                "remote_group",
                Kind::String,
                "Security group of the other side",
            ),
            Property::new(
                "remote_ip_prefix",
                Kind::String,
                "Addresses of the other side",
            ),
        ],
        fields: &[
            (
                "security_group",
                To::Id("security_group_id", "security-groups"),
            ),
            ("description", To::Field("description")),
            ("direction", To::Field("direction")),
            ("ethertype", To::Field("ethertype")),
            ("protocol", To::Field("protocol")),
            ("port_range_min", To::Field("port_range_min")),
            ("port_range_max", To::Field("port_range_max")),
            ("remote_group", To::Id("remote_group_id", "security-groups")),
            ("remote_ip_prefix", To::Field("remote_ip_prefix")),
        ],
        attributes: &["show"],
        comes_after: &[],
    },
    Table {
        type_name: "OS::Neutron::FloatingIP",
        collection: "floatingips",
        key: "floatingip",
        marks: &["description"],
        properties: &[
            VALUE_SPECS,
            Property::new(
                "floating_network",
                Kind::String,
                "External network, by name or id",
            ),
            Property::new(
                "floating_network_id",
                Kind::String,
                "External network: use `floating_network`",
            ),
            Property::new(
                "floating_subnet",
                Kind::String,
                "Subnet of the external network",
            ),
            Property::new("floating_ip_address", Kind::String, "The address itself"),
            Property::new("port_id", Kind::String, "Port that it leads to").in_place(),
            Property::new(
                "fixed_ip_address",
                Kind::String,
                "Which of the port's addresses",
            )
            .in_place(),
        ],
        fields: &[
            ("value_specs", To::ValueSpecs),
            (
                "floating_network",
                To::Id("floating_network_id", "networks"),
            ),
            (
                "floating_network_id",
                To::Id("floating_network_id", "networks"),
            ),
            ("floating_subnet", To::Id("subnet_id", "subnets")),
            ("floating_ip_address", To::Field("floating_ip_address")),
            ("port_id", To::Id("port_id", "ports")),
            ("fixed_ip_address", To::Field("fixed_ip_address")),
        ],
        attributes: &[
            "fixed_ip_address",
            "floating_ip_address",
            "floating_network_id",
            "port_id",
            "router_id",
            "show",
            "tenant_id",
        ],
        comes_after: &["OS::Neutron::RouterInterface"],
    },
];
