//! The iPXE script that a machine is given: a function of the policy's choice.
use tera::{Context, Tera};

use crate::Mac;
use crate::dhcp::DhcpPolicy;
use crate::policy::BootChoice;

const NAME: &str = "boot.ipxe";

/// The compiled template.
#[derive(Debug)]
pub struct Scripts {
    templates: Tera,
}

impl Scripts {
    /// # Errors
    /// When the built-in template does not compile.
    pub fn new() -> Result<Self, tera::Error> {
        let mut templates = Tera::default();
        templates.add_raw_template(NAME, include_str!("boot.ipxe.tera"))?;
        Ok(Self { templates })
    }

    /// The script. Blanks and control characters in arguments are dropped with the argument: they could add
    /// commands.
    ///
    /// The token comes before the ramdisk because UEFI joins the two without padding: the token's archive is
    /// padded by us. `initrd=` repeats the names for UEFI, where the kernel fetches them by name.
    ///
    /// # Errors
    /// When the template fails.
    pub fn render(
        &self,
        policy: &DhcpPolicy,
        mac: Mac,
        choice: &BootChoice,
    ) -> Result<String, tera::Error> {
        let mut context = Context::new();
        context.insert("base", &policy.base_url());
        context.insert("mac", &mac.to_string());
        match choice {
            BootChoice::Ramdisk { address, arguments } => {
                let usable =
                    |text: &&String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
                context.insert("choice", "ramdisk");
                context.insert("address", &address.to_string());
                context.insert(
                    "arguments",
                    &arguments.iter().filter(usable).collect::<Vec<_>>(),
                );
            }
            BootChoice::Disk => context.insert("choice", "disk"),
            BootChoice::Wait { seconds } => {
                context.insert("choice", "wait");
                context.insert("seconds", seconds);
            }
        }
        self.templates.render(NAME, &context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::answer::tests::policy;

    #[test]
    fn scripts_for_every_choice() {
        let scripts = Scripts::new().unwrap();
        let mac = "52:54:00:aa:00:01".parse().unwrap();
        let ramdisk = BootChoice::Ramdisk {
            address: "10.20.0.11/24".parse().unwrap(),
            arguments: vec!["quiet".into(), "two words".into(), "line\nbreak".into()],
        };
        let all: Vec<_> = [ramdisk, BootChoice::Disk, BootChoice::Wait { seconds: 10 }]
            .iter()
            .map(|choice| scripts.render(&policy(), mac, choice).unwrap())
            .collect();
        insta::assert_snapshot!(all.join("--\n"));
    }
}
