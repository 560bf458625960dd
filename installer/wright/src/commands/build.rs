//! `wright build`: node images and the guest image, into the cache.
use crate::args::build::BuildCommand;
use crate::commands::deploy::{images, roles};
use crate::environment;
use crate::error::CommandError;
use crate::namespace;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use provision::image::{Builder, ImageError};
use provision::manifest::ImageManifest;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

pub async fn run(
    command: BuildCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        BuildCommand::NodeImage {
            roles: wanted,
            playbook,
        } => node_images(&wanted, &playbook, settings, printer).await,
        BuildCommand::GuestImage => {
            let path = guest_image(settings, printer).await?;
            printer.data(&Guest { path })?;
            Ok(ExitStatus::Done)
        }
    }
}

async fn node_images(
    wanted: &[String],
    playbook: &Path,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let store = environment::open_store(settings).await?;
    let environment = environment::plan(settings, store.as_ref(), printer).await?;
    let playbook = roles::parse(playbook)?;
    let (mut recipes, _) = images::recipes(&environment, &playbook)?;
    if let Some(unknown) = wanted.iter().find(|name| !recipes.contains_key(*name)) {
        let known: Vec<&str> = recipes.keys().map(String::as_str).collect();
        return Err(CommandError::failed(format!(
            "no node of environment `{}` has an image `{unknown}`",
            settings.env
        ))
        .hint(format!("there are: {}", known.join(", "))));
    }
    recipes.retain(|name, _| wanted.is_empty() || wanted.contains(name));
    let agent = images::agent()?;
    let built = with_builder(settings, printer, move |builder| {
        recipes
            .values()
            .map(|recipe| builder.node_image(recipe, &agent))
            .collect()
    })
    .await?;
    printer.data(&Nodes { images: built })?;
    Ok(ExitStatus::Done)
}

/// Builds the guest image, or finds it in the cache.
pub async fn guest_image(settings: &Settings, printer: &Printer) -> Result<PathBuf, CommandError> {
    with_builder(settings, printer, |builder| builder.guest_image()).await
}

/// Builds images, where packages can be fetched.
pub async fn with_builder<T: Send + 'static>(
    settings: &Settings,
    printer: &Printer,
    work: impl FnOnce(&Builder<'_>) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, CommandError> {
    let (cache, teller) = (settings.cache_dir.clone(), *printer);
    let building = move || {
        let say = |text: &str| teller.say(text);
        work(&Builder::new(&cache, &say)?)
    };
    tokio::task::spawn_blocking(|| namespace::outside(building))
        .await
        .map_err(anyhow::Error::from)??
        .map_err(|error| CommandError::failed(error.to_string()))
}

#[derive(Serialize)]
struct Nodes {
    images: Vec<ImageManifest>,
}

impl Display for Nodes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        self.images.iter().try_for_each(|image| {
            writeln!(
                f,
                "{:<12} {} MiB packed, {} MiB on disk, kernel {}: {}",
                image.name,
                mib(image.compressed_bytes),
                mib(image.disk_bytes),
                image.kernel_release,
                image.disk_image.display()
            )
        })
    }
}

#[derive(Serialize)]
struct Guest {
    path: PathBuf,
}

impl Display for Guest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
