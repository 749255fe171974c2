//! The hub's own log and bus obey the laws that it relies on.

use std::sync::Arc;

use denrei_hub::laws::{bus_laws, log_laws};
use denrei_hub::{Bus, Classes, LocalBus, MemoryLimits, MemoryLog};

#[test]
fn the_memory_log_obeys_the_laws_of_logs() {
    log_laws(|| Arc::new(MemoryLog::new(Arc::new(Classes::default()), MemoryLimits::default())));
}

#[test]
fn the_local_bus_obeys_the_laws_of_buses() {
    bus_laws(|nodes| {
        let bus = LocalBus::default();
        (0..nodes).map(|_| Arc::new(bus.node()) as Arc<dyn Bus>).collect()
    });
}
