//! Tags of any resource.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use service_kit::{ApiError, RequestContext};

use super::{App, faults, owns, write};
use crate::store;
use crate::store::entity::{floating_ip, network, port, router, security_group, subnet, tag};

impl App {
    /// Refuses unless the resource exists and the caller may see it.
    async fn check_tagged(
        &self,
        caller: &RequestContext,
        plural: &str,
        id: &str,
    ) -> Result<(), ApiError> {
        macro_rules! project {
            ($table:ident) => {
                $table::Entity::find_by_id(id)
                    .one(&self.db)
                    .await?
                    .map(|row| row.project_id)
            };
        }
        let (resource, project) = match plural {
            "networks" => ("network", project!(network)),
            "subnets" => ("subnet", project!(subnet)),
            "ports" => ("port", project!(port)),
            "routers" => ("router", project!(router)),
            "floatingips" => ("floatingip", project!(floating_ip)),
            "security-groups" => ("security_group", project!(security_group)),
            _ => ("", None),
        };
        match project {
            Some(project) if owns(caller, &project) => Ok(()),
            _ => Err(faults::not_found(resource, id)),
        }
    }

    pub async fn tag_list(
        &self,
        caller: &RequestContext,
        plural: &str,
        id: &str,
    ) -> Result<Vec<String>, ApiError> {
        self.check_tagged(caller, plural, id).await?;
        Ok(store::tags(&self.db, &[id.to_owned()])
            .await?
            .remove(id)
            .unwrap_or_default())
    }

    /// Replaces all tags.
    pub async fn tag_replace(
        &self,
        caller: &RequestContext,
        plural: &str,
        id: &str,
        tags: Vec<String>,
    ) -> Result<Vec<String>, ApiError> {
        self.check_tagged(caller, plural, id).await?;
        if let Some(long) = tags
            .iter()
            .find(|tag| tag.is_empty() || tag.chars().count() > 255)
        {
            return Err(faults::invalid(
                "tags",
                format!("'{long}' is empty or exceeds maximum length of 255."),
            ));
        }
        let tags: BTreeSet<String> = tags.into_iter().collect();
        write!(self, tx => {
            tag::Entity::delete_many().filter(tag::Column::ResourceId.eq(id)).exec(&tx).await?;
            for text in &tags {
                let row = tag::Model { resource_id: id.to_owned(), tag: text.clone() };
                tag::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await?;
            }
            tags.iter().cloned().collect()
        })
    }

    pub async fn tag_add(
        &self,
        caller: &RequestContext,
        plural: &str,
        id: &str,
        text: &str,
    ) -> Result<(), ApiError> {
        let mut tags = self.tag_list(caller, plural, id).await?;
        if !tags.iter().any(|tag| tag == text) {
            tags.push(text.to_owned());
            self.tag_replace(caller, plural, id, tags).await?;
        }
        Ok(())
    }

    pub async fn tag_remove(
        &self,
        caller: &RequestContext,
        plural: &str,
        id: &str,
        text: &str,
    ) -> Result<(), ApiError> {
        let mut tags = self.tag_list(caller, plural, id).await?;
        if !tags.iter().any(|tag| tag == text) {
            return Err(ApiError::not_found(
                "TagNotFound",
                format!("Tag {text} could not be found."),
            ));
        }
        tags.retain(|tag| tag != text);
        self.tag_replace(caller, plural, id, tags).await.map(|_| ())
    }
}
