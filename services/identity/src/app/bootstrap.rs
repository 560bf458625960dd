//! What must exist before anybody can log in: made at start, and found again at every later start.
//!
//! Idempotent: a second run changes nothing, a changed password or URL of the configuration is
//! taken over. Several controllers may run it at once.

use crate::{
    app::{App, accounts::Options, new_id, now_micros, passwords},
    config::{Bootstrap, BootstrapService},
    store::{
        accounts::account,
        entities::{assignment, endpoint, implied_role, project, region, role, service, user},
    },
};
use openstack_types::Interface;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter,
};
use service_kit::{ApiError, Secret, StartError, store};

/// Domain id of all that is not put elsewhere.
pub const DEFAULT_DOMAIN: &str = "default";
/// Each implies the next.
const ROLES: [&str; 4] = ["admin", "manager", "member", "reader"];

impl App {
    /// Makes domain, projects, roles, users, services and endpoints.
    pub async fn bootstrap(&self, config: &Bootstrap, region_id: &str) -> Result<(), StartError> {
        let admin_password = service_kit::config::secret(
            config.admin_password.as_ref(),
            config.admin_password_file.as_deref(),
            "admin_password",
        )
        .map_err(|reason| StartError::Config(format!("[bootstrap] {reason}")))?;
        let mut services = Vec::new();
        for service in &config.services {
            let password = service_kit::config::secret(
                service.password.as_ref(),
                service.password_file.as_deref(),
                "password",
            )
            .map_err(|reason| StartError::Config(format!("[[bootstrap.services]] {reason}")))?;
            services.push((service, password));
        }
        self.ensure(&admin_password, &services, region_id)
            .await
            .map_err(|error| StartError::Config(format!("bootstrap: {error}")))
    }

    async fn ensure(
        &self,
        admin_password: &Secret,
        services: &[(&BootstrapService, Secret)],
        region_id: &str,
    ) -> Result<(), ApiError> {
        self.ensure_domain().await?;
        let admin_project = self
            .ensure_project("admin", "Bootstrap project for initializing the cloud.")
            .await?;
        let service_project = self
            .ensure_project("service", "Users of the cloud's own services.")
            .await?;
        let mut role_ids = Vec::new();
        for name in ROLES {
            role_ids.push(self.ensure_role(name).await?);
        }
        let service_role = self.ensure_role("service").await?;
        for pair in role_ids.windows(2) {
            let row = implied_role::ActiveModel {
                prior_id: Set(pair[0].clone()),
                implied_id: Set(pair[1].clone()),
            };
            ignore_duplicate(
                implied_role::Entity::insert(row)
                    .exec_without_returning(&self.db)
                    .await,
            )?;
        }
        let admin_role = &role_ids[0];
        let admin = self
            .ensure_user("admin", admin_password, passwords::ROUNDS)
            .await?;
        self.ensure_assignment(&admin, "project", &admin_project, admin_role)
            .await?;
        self.ensure_assignment(&admin, "domain", DEFAULT_DOMAIN, admin_role)
            .await?;
        self.ensure_assignment(&admin, "system", "all", admin_role)
            .await?;
        let row = region::ActiveModel {
            id: Set(region_id.to_owned()),
            parent_region_id: Set(String::new()),
            description: Set(String::new()),
        };
        if region::Entity::find_by_id(region_id)
            .one(&self.db)
            .await?
            .is_none()
        {
            ignore_duplicate(
                region::Entity::insert(row)
                    .exec_without_returning(&self.db)
                    .await,
            )?;
        }
        for (config, password) in services {
            let user = self
                .ensure_user(&config.user, password, passwords::ROUNDS_RANDOM)
                .await?;
            self.ensure_assignment(&user, "project", &service_project, &service_role)
                .await?;
            self.ensure_assignment(&user, "project", &service_project, admin_role)
                .await?;
            let id = self.ensure_service(config).await?;
            for interface in Interface::ALL {
                let url = match interface {
                    Interface::Public => &config.public_url,
                    Interface::Internal => {
                        config.internal_url.as_ref().unwrap_or(&config.public_url)
                    }
                    Interface::Admin => config
                        .admin_url
                        .as_ref()
                        .or(config.internal_url.as_ref())
                        .unwrap_or(&config.public_url),
                };
                self.ensure_endpoint(&id, interface, region_id, url).await?;
            }
        }
        Ok(())
    }

    async fn ensure_domain(&self) -> Result<(), ApiError> {
        if project::Entity::find_by_id(DEFAULT_DOMAIN)
            .one(&self.db)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let row = project::Model {
            id: DEFAULT_DOMAIN.to_owned(),
            name: "Default".to_owned(),
            domain_id: String::new(),
            parent_id: String::new(),
            is_domain: true,
            enabled: true,
            description: "The default domain".to_owned(),
            extra: "{}".to_owned(),
        };
        ignore_duplicate(
            project::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.db)
                .await,
        )
    }

    async fn ensure_project(&self, name: &str, description: &str) -> Result<String, ApiError> {
        let find = || {
            project::Entity::find()
                .filter(project::Column::DomainId.eq(DEFAULT_DOMAIN))
                .filter(project::Column::Name.eq(name))
                .one(&self.db)
        };
        if let Some(row) = find().await? {
            return Ok(row.id);
        }
        let row = project::Model {
            id: new_id(),
            name: name.to_owned(),
            domain_id: DEFAULT_DOMAIN.to_owned(),
            parent_id: DEFAULT_DOMAIN.to_owned(),
            is_domain: false,
            enabled: true,
            description: description.to_owned(),
            extra: "{}".to_owned(),
        };
        ignore_duplicate(
            project::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.db)
                .await,
        )?;
        let row = find().await?;
        row.map(|row| row.id)
            .ok_or_else(|| ApiError::internal("a project that was just made is gone"))
    }

    async fn ensure_role(&self, name: &str) -> Result<String, ApiError> {
        let find = || {
            role::Entity::find()
                .filter(role::Column::DomainId.eq(""))
                .filter(role::Column::Name.eq(name))
                .one(&self.db)
        };
        if let Some(row) = find().await? {
            return Ok(row.id);
        }
        let row = role::Model {
            id: new_id(),
            name: name.to_owned(),
            domain_id: String::new(),
            description: String::new(),
        };
        ignore_duplicate(
            role::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.db)
                .await,
        )?;
        let row = find().await?;
        row.map(|row| row.id)
            .ok_or_else(|| ApiError::internal("a role that was just made is gone"))
    }

    async fn ensure_user(
        &self,
        name: &str,
        password: &Secret,
        rounds: u32,
    ) -> Result<String, ApiError> {
        let find = || {
            user::Entity::find()
                .filter(user::Column::DomainId.eq(DEFAULT_DOMAIN))
                .filter(user::Column::Name.eq(name))
                .one(&self.db)
        };
        if let Some(row) = find().await? {
            self.exempt(&row.id).await?;
            if !passwords::verify(password.expose(), &row.password_hash).await? {
                // The configuration is the truth for its own users: the old password was replaced.
                let id = row.id.clone();
                let mut row = row.into_active_model();
                row.password_hash = Set(passwords::hash(password.expose(), rounds).await?);
                row.tokens_valid_from = Set(now_micros());
                row.update(&self.db).await?;
                tracing::info!(user = name, "password taken over from the configuration");
                return Ok(id);
            }
            return Ok(row.id);
        }
        let row = user::Model {
            id: new_id(),
            name: name.to_owned(),
            domain_id: DEFAULT_DOMAIN.to_owned(),
            default_project_id: String::new(),
            enabled: true,
            password_hash: passwords::hash(password.expose(), rounds).await?,
            tokens_valid_from: 0,
            extra: "{}".to_owned(),
        };
        ignore_duplicate(
            user::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.db)
                .await,
        )?;
        let row = find().await?;
        let row = row.ok_or_else(|| ApiError::internal("a user that was just made is gone"))?;
        self.exempt(&row.id).await?;
        Ok(row.id)
    }

    /// A user of the configuration has its options from the first; what an administrator has changed since stays.
    async fn exempt(&self, user_id: &str) -> Result<(), ApiError> {
        if account::Entity::find_by_id(user_id)
            .one(&self.db)
            .await?
            .is_none()
        {
            self.store_options(&self.db, user_id, &Options::of_the_configuration())
                .await?;
        }
        Ok(())
    }

    async fn ensure_assignment(
        &self,
        user_id: &str,
        kind: &str,
        target: &str,
        role: &str,
    ) -> Result<(), ApiError> {
        let row = assignment::Model {
            actor_kind: "user".to_owned(),
            actor_id: user_id.to_owned(),
            target_kind: kind.to_owned(),
            target_id: target.to_owned(),
            role_id: role.to_owned(),
        };
        ignore_duplicate(
            assignment::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.db)
                .await,
        )
    }

    async fn ensure_service(&self, config: &BootstrapService) -> Result<String, ApiError> {
        let find = || {
            service::Entity::find()
                .filter(service::Column::ServiceType.eq(&config.service_type))
                .one(&self.db)
        };
        if let Some(row) = find().await? {
            return Ok(row.id);
        }
        let row = service::Model {
            // From the type, so that two controllers that start at once make the same row.
            id: stable_id(&["service", &config.service_type]),
            service_type: config.service_type.clone(),
            name: config.name.clone(),
            description: String::new(),
            enabled: true,
        };
        let id = row.id.clone();
        ignore_duplicate(
            service::Entity::insert(row.into_active_model())
                .exec_without_returning(&self.db)
                .await,
        )?;
        Ok(id)
    }

    async fn ensure_endpoint(
        &self,
        service_id: &str,
        interface: Interface,
        region_id: &str,
        url: &str,
    ) -> Result<(), ApiError> {
        let row = endpoint::Entity::find()
            .filter(endpoint::Column::ServiceId.eq(service_id))
            .filter(endpoint::Column::Interface.eq(interface.as_str()))
            .filter(endpoint::Column::RegionId.eq(region_id))
            .one(&self.db)
            .await?;
        match row {
            Some(row) if row.url == url => Ok(()),
            Some(row) => {
                let mut row = row.into_active_model();
                row.url = Set(url.to_owned());
                row.update(&self.db).await?;
                Ok(())
            }
            None => {
                let row = endpoint::Model {
                    id: stable_id(&["endpoint", service_id, interface.as_str(), region_id]),
                    service_id: service_id.to_owned(),
                    interface: interface.to_string(),
                    region_id: region_id.to_owned(),
                    url: url.to_owned(),
                    enabled: true,
                };
                ignore_duplicate(
                    endpoint::Entity::insert(row.into_active_model())
                        .exec_without_returning(&self.db)
                        .await,
                )
            }
        }
    }
}

/// The same words give the same id.
fn stable_id(words: &[&str]) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, words.join("/").as_bytes())
        .simple()
        .to_string()
}

fn ignore_duplicate<T>(result: Result<T, DbErr>) -> Result<(), ApiError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if store::is_duplicate(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
