//! How many connections an address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use denrei_proto::codes::Code;

use crate::refusal::Refusal;

/// Connections by their addresses.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address, while it lives.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// Takes one of an address's places.
    ///
    /// # Errors
    /// It has `most` already.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, most: usize) -> Result<Place, Refusal> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return Err(Refusal::later(Code::TooManyConnections, "this address has as many connections as it may"));
        }
        *count += 1;
        Ok(Place { addresses: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_others_have_theirs() {
        let addresses = Arc::new(Addresses::default());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let first = addresses.take(one, 2).expect("a place");
        let second = addresses.take(one, 2).expect("a second one");
        assert_eq!(addresses.take(one, 2).map(drop).unwrap_err().code, Code::TooManyConnections);
        drop(addresses.take(other, 2).expect("its own"));
        drop(first);
        drop(addresses.take(one, 2).expect("the one that was given back"));
        drop(second);
        assert!(addresses.0.lock().expect("nothing panics").is_empty(), "who has none is not remembered");
    }
}
