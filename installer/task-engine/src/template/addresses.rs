//! The filters on IP addresses that roles use most: `ipaddr`, `ipv4`, `ipv6`, `ipwrap`, `ipsubnet` are Ansible's names.
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use minijinja::{Environment, Error, Value};

use super::text::bad;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_filter("ipaddr", |value: Value, query: Option<Value>| {
        each(&value, query, |_| true)
    });
    env.add_filter("ipv4", |value: Value, query: Option<Value>| {
        each(&value, query, IpNetwork::is_ipv4)
    });
    env.add_filter("ipv6", |value: Value, query: Option<Value>| {
        each(&value, query, IpNetwork::is_ipv6)
    });
    env.add_filter("ipwrap", |value: Value| {
        let text = value.to_string();
        match text.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => text,
        }
    });
}

/// A list is filtered item by item; what is no address is left out of it, or false when it stands alone.
fn each(value: &Value, query: Option<Value>, keep: fn(&IpNetwork) -> bool) -> Result<Value, Error> {
    let query = query.map(|query| query.to_string()).unwrap_or_default();
    if value.as_str().is_some() {
        return Ok(one(&value.to_string(), &query, keep)?.unwrap_or(Value::from(false)));
    }
    let mut out = Vec::new();
    for item in value.try_iter()? {
        out.extend(one(&item.to_string(), &query, keep)?);
    }
    Ok(Value::from(out))
}

fn one(text: &str, query: &str, keep: fn(&IpNetwork) -> bool) -> Result<Option<Value>, Error> {
    let Ok(net) = text.trim().parse::<IpNetwork>() else {
        return Ok(None);
    };
    if !keep(&net) {
        return Ok(None);
    }
    let bits = if net.is_ipv4() { 32 } else { 128 };
    let is_network = net.ip() == net.network() && net.prefix() < bits;
    Ok(match query {
        "" => Some(Value::from(text.trim())),
        "address" | "ip" => {
            (!is_network || net.prefix() == bits).then(|| Value::from(net.ip().to_string()))
        }
        "host" => Some(Value::from(format!("{}/{}", net.ip(), net.prefix()))),
        "network" => Some(Value::from(net.network().to_string())),
        "netmask" => Some(Value::from(net.mask().to_string())),
        "broadcast" => Some(Value::from(net.broadcast().to_string())),
        "prefix" => Some(Value::from(net.prefix())),
        "subnet" | "cidr" | "network/prefix" => {
            Some(Value::from(format!("{}/{}", net.network(), net.prefix())))
        }
        "net" => is_network.then(|| Value::from(format!("{}/{}", net.network(), net.prefix()))),
        "size" => Some(Value::from(size(&net))),
        "version" => Some(Value::from(if net.is_ipv4() { 4 } else { 6 })),
        "private" => is_private(net.ip()).then(|| Value::from(text.trim())),
        "public" => (!is_private(net.ip())).then(|| Value::from(text.trim())),
        query => match (query.parse::<i128>(), query.parse::<IpNetwork>()) {
            (Ok(number), _) => {
                nth(&net, number)?.map(|ip| Value::from(format!("{ip}/{}", net.prefix())))
            }
            (_, Ok(outer)) => outer.contains(net.ip()).then(|| Value::from(text.trim())),
            _ => return Err(bad(format!("ipaddr: `{query}` is not a supported query"))),
        },
    })
}

fn size(net: &IpNetwork) -> i128 {
    let host_bits = if net.is_ipv4() { 32 } else { 128 } - u32::from(net.prefix());
    if host_bits >= 127 {
        i128::MAX
    } else {
        1 << host_bits
    }
}

/// The address at this place in the network; negative ones count from its end.
fn nth(net: &IpNetwork, number: i128) -> Result<Option<IpAddr>, Error> {
    let size = size(net);
    let at = if number < 0 {
        size.saturating_add(number)
    } else {
        number
    };
    if at < 0 || at >= size {
        return Err(bad(format!("{net} has no address number {number}")));
    }
    Ok(match net.network() {
        IpAddr::V4(base) => u32::try_from(at)
            .ok()
            .map(|at| IpAddr::V4((u32::from(base).wrapping_add(at)).into())),
        IpAddr::V6(base) => Some(IpAddr::V6(
            u128::from(base).wrapping_add(at.unsigned_abs()).into(),
        )),
    })
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}
