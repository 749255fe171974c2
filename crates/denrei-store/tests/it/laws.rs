use std::sync::{Arc, Mutex};

use denrei_hub::Log;
use denrei_hub::laws::log_laws;

use crate::harness::{Place, on_both};

on_both!(a_store_obeys_the_laws_of_logs, a_new_store_for_each_law_does_too);

fn a_store_obeys_the_laws_of_logs(place: &Place) {
    let store: Arc<dyn Log> = Arc::new(place.open());
    log_laws(|| Arc::clone(&store));
}

fn a_new_store_for_each_law_does_too(place: &Place) {
    let places = Mutex::new(Vec::new());
    log_laws(|| {
        let place = place.another();
        let store = Arc::new(place.open());
        places.lock().unwrap().push(place);
        store
    });
}
