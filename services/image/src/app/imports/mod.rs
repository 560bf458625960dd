//! Imports: what may be asked for, and how it is accepted.
//!
//! An accepted import is an operation in the database, in one transaction with the image's new status and its task. Any
//! controller does it ([`work`]); staged data are on more than one of them, as all data are.

pub mod work;

use super::{App, has_data, names, now, swap_in, tasks, wrong};
use crate::{
    app::{files, no_image, quota, stores::Named},
    store::entities::{image, task},
};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use service_kit::{
    ApiError, RequestContext, store,
    work::{NewOperation, enqueue, pending},
};

/// The queue of imports.
pub const QUEUE: &str = "imports";
/// Kinds of operations.
pub const IMPORT: &str = "import";
/// Kinds of operations.
pub const REMOVE: &str = "remove";
/// Property: stores that an import has not reached yet.
pub const IMPORTING: &str = "os_glance_importing_to_stores";
/// Property: stores that an import could not reach.
pub const FAILED: &str = "os_glance_failed_import";

/// How data come in an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// They were staged.
    GlanceDirect,
    /// They are fetched from an address.
    WebDownload,
    /// They are in a store, and shall be in others as well.
    CopyImage,
}

impl Way {
    /// Every one.
    pub const ALL: [Way; 3] = [Way::GlanceDirect, Way::WebDownload, Way::CopyImage];

    /// As users say it.
    pub fn name(self) -> &'static str {
        match self {
            Way::GlanceDirect => "glance-direct",
            Way::WebDownload => "web-download",
            Way::CopyImage => "copy-image",
        }
    }
}

/// What an import's operation is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// None: an upload whose client waits.
    pub way: Option<Way>,
    /// Where the data lie on the web.
    pub address: Option<String>,
    /// Most bytes that may be fetched.
    pub most: u64,
    /// Where they shall be.
    pub stores: Vec<String>,
    /// Whether one store that does not take them undoes the others.
    pub all_must_succeed: bool,
    /// The user's view of it.
    pub task: Option<String>,
}

impl Order {
    /// Of data that are here already and whose client waits.
    pub fn for_upload(store: &str) -> Order {
        Order {
            way: None,
            address: None,
            most: 0,
            stores: vec![store.to_owned()],
            all_must_succeed: true,
            task: None,
        }
    }
}

/// The operation of an order.
pub fn operation(id: &str, order: &Order) -> NewOperation {
    NewOperation {
        queue: QUEUE.to_owned(),
        kind: IMPORT.to_owned(),
        target: id.to_owned(),
        payload: json!(order),
    }
}

/// Operations that remove an image's data from stores.
pub fn removals<'a>(
    id: &'a str,
    sha512: &'a str,
    stores: impl Iterator<Item = &'a String>,
) -> impl Iterator<Item = NewOperation> {
    stores.map(move |store| NewOperation {
        queue: QUEUE.to_owned(),
        kind: REMOVE.to_owned(),
        target: id.to_owned(),
        payload: json!({"store": store, "name": files::name(id, sha512)}),
    })
}

/// Stores to which an unfinished import brings an image's data.
pub async fn targets(db: &impl ConnectionTrait, id: &str) -> Result<Vec<String>, DbErr> {
    let running = pending(db, id).await?;
    let imports = running
        .into_iter()
        .filter(|operation| operation.kind == IMPORT);
    let orders =
        imports.filter_map(|operation| serde_json::from_value::<Order>(operation.payload).ok());
    Ok(orders.flat_map(|order| order.stores).collect())
}

/// What a list of stores is in a property.
fn list(row: &image::Model, property: &str) -> Vec<String> {
    let properties: Map<String, Value> = serde_json::from_str(&row.properties).unwrap_or_default();
    let text = properties.get(property).and_then(Value::as_str);
    names(text.unwrap_or_default())
}

/// Writes both lists of stores.
fn set_lists(row: &mut image::Model, importing: &[String], failed: &[String]) {
    let mut properties: Map<String, Value> =
        serde_json::from_str(&row.properties).unwrap_or_default();
    properties.insert(IMPORTING.to_owned(), importing.join(",").into());
    properties.insert(FAILED.to_owned(), failed.join(",").into());
    row.properties = Value::Object(properties).to_string();
}

impl App {
    /// A store by its name.
    pub fn store(&self, name: &str) -> Result<&Named, ApiError> {
        self.stores
            .get(name)
            .ok_or_else(|| wrong(format!("The store {name} is not available.")))
    }

    /// Reads what is asked for; `header` names a store where the body names none.
    pub fn order(&self, body: &Value, header: Option<&str>) -> Result<Order, ApiError> {
        let method = body.get("method").filter(|method| method.is_object());
        let method = method.ok_or_else(|| wrong("Expected an object `method` with a `name`."))?;
        let name = method.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong("Expected the `name` of the import method."))?;
        let way = self.import_methods.iter().find(|way| way.name() == name);
        let way = *way.ok_or_else(|| wrong(format!("Unknown import method name '{name}'.")))?;
        let address = match (way, method.get("uri").and_then(Value::as_str)) {
            (Way::WebDownload, Some(address)) => {
                self.web.rules.check(address).map_err(wrong)?;
                Some(address.to_owned())
            }
            (Way::WebDownload, None) => {
                return Err(wrong("Import method web-download needs a `uri`."));
            }
            _ => None,
        };
        let flag = |name: &str, otherwise: bool| match body.get(name) {
            None | Some(Value::Null) => Ok(otherwise),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(format!("Expected true or false for `{name}`."))),
        };
        let (all, given) = (flag("all_stores", false)?, body.get("stores"));
        let stores = match given.filter(|given| !given.is_null()) {
            Some(_) if all => {
                return Err(wrong("`stores` and `all_stores` exclude each other."));
            }
            Some(given) => {
                let names = given.as_array().filter(|names| !names.is_empty());
                let names = names.ok_or_else(|| wrong("Expected a list of names as `stores`."))?;
                let mut stores: Vec<String> = Vec::new();
                for name in names {
                    let name = name
                        .as_str()
                        .ok_or_else(|| wrong("A store's name is a text."))?;
                    let name = &self.store(name)?.name;
                    if !stores.contains(name) {
                        stores.push(name.clone());
                    }
                }
                stores
            }
            None if all => {
                let all = self.stores.all().iter();
                all.map(|store| store.name.clone()).collect()
            }
            None => match header {
                Some(name) => vec![self.store(name)?.name.clone()],
                None => vec![self.stores.default().name.clone()],
            },
        };
        Ok(Order {
            way: Some(way),
            address,
            most: self.max_bytes,
            stores,
            all_must_succeed: flag("all_stores_must_succeed", true)?,
            task: None,
        })
    }

    /// Accepts an import: when this returns, it will be done or undone, whatever happens to this controller.
    pub async fn import(
        &self,
        context: &RequestContext,
        mut row: image::Model,
        mut order: Order,
        body: &Value,
    ) -> Result<(), ApiError> {
        let id = row.id.clone();
        let way = order.way.unwrap_or(Way::GlanceDirect);
        if way != Way::CopyImage && (row.disk_format.is_empty() || row.container_format.is_empty())
        {
            return Err(wrong(
                "Properties disk_format and container_format must be set before import.",
            ));
        }
        let fits = match way {
            Way::GlanceDirect => row.status == "uploading" && row.upload_host.is_empty(),
            Way::WebDownload => row.status == "queued",
            Way::CopyImage => row.status == "active",
        };
        if !fits {
            return Err(ApiError::conflict(
                "Conflict",
                format!(
                    "Import of {id} by {} is not possible while its status is '{}'{}.",
                    way.name(),
                    row.status,
                    if row.upload_host.is_empty() {
                        ""
                    } else {
                        " and data are still coming"
                    },
                ),
            ));
        }
        let running = pending(&self.db, &id).await?;
        if running.iter().any(|operation| operation.kind == IMPORT) {
            return Err(ApiError::conflict(
                "Conflict",
                format!("Another import of {id} is going on."),
            ));
        }
        if way == Way::WebDownload {
            order.most = self.room(context, &row.owner, quota::STAGED).await?;
        }
        if way == Way::CopyImage {
            let there = self.stores_of(&row);
            row.stores = there.join(",");
            order.stores.retain(|store| !there.contains(store));
        } else {
            row.status = "importing".to_owned();
        }
        set_lists(&mut row, &order.stores, &[]);
        let input = json!({"image_id": id, "backend": order.stores, "import_req": body});
        let task = tasks::new(context, "api_image_import", &id, &input);
        order.task = Some(task.id.clone());
        self.accept(row, task, order).await?.ok_or_else(|| {
            ApiError::conflict(
                "Conflict",
                format!("Image {id} was changed meanwhile; try again."),
            )
        })
    }

    /// Writes a changed row, a task and its operation; none when somebody else has changed the row.
    async fn accept(
        &self,
        row: image::Model,
        task: task::Model,
        order: Order,
    ) -> Result<Option<()>, ApiError> {
        let done = store::retry(async || {
            let tx = store::begin(&self.db).await?;
            if swap_in(&tx, row.clone()).await?.is_none() {
                return Ok(None);
            }
            let new = task.clone().into_active_model().reset_all();
            task::Entity::insert(new)
                .exec_without_returning(&tx)
                .await?;
            enqueue(&tx, operation(&row.id, &order)).await?;
            tx.commit().await?;
            Ok::<_, sea_orm::DbErr>(Some(()))
        })
        .await?;
        self.queue.wake();
        Ok(done)
    }

    /// Accepts a task that makes an image of what is at an address. The row is new.
    pub async fn import_new(
        &self,
        context: &RequestContext,
        mut row: image::Model,
        task: task::Model,
        address: String,
    ) -> Result<(), ApiError> {
        self.may_have_one_more(context, &row.owner, quota::COUNT)
            .await?;
        let most = self.room(context, &row.owner, quota::STAGED).await?;
        let stores = vec![self.stores.default().name.clone()];
        row.status = "importing".to_owned();
        set_lists(&mut row, &stores, &[]);
        let order = Order {
            way: Some(Way::WebDownload),
            address: Some(address),
            most,
            stores,
            all_must_succeed: true,
            task: Some(task.id.clone()),
        };
        store::retry(async || {
            let tx = store::begin(&self.db).await?;
            let new = row.clone().into_active_model().reset_all();
            image::Entity::insert(new)
                .exec_without_returning(&tx)
                .await?;
            let new = task.clone().into_active_model().reset_all();
            task::Entity::insert(new)
                .exec_without_returning(&tx)
                .await?;
            enqueue(&tx, operation(&row.id, &order)).await?;
            tx.commit().await
        })
        .await?;
        self.queue.wake();
        Ok(())
    }

    /// Removes an image's data from one of the stores that have them.
    pub async fn remove_from(&self, id: &str, name: &str) -> Result<(), ApiError> {
        while !self.try_to_remove_from(id, name).await? {}
        Ok(())
    }

    /// One try; `false` when the row was changed meanwhile.
    async fn try_to_remove_from(&self, id: &str, name: &str) -> Result<bool, ApiError> {
        if self.stores.get(name).is_none() {
            return Err(ApiError::conflict(
                "Conflict",
                format!("The store {name} is not available."),
            ));
        }
        let row = image::Entity::find_by_id(id).one(&self.db).await?;
        let mut row = row.ok_or_else(|| no_image(id))?;
        if !has_data(&row) {
            return Err(ApiError::conflict(
                "Conflict",
                format!(
                    "Data of an image in status '{}' cannot be removed from a store.",
                    row.status
                ),
            ));
        }
        let mut stores = self.stores_of(&row);
        if !stores.iter().any(|store| store == name) {
            return Err(ApiError::not_found(
                "NotFound",
                format!("Image {id} is not in the store {name}."),
            ));
        }
        if row.protected || stores.len() == 1 {
            let why = if row.protected {
                "is protected"
            } else {
                "has its data in no other store"
            };
            return Err(ApiError::forbidden(
                "Forbidden",
                format!("Image {id} {why}: they cannot be removed from {name}."),
            ));
        }
        stores.retain(|store| store != name);
        row.stores = stores.join(",");
        row.updated_at = now();
        let gone = [name.to_owned()];
        let done = store::retry(async || {
            let tx = store::begin(&self.db).await?;
            if swap_in(&tx, row.clone()).await?.is_none() {
                return Ok(false);
            }
            for operation in removals(id, &row.os_hash_value, self.elsewhere(&gone)) {
                enqueue(&tx, operation).await?;
            }
            tx.commit().await?;
            Ok::<_, sea_orm::DbErr>(true)
        })
        .await?;
        if !done {
            return Ok(false);
        }
        self.queue.wake();
        if self.stores.own() == Some(name)
            && let Err(error) = self.files.remove(id, &row.os_hash_value)
        {
            tracing::warn!(id, %error, "data that belong to no store any more are left behind");
        }
        Ok(true)
    }
}
