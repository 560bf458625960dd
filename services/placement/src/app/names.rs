//! Names of resource classes and traits: the standard ones that this cloud uses, and the operator's own (`CUSTOM_...`).

use std::collections::BTreeSet;

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use super::PlacementError;
use crate::store::tag;

/// Resource classes of upstream's list (os-resource-classes).
pub const CLASSES: [&str; 20] = [
    "VCPU",
    "MEMORY_MB",
    "DISK_GB",
    "PCI_DEVICE",
    "SRIOV_NET_VF",
    "NUMA_SOCKET",
    "NUMA_CORE",
    "NUMA_THREAD",
    "NUMA_MEMORY_MB",
    "IPV4_ADDRESS",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    "PCPU",
    "MEM_ENCRYPTION_CONTEXT",
    "FPGA",
    "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NUMA_NODE",
];

/// Traits of upstream's list (os-traits) that concern compute nodes of this kind.
pub const TRAITS: [&str; 22] = [
    "COMPUTE_STATUS_DISABLED",
    "COMPUTE_NODE",
    "COMPUTE_DEVICE_TAGGING",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_VOLUME_ATTACH_WITH_TAG",
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_IMAGE_TYPE_VMDK",
    "COMPUTE_IMAGE_TYPE_VDI",
    "COMPUTE_IMAGE_TYPE_ISO",
    "COMPUTE_GRAPHICS_MODEL_VGA",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_ACCELERATORS",
    "HW_CPU_X86_VMX",
    "HW_CPU_X86_SVM",
    "HW_CPU_X86_AVX",
    "HW_CPU_X86_AVX2",
    "HW_CPU_X86_SSE42",
    "HW_CPU_X86_AESNI",
    "HW_CPU_HYPERTHREADING",
    "STORAGE_DISK_SSD",
];

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Resource class.
    Class,
    /// Trait.
    Trait,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Class => "class",
            Kind::Trait => "trait",
        }
    }

    fn standard(self) -> &'static [&'static str] {
        match self {
            Kind::Class => &CLASSES,
            Kind::Trait => &TRAITS,
        }
    }
}

/// Every known name, standard ones first.
pub async fn all(db: &impl ConnectionTrait, kind: Kind) -> Result<Vec<String>, PlacementError> {
    let query = tag::Entity::find()
        .filter(tag::Column::Kind.eq(kind.word()))
        .filter(tag::Column::ProviderId.eq(""));
    let custom: BTreeSet<String> = query
        .all(db)
        .await?
        .into_iter()
        .map(|row| row.name)
        .collect();
    Ok(kind
        .standard()
        .iter()
        .map(|name| (*name).to_owned())
        .chain(custom)
        .collect())
}

/// Adds a name of the operator's own; `false` when it was there.
pub async fn add(
    db: &impl ConnectionTrait,
    kind: Kind,
    name: &str,
) -> Result<bool, PlacementError> {
    let rest = name.strip_prefix("CUSTOM_").unwrap_or_default();
    let ok = !rest.is_empty()
        && name.len() <= 150
        && rest
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !ok {
        return Err(PlacementError::Bad(format!(
            "`{name}` does not match ^CUSTOM_[A-Z0-9_]+$"
        )));
    }
    let row = tag::ActiveModel {
        kind: Set(kind.word().into()),
        provider_id: Set(String::new()),
        name: Set(name.to_owned()),
    };
    match tag::Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(true),
        Err(error) if service_kit::store::is_duplicate(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes a name of the operator's own.
pub async fn remove(
    db: &impl ConnectionTrait,
    kind: Kind,
    name: &str,
) -> Result<(), PlacementError> {
    if kind.standard().contains(&name) {
        return Err(PlacementError::Bad(format!(
            "Cannot delete standard {} {name}.",
            kind.word()
        )));
    }
    let result =
        tag::Entity::delete_by_id((kind.word().to_owned(), String::new(), name.to_owned()))
            .exec(db)
            .await?;
    if result.rows_affected == 0 {
        return Err(PlacementError::NotFound(format!(
            "No such {}: {name}.",
            kind.word()
        )));
    }
    Ok(())
}

/// Refuses names that are not known.
pub async fn check<'a>(
    db: &impl ConnectionTrait,
    kind: Kind,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), PlacementError> {
    let mut unknown: Vec<&String> = names
        .into_iter()
        .filter(|name| !kind.standard().contains(&name.as_str()))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known = all(db, kind).await?;
    unknown.retain(|name| !known.contains(name));
    match unknown.first() {
        None => Ok(()),
        Some(name) => Err(PlacementError::Bad(format!(
            "No such {}: {name}.",
            kind.word()
        ))),
    }
}
