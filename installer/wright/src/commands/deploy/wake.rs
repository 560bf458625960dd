//! Machines of a lab that were on before, while nobody answered them: their firmware has given up and does nothing
//! any more. They are turned off and on, so that a run that was killed goes on when it is run again.
//!
//! For real machines this is done by their BMCs, which is not here.
use crate::printer::Printer;
use lab::{Lab, Power};
use provision::Outlook;
use std::collections::BTreeMap;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A machine that used less of a processor than this between two looks computes nothing.
const IDLE_SHARE: f64 = 0.1;
/// Looks in a row at which it was silent and idle. An agent that waits for this host is heard within seconds.
const LOOKS: u32 = 3;
/// One that does not come after so many times has another fault.
const TIMES: u32 = 2;

/// How a machine was at the last looks.
#[derive(Default)]
struct Seen {
    cpu_seconds: f64,
    idle_looks: u32,
    woken: u32,
}

/// Wakes machines that are silent and idle, until aborted.
pub async fn silent(lab: Lab, outlook: Outlook, printer: Printer) {
    let mut machines: BTreeMap<String, Seen> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let unheard = outlook.unheard();
        for status in lab.status() {
            let seen = machines.entry(status.name.clone()).or_default();
            let cpu_seconds = status.cpu_seconds.unwrap_or_default();
            let is_silent = unheard.contains(&status.name) && status.is_on;
            if seen.look(is_silent, cpu_seconds) {
                printer.say(&format!(
                    "{}: on, but its firmware has given up: it is turned off and on",
                    status.name
                ));
                let (lab, name) = (lab.clone(), status.name);
                let woken =
                    tokio::task::spawn_blocking(move || lab.power(&name, Power::Cycle)).await;
                if let Ok(Err(error)) = woken {
                    printer.warn(&error.to_string());
                }
            }
        }
    }
}

impl Seen {
    /// Takes a look; whether the machine is to be woken.
    fn look(&mut self, is_silent: bool, cpu_seconds: f64) -> bool {
        let used = cpu_seconds - self.cpu_seconds;
        let is_idle = used >= 0.0 && used < LOOK_EVERY.as_secs_f64() * IDLE_SHARE;
        self.cpu_seconds = cpu_seconds;
        self.idle_looks = if is_silent && is_idle {
            self.idle_looks + 1
        } else {
            0
        };
        let wake = self.idle_looks >= LOOKS && self.woken < TIMES;
        if wake {
            self.idle_looks = 0;
            self.woken += 1;
        }
        wake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_silent_and_idle_is_woken_and_not_for_ever() {
        let mut busy = Seen::default();
        assert!((1..20).all(|look| !busy.look(true, f64::from(look) * 5.0)));
        let mut heard = Seen::default();
        assert!((1..20).all(|look| !heard.look(look % 3 == 0, 7.0)));
        let mut dead = Seen::default();
        let woken = (0..30).filter(|_| dead.look(true, 7.0)).count();
        assert_eq!(woken, 2);
    }
}
