//! `wright lab forward`: ports of the lab on loopback, until Ctrl-C.
use super::{blocking, must_be_up, planned};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::table;
use diagnostics::ExitStatus;
use lab::Forward;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr};
use tokio_util::sync::CancellationToken;

/// What users of the cloud call, docs/ports.md.
const SERVICE_PORTS: &[u16] = &[5000, 9292, 8778, 8774, 9696, 8004];

pub async fn run(
    ports: &[String],
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    must_be_up(&planned.lab, settings)?;
    let wanted = match ports {
        [] => services(&planned.environment)?,
        ports => ports
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>()?,
    };
    let stop = CancellationToken::new();
    let (env, serving) = (settings.env.clone(), stop.clone());
    let open = blocking(move || lab::forward(&env, &wanted, &serving)).await?;
    printer.data(&Open {
        ports: open.iter().map(|f| [f.from, f.to]).collect(),
    })?;
    printer.say("Ctrl-C ends it");
    tokio::signal::ctrl_c().await.map_err(anyhow::Error::from)?;
    stop.cancel();
    Ok(ExitStatus::Done)
}

fn services(environment: &Environment) -> Result<Vec<Forward>, CommandError> {
    let Some(vip) = environment.plan.vips.internal else {
        return Err(
            CommandError::failed("the plan has no internal virtual address")
                .hint("name the ports: `wright lab forward 8080:10.20.1.11:80`"),
        );
    };
    let forward = |port: &u16| Forward {
        from: (Ipv4Addr::LOCALHOST, *port).into(),
        to: (vip, *port).into(),
    };
    Ok(SERVICE_PORTS.iter().map(forward).collect())
}

/// `[LOCAL:]ADDRESS:PORT`; without `LOCAL` the same port.
fn parse(text: &str) -> Result<Forward, CommandError> {
    let wrong = || {
        CommandError::failed(format!("`{text}` is no port to forward"))
            .hint("write `[LOCAL:]ADDRESS:PORT`, for example `5000:10.20.1.2:5000`")
    };
    let words: Vec<&str> = text.split(':').collect();
    let (local, address, port) = match words.as_slice() {
        [address, port] => (port, address, port),
        [local, address, port] => (local, address, port),
        _ => return Err(wrong()),
    };
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let number = |word: &str| word.parse::<u16>().map_err(|_| wrong());
    Ok(Forward {
        from: (Ipv4Addr::LOCALHOST, number(local)?).into(),
        to: (address, number(port)?).into(),
    })
}

#[derive(Serialize)]
struct Open {
    ports: Vec<[SocketAddr; 2]>,
}

impl Display for Open {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 2]> = self
            .ports
            .iter()
            .map(|[from, to]| [from.to_string(), format!("-> {to}")])
            .collect();
        f.write_str(&table::columns(&rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_with_and_without_a_local_one() {
        assert_eq!(
            parse("10.20.1.2:5000").unwrap(),
            parse("5000:10.20.1.2:5000").unwrap()
        );
        assert_eq!(parse("8080:10.20.1.11:80").unwrap().from.port(), 8080);
        for bad in ["5000", "x:1.2.3.4:5", "1.2.3.4:70000", "1:2:3:4"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
