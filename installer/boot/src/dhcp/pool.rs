//! Addresses for machines that no reservation names, where the inventory sets some aside: who has which, and until
//! when. It lives in memory; after a restart a machine that still has its address asks for it by name and gets it.
//! No clock: times come in as values.
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::Mac;

/// An address that was offered is kept this long for whoever asked.
const OFFER: Duration = Duration::from_secs(60);
/// A range may be a whole /8; this many machines at once are enough.
const ADDRESSES_MAX: u32 = 4096;

/// A range and its leases.
#[derive(Debug)]
pub struct Pool {
    addresses: Vec<Ipv4Addr>,
    leases: HashMap<Mac, Lease>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    address: Ipv4Addr,
    until: Duration,
}

impl Pool {
    /// From `first` to `last`, both included, without those `taken`.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr, taken: impl Fn(Ipv4Addr) -> bool) -> Self {
        let last = last
            .to_bits()
            .min(first.to_bits().saturating_add(ADDRESSES_MAX - 1));
        Self {
            addresses: (first.to_bits()..=last)
                .map(Ipv4Addr::from_bits)
                .filter(|address| !taken(*address))
                .collect(),
            leases: HashMap::new(),
        }
    }

    /// The machine's address, kept for it from `now` on: the one it has, or asks for, or any that is free. `lease` is
    /// `None` for an offer.
    pub fn address(
        &mut self,
        mac: Mac,
        wish: Option<Ipv4Addr>,
        now: Duration,
        lease: Option<Duration>,
    ) -> Option<Ipv4Addr> {
        self.leases.retain(|_, lease| lease.until > now);
        let own = self.leases.get(&mac).copied();
        let free = |address: &Ipv4Addr| {
            self.addresses.contains(address)
                && !self.leases.values().any(|lease| lease.address == *address)
        };
        let address = own
            .map(|lease| lease.address)
            .or_else(|| wish.filter(free))
            .or_else(|| self.addresses.iter().copied().find(free))?;
        let until = now + lease.unwrap_or(OFFER);
        // An offer does not shorten a lease.
        let until = own.map_or(until, |lease| lease.until.max(until));
        self.leases.insert(mac, Lease { address, until });
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 20, 0, last)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_machine_keeps_its_address_and_an_offer_passes() {
        let mut pool = Pool::new(at(200), at(202), |address| address == at(201));
        let (one, two, three) = (Mac([1; 6]), Mac([2; 6]), Mac([3; 6]));
        assert_eq!(
            pool.address(one, Some(at(9)), seconds(0), None),
            Some(at(200))
        );
        assert_eq!(
            pool.address(one, None, seconds(1), Some(seconds(600))),
            Some(at(200))
        );
        assert_eq!(
            pool.address(two, Some(at(200)), seconds(2), None),
            Some(at(202))
        );
        assert_eq!(
            pool.address(three, None, seconds(3), None),
            None,
            "all are taken"
        );
        assert_eq!(pool.address(three, None, seconds(70), None), Some(at(202)));
        assert_eq!(pool.address(one, None, seconds(599), None), Some(at(200)));
        // After a restart: the address that it says it has.
        let mut anew = Pool::new(at(200), at(202), |_| false);
        assert_eq!(
            anew.address(one, Some(at(202)), seconds(0), None),
            Some(at(202))
        );
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(asked in prop::collection::vec((0u8..20, 195u8..=210, 0u64..100, any::<bool>()), 0..200)) {
            let mut pool = Pool::new(at(200), at(205), |_| false);
            let mut now = seconds(0);
            let mut held: HashMap<u8, (Ipv4Addr, Duration)> = HashMap::new();
            for (machine, wish, passed, is_lease) in asked {
                now += seconds(passed);
                held.retain(|_, (_, until)| *until > now);
                let lease = is_lease.then_some(seconds(300));
                let got = pool.address(Mac([machine; 6]), Some(at(wish)), now, lease);
                let others = held.iter().filter(|(other, _)| **other != machine);
                let others: Vec<Ipv4Addr> = others.map(|(_, (address, _))| *address).collect();
                match got {
                    None => prop_assert_eq!(others.len(), 6),
                    Some(address) => {
                        prop_assert!(!others.contains(&address) && (at(200)..=at(205)).contains(&address));
                        let until = now + lease.unwrap_or(OFFER);
                        let before = held.get(&machine).map_or(until, |(_, before)| *before);
                        held.insert(machine, (address, until.max(before)));
                    }
                }
            }
        }
    }
}
