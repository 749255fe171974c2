//! Orders with an answer for each: `cargo run -p denrei --example orders`.
//!
//! A client says `createOrder` `{item, quantity}` and is answered `{"status":"ok","orderId":…}`, or
//! `{"status":"error","message":…}` when the order makes no sense or takes longer than 5 s. Its side:
//!
//! ```js
//! const answer = await socket.timeout(5000).emitWithAck("createOrder", {item: "tea", quantity: 2})
//! ```

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use denrei::socketio::{Failure, Io};
use denrei::{Config, Denrei};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Order {
    item: String,
    quantity: u32,
}

/// What there is instead of a database.
#[derive(Default)]
struct Orders(Mutex<Vec<Order>>);

impl Orders {
    async fn create(&self, order: Order) -> Result<String, Failure> {
        if order.quantity == 0 {
            return Err("an order has a quantity".into());
        }
        if order.item == "slow" {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let mut orders = self.0.lock()?;
        orders.push(order);
        Ok(format!("order-{}", orders.len()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    config.access.anonymous = true;
    config.access.development = true;
    let denrei = Denrei::new(config);
    orders(denrei.io());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    // With whom it is from, or a handshake could not tell.
    let app = denrei.router().into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}

fn orders(io: &Io) {
    io.provide(Orders::default());
    io.on_connect(async |socket| {
        socket.on("createOrder", async |socket, order: Order, ack| {
            let orders = socket.state::<Orders>();
            let creating = timeout(Duration::from_secs(5), orders.create(order.clone()));
            let id = creating.await.map_err(|_| Failure::new("the order took too long"))??;
            socket.broadcast().emit("orderCreated", &json!({"orderId": id, "order": order}))?;
            ack.send(&json!({"status": "ok", "orderId": id}));
            Ok(())
        });
    });
}
