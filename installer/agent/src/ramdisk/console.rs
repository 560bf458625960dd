//! Lines for the serial log: `wright-agent: <seconds since power-on> <stage> <text>`.
use std::io::Write;

/// Prints one line. A console that cannot be written to must not stop an installation.
pub fn say(stage: &str, text: impl std::fmt::Display) {
    let _ = writeln!(
        std::io::stdout().lock(),
        "wright-agent: {} {stage} {text}",
        uptime()
    );
}

/// The kernel's own clock, so that the lines fit between the kernel's messages.
fn uptime() -> String {
    std::fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| Some(text.split(' ').next()?.to_owned()))
        .unwrap_or_else(|| "0.00".into())
}

/// Seconds since power-on, rounded down.
pub fn uptime_seconds() -> u32 {
    uptime()
        .split('.')
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0)
}
