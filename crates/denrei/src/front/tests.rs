use super::*;
use crate::config::Config;
use crate::policy::OpenPolicy;
use crate::wires;
use denrei_hub::Hub;

/// An idle connection costs what its future costs, and its box.
#[tokio::test]
async fn the_future_of_a_connection_is_under_a_kibibyte() {
    let config = Config::default();
    let (hub, shards) = Hub::new(config.hub.clone(), wires::encoders(None), None, None);
    let app = Arc::new(App::new(config, hub, Box::new(OpenPolicy)));
    let door = Arc::new(Door { app, router: Router::new() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let future = serve(door, stream, shards[0].handle().clone());
    let size = size_of_val(&future);
    println!("{size} bytes");
    assert!(size < 1024, "{size} bytes");
}
