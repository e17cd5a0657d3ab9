//! How often somebody may try to sign in.
//!
//! Tries are counted by address and by name. The address is that of the connection: what a proxy says about
//! whom it speaks for (`X-Forwarded-For`) anybody can say, so behind one all share its address, and the limit by
//! name is what holds.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::secrets::Digest;

/// An address may be a proxy's, with an office behind it.
const ADDRESS_BURST: NonZeroU32 = NonZeroU32::new(30).expect("not 0");
const ADDRESS_PAUSE: Duration = Duration::from_secs(2);
/// Enough for a person who mistypes; a guesser has 4,320 tries a day.
const NAME_BURST: NonZeroU32 = NonZeroU32::new(5).expect("not 0");
const NAME_PAUSE: Duration = Duration::from_secs(20);
/// Tries between two looks at who need no longer be remembered.
const TRIES_BETWEEN_SWEEPS: u32 = 1_000;

/// Counts tries.
#[derive(Debug)]
pub(crate) struct Limits {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    names: DefaultKeyedRateLimiter<Digest>,
    tries: AtomicU32,
}

impl Default for Limits {
    fn default() -> Self {
        let quota = |pause, burst| Quota::with_period(pause).expect("not 0").allow_burst(burst);
        Self {
            addresses: RateLimiter::keyed(quota(ADDRESS_PAUSE, ADDRESS_BURST)),
            names: RateLimiter::keyed(quota(NAME_PAUSE, NAME_BURST)),
            tries: AtomicU32::new(0),
        }
    }
}

impl Limits {
    /// Counts a try from an address; says whether it may be made.
    pub(crate) fn address(&self, address: IpAddr) -> bool {
        if self.tries.fetch_add(1, Ordering::Relaxed) % TRIES_BETWEEN_SWEEPS == TRIES_BETWEEN_SWEEPS - 1 {
            self.addresses.retain_recent();
            self.names.retain_recent();
        }
        self.addresses.check_key(&network(address)).is_ok()
    }

    /// Counts a try for a name, whether or not it is anybody's; says whether it may be made.
    pub(crate) fn name(&self, name: &str) -> bool {
        self.names.check_key(&Digest::of(name)).is_ok()
    }
}

/// What one customer of a provider has: an address, or in IPv6 a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_run_out_by_address_and_by_name() {
        let limits = Limits::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let allowed = |address: IpAddr| (0..100).filter(|_| limits.address(address)).count();
        assert_eq!(allowed(address("192.0.2.1")), 30);
        assert_eq!(allowed(address("::ffff:192.0.2.1")), 0);
        assert_eq!(allowed(address("2001:db8::1")), 30);
        assert_eq!(allowed(address("2001:db8::2")), 0);
        assert_eq!(allowed(address("2001:db8:0:1::2")), 30);
        assert_eq!((0..100).filter(|_| limits.name("ann")).count(), 5);
        assert_eq!((0..100).filter(|_| limits.name("bob")).count(), 5);
    }
}
