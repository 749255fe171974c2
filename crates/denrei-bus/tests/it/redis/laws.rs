//! The laws of the hub's seams.

use std::sync::Arc;

use denrei_hub::laws::{bus_laws, channel_laws, lease_laws, log_laws, shelf_laws};

use super::joined;
use super::server::{Cluster, Server};

/// Everything that a pattern or a key could mistake for something else.
const MARKS: &str = "*?[]\\^-{}.>#: \"'\0\r\näA";

macro_rules! laws {
    ($server:ident, $start:expr) => {
        mod $server {
            use super::*;

            #[test]
            fn its_bus_obeys_the_laws() {
                let server = $start;
                bus_laws(|count| (0..count).map(|_| joined(&server.address()).bus).collect());
            }

            #[test]
            fn its_log_obeys_the_laws() {
                let server = $start;
                log_laws(|| joined(&server.address()).log);
            }

            #[test]
            fn its_leases_obey_the_laws() {
                let server = $start;
                lease_laws(|| [(); 2].map(|()| joined(&server.address()).leases));
            }

            #[test]
            fn its_shelf_obeys_the_laws() {
                let server = $start;
                shelf_laws(|| [(); 2].map(|()| joined(&server.address()).shelf));
            }

            #[test]
            fn its_channels_obey_the_laws() {
                let server = $start;
                channel_laws(MARKS, || [(); 2].map(|()| Arc::clone(&joined(&server.address()).channels)));
            }
        }
    };
}

laws!(one_server, Server::start(&[]));
laws!(a_cluster, Cluster::start());
