//! How many addresses of each network are used.

use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};
use service_kit::ApiError;

use super::App;
use crate::addressing;
use crate::store::entity::{allocation, network, subnet};

impl App {
    /// Of one network, or of all.
    pub async fn address_availability(&self, id: Option<&str>) -> Result<Vec<Value>, ApiError> {
        let mut query = network::Entity::find().order_by_asc(network::Column::Id);
        if let Some(id) = id {
            query = query.filter(network::Column::Id.eq(id));
        }
        let mut list = Vec::new();
        for network in query.all(&self.db).await? {
            let (mut total, mut used, mut subnets) = (0u128, 0u128, Vec::new());
            for subnet in subnet::Entity::find()
                .filter(subnet::Column::NetworkId.eq(&network.id))
                .all(&self.db)
                .await?
            {
                let size = addressing::size(&subnet.allocation_pools.0);
                let held = allocation::Entity::find()
                    .filter(allocation::Column::SubnetId.eq(&subnet.id))
                    .count(&self.db)
                    .await?;
                subnets.push(json!({
                    "subnet_id": subnet.id, "subnet_name": subnet.name, "cidr": subnet.cidr, "ip_version": subnet.ip_version,
                    "total_ips": number(size), "used_ips": held,
                }));
                total = total.saturating_add(size);
                used += u128::from(held);
            }
            list.push(json!({
                "network_id": network.id, "network_name": network.name, "id": network.id,
                "project_id": network.project_id, "tenant_id": network.project_id,
                "total_ips": number(total), "used_ips": number(used), "subnet_ip_availability": subnets,
            }));
        }
        Ok(list)
    }
}

/// JSON's numbers end where IPv6's begin: larger ones are cut to what clients can read.
fn number(count: u128) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
