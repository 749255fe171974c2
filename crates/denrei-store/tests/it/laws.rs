use std::sync::Arc;

use denrei_hub::Log;
use denrei_hub::laws::log_laws;
use tempfile::TempDir;

use crate::harness::Place;

#[test]
fn a_store_obeys_the_laws_of_logs() {
    let place = Place::new();
    let store: Arc<dyn Log> = Arc::new(place.open());
    log_laws(|| Arc::clone(&store));
}

#[test]
fn a_new_store_for_each_law_does_too() {
    let directory = TempDir::new().unwrap();
    log_laws(|| {
        let path = directory.path().join(denrei_hub::random_token(8));
        Arc::new(denrei_store::Store::open(path, denrei_store::StoreConfig::default()).unwrap())
    });
}
