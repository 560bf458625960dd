//! From a hardware report to orders: does the machine fit, and what is it told. Values in, values out.
use agent_protocol::PROTOCOL;
use agent_protocol::enrol::{Hardware, Image, InstallOrders, NextBoot, SeedFile};

use crate::cards;
use crate::spec::{NodeSpec, seed_file};

/// Checks a report against what inventory and image say; all that is wrong, in one text. The files that give the
/// node its cards are made on the way, for only the report says of some which they are.
///
/// # Errors
/// Everything that does not fit, joined by semicolons.
pub fn check(spec: &NodeSpec, hardware: &Hardware) -> Result<Vec<SeedFile>, String> {
    let mut wrong = Vec::new();
    if hardware.protocol != PROTOCOL {
        wrong.push(format!(
            "the agent speaks protocol {}, this host {PROTOCOL}: build the ramdisk anew",
            hardware.protocol
        ));
    }
    let mut files = Vec::new();
    match cards::resolve(&spec.network, hardware) {
        Err(faults) => wrong.push(faults.to_string()),
        Ok(macs) => match network_plan::network_files(&spec.network.with_macs(&macs)) {
            Err(unknown) => wrong.push(unknown.to_string()),
            Ok(made) => files.extend(made.into_iter().map(seed_file)),
        },
    }
    let needed = spec.image.disk_bytes;
    match &spec.disk {
        Some(name) => match hardware.disks.iter().find(|disk| disk.name == *name) {
            None => wrong.push(format!("it has no disk {name}")),
            Some(disk) if disk.size_bytes < needed => {
                wrong.push(format!(
                    "disk {name} has {}, the image needs {}",
                    gib(disk.size_bytes),
                    gib(needed)
                ));
            }
            Some(_) => {}
        },
        None => {
            let largest = hardware.disks.iter().map(|disk| disk.size_bytes).max();
            match largest {
                None => wrong.push("it has no disk".to_owned()),
                Some(largest) if largest < needed => wrong.push(format!(
                    "its largest disk has {}, the image needs {}",
                    gib(largest),
                    gib(needed)
                )),
                Some(_) => {}
            }
        }
    }
    if wrong.is_empty() {
        Ok(files)
    } else {
        Err(wrong.join("; "))
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// What the node is told to do. `kernel` is the release that runs now, `network_files` come from [`check`]; `base_url` is
/// the boot server's, without a slash at its end.
#[must_use]
pub fn orders(
    spec: &NodeSpec,
    kernel: &str,
    network_files: Vec<SeedFile>,
    base_url: &str,
    machine_id: &str,
    authorized_keys: &[String],
) -> InstallOrders {
    let image = &spec.image;
    InstallOrders {
        disk: spec.disk.clone(),
        image: Image {
            url: format!("{base_url}/images/{}", image.name),
            sha256: image.sha256.clone(),
            compressed_bytes: image.compressed_bytes,
            disk_bytes: image.disk_bytes,
            root_partition: image.root_partition,
            kernel: image.kernel_release.clone(),
        },
        // The running kernel goes on only with modules of its own release.
        next: if kernel == image.kernel_release {
            NextBoot::SwitchRoot
        } else {
            NextBoot::Kexec
        },
        hostname: spec.name.clone(),
        fqdn: spec.fqdn.clone(),
        machine_id: machine_id.to_owned(),
        authorized_keys: authorized_keys.to_vec(),
        files: [network_files, spec.files.clone()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hardware, spec};

    #[test]
    fn orders_of_a_machine_that_fits() {
        let (spec, hardware) = (spec("node-1", 1), hardware(1));
        let files = check(&spec, &hardware).unwrap();
        let keys = ["ssh-ed25519 AAAA wright".to_owned()];
        insta::assert_json_snapshot!(orders(
            &spec,
            &hardware.kernel,
            files,
            "http://10.20.0.1:7080",
            &"0".repeat(32),
            &keys
        ));
    }

    #[test]
    fn another_kernel_is_reached_by_kexec() {
        let orders = orders(&spec("node-1", 1), "6.12.0", Vec::new(), "", "", &[]);
        assert_eq!(orders.next, NextBoot::Kexec);
    }

    #[test]
    fn all_that_does_not_fit_is_told_at_once() {
        let mut hardware = hardware(1);
        hardware.protocol = 9;
        hardware.nics.clear();
        hardware.disks[0].size_bytes = 1 << 20;
        insta::assert_snapshot!(check(&spec("node-1", 1), &hardware).unwrap_err());
    }
}
